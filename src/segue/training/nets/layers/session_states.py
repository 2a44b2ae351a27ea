"""The states of sessions that run side by side, from one batch to the next.

Shape letters: N lanes, L layers, S what is kept of one layer, B rows of a batch.
"""

import torch
from torch import Tensor

from segue.training.tasks import StateCarryOver


class SessionStates:
    """One state for each lane. A row reads the state that its own session left in its lane, or zeros where its session
    begins; nothing else ever empties or fills a lane."""

    def __init__(self, lanes: int, shape: tuple[int, int], device: torch.device) -> None:
        self.now_NLS = torch.zeros(lanes, *shape, device=device)
        """After the batch at hand: what is saved, and summed over the processes that share a batch."""
        self._before_NLS = self.now_NLS
        self._from_B = self._to_B = torch.empty(0, dtype=torch.int64, device=device)

    def carry_over(self, carry: StateCarryOver) -> None:
        """On to the next batch, of which these rows are at hand."""
        self._before_NLS, self.now_NLS = self.now_NLS, torch.zeros_like(self.now_NLS)
        device = self.now_NLS.device
        self._from_B, self._to_B = (torch.from_numpy(lane).to(device) for lane in (carry.from_B, carry.to_B))

    def start(self) -> Tensor:
        """[L, B, S]: what each row goes on from."""
        begins_B = self._from_B < 0
        return self._before_NLS[self._from_B].masked_fill(begins_B[:, None, None], 0.0).transpose(0, 1)

    def leave(self, state_LBS: Tensor) -> None:
        """Keeps what sessions that go on have reached; no gradient goes back from there."""
        goes_on_B = self._to_B >= 0
        self.now_NLS[self._to_B[goes_on_B]] = state_LBS.detach().transpose(0, 1)[goes_on_B].float()

    def load(self, states_NLS: Tensor) -> None:
        """Goes on from states that were saved."""
        self.now_NLS.copy_(states_NLS)
