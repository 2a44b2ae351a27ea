"""An encoder and the one item table it reads from and writes to ("tied" or "constrained" embeddings).

The table is no parameter of the module: the trainer hands in either the whole table or only the rows that a batch
touches, so that a step never costs a catalogue. Shape letters as in ``layers.py``; R rows at hand.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segue.data.sequences import NO_TIME, Sequences
from segue.models.clock import moments
from segue.training.nets.encoder import Encoder, Steps
from segue.training.nets.layers import Noise
from segue.training.tasks import Task, left_aligned


class TiedNet(nn.Module):
    """Scores are dot products of ``query(encoder(embed(...)))`` with ``key(table)``.

    With a temperature both sides have unit length (a cosine softmax); without one, the table's last column is a bias
    for each item.
    """

    def __init__(
        self, encoder: Encoder, noise: Noise, table_VD: Tensor, *, temperature: float | None, length: int
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.noise = noise
        self.table_VD: Tensor
        self.register_buffer("table_VD", table_VD)
        self.temperature = temperature
        self.length = length

    @property
    def task(self) -> Task:
        """What the net is asked in training."""
        return self.encoder.task(self.length)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.table_VD.device

    @property
    def dim(self) -> int:
        """D: the width of an embedded event."""
        return self.table_VD.shape[1] - (self.temperature is None)

    def embed(self, table_RD: Tensor, rows_BT: Tensor) -> Tensor:
        """The input vectors of events."""
        vectors = F.embedding(rows_BT, table_RD)
        return vectors if self.temperature is not None else vectors[..., :-1]

    def timed(self, x_BTD: Tensor, times_BS: Tensor | None) -> Tensor:
        """The input vectors with what the events' times add, where the net looks at that."""
        if self.encoder.clock is None:
            return x_BTD
        if times_BS is None:
            times_BS = torch.full((x_BTD.shape[0], x_BTD.shape[1] + 1), NO_TIME, device=x_BTD.device)
        return x_BTD + self.encoder.clock(times_BS[:, :-1])

    def states(self, table_RD: Tensor, steps: Steps) -> Tensor:
        """[N, D]: the state at every position that is asked."""
        return self.encoder.states(self.timed(self.embed(table_RD, steps.inputs_BT), steps.times_BS), steps)

    def query(self, hidden_ND: Tensor) -> Tensor:
        """States as they enter the dot product."""
        if self.temperature is not None:
            return F.normalize(hidden_ND, dim=-1) / self.temperature
        return torch.cat([hidden_ND, hidden_ND.new_ones(*hidden_ND.shape[:-1], 1)], dim=-1)

    def key(self, table_RD: Tensor) -> Tensor:
        """Table rows as they enter the dot product."""
        return F.normalize(table_RD, dim=-1) if self.temperature is not None else table_RD

    def newest(self, items_BT: Tensor, last_B: Tensor, times_BS: Tensor | None = None) -> Tensor:
        """[B, D]: the state after each row's newest event, which is in column ``last_B``."""
        return self.encoder.newest(self.timed(self.embed(self.table_VD, items_BT), times_BS), last_B, times_BS)

    @torch.no_grad()
    def queries(self, histories: Sequences) -> np.ndarray:
        """float32 [B, D] or [B, D + 1]: the query after each whole history; the zero vector after an empty one.

        Rows of like length are encoded together, at most 16k events at a time.
        """
        was_training = self.training
        self.eval()
        newest = histories.known().tail(self.length)
        lengths = newest.lengths
        order = np.argsort(-lengths, kind="stable")
        order = order[lengths[order] > 0]
        out = np.zeros((len(histories), self.key(self.table_VD[:1]).shape[1]), dtype=np.float32)
        start = 0
        while start < len(order):
            width = int(lengths[order[start]])
            rows = order[start : start + max(1, 16384 // width)]
            chosen = newest.take(rows)
            items_BT = torch.from_numpy(left_aligned(chosen, chosen.items).astype(np.int64)).to(self.device)
            last_B = torch.from_numpy(lengths[rows] - 1).to(self.device)
            times_BS = torch.from_numpy(moments(chosen, width)).to(self.device) if self.encoder.told_times else None
            out[rows] = self.query(self.newest(items_BT, last_B, times_BS).float()).cpu().numpy()
            start += len(rows)
        self.train(was_training)
        return out


class TorchScorer:
    """A net under training as a scorer, for validation only; what is served is its exported twin."""

    def __init__(self, net: TiedNet) -> None:
        self.net = net

    @property
    def name(self) -> str:
        return "net"

    @property
    def size(self) -> int:
        return len(self.net.table_VD)

    def arrays(self) -> dict[str, np.ndarray]:
        """The weights as they are now; saving goes through ``export``."""
        return {name: value.cpu().numpy() for name, value in self.net.state_dict().items()}

    def scores(self, histories: Sequences) -> np.ndarray:
        keys_VD = self.net.key(self.net.table_VD).cpu().numpy()
        scores: np.ndarray = self.net.queries(histories) @ keys_VD.T
        return scores
