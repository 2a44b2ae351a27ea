"""Hidden states of parallel sessions, carried from one batch to the next.

Shape letters: N slots, L layers, S state size of one layer, B rows of a batch.
"""

import torch
from torch import Tensor

from segue.training.tasks import StateCarryOver


class SessionStates:
    """Hidden state of each slot.

    A row reads the state that its own session stored in its slot, or zeros if its session begins. No other row writes
    this slot.
    """

    def __init__(self, slots: int, shape: tuple[int, int], device: torch.device) -> None:
        self.states_NLS = torch.zeros(slots, *shape, device=device)
        """States after the current batch: saved in checkpoints, and summed over the processes that share a batch."""
        self._before_NLS = self.states_NLS
        self._from_B = self._to_B = torch.empty(0, dtype=torch.int64, device=device)

    def carry_over(self, carry: StateCarryOver) -> None:
        """Prepare the next batch, whose rows are linked to slots by ``carry``."""
        self._before_NLS, self.states_NLS = self.states_NLS, torch.zeros_like(self.states_NLS)
        device = self.states_NLS.device
        self._from_B, self._to_B = (torch.from_numpy(slots).to(device) for slots in (carry.from_B, carry.to_B))

    def start(self) -> Tensor:
        """Return the initial state of each row, [L, B, S]."""
        begins_B = self._from_B < 0
        return self._before_NLS[self._from_B].masked_fill(begins_B[:, None, None], 0.0).transpose(0, 1)

    def store(self, state_LBS: Tensor) -> None:
        """Store the last state of the rows whose session continues, without gradient."""
        continues_B = self._to_B >= 0
        self.states_NLS[self._to_B[continues_B]] = state_LBS.detach().transpose(0, 1)[continues_B].float()

    def load(self, states_NLS: Tensor) -> None:
        """Restore saved states."""
        self.states_NLS.copy_(states_NLS)
