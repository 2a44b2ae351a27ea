"""DIEN in torch: interest extraction with its auxiliary loss, and the AUGRU (Zhou et al. 2019).

Shape letters: B cases, C candidates, P = B C pairs, L events of a history, D width of vectors and states.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segue.models.rankers.dien import DIENConfig
from segue.models.rankers.layers_numpy import BUCKET_EMBEDDING_DIM
from segue.models.rankers.ranker_input import RankerInput
from segue.training.nets.encoders.decoders import GRULayer
from segue.training.nets.layers.basic import Dropout, DropoutRng, xavier_uniform_
from segue.training.nets.rankers.towers import NUM_USER_BUCKETS, ClickHead, RankerNet, tensor


class DIENNet(RankerNet):
    """GRU, attention of each candidate over its states, and the GRU whose update gate that attention scales."""

    def __init__(self, config: DIENConfig, noise: DropoutRng, table_VD: Tensor, generator: torch.Generator) -> None:
        super().__init__(noise, table_VD, generator)
        dim = table_VD.shape[1]
        self.auxiliary = config.auxiliary_loss_weight
        self.interest = GRULayer(dim, dim)
        self.match = nn.Linear(dim, dim, bias=False)
        self.evolve = GRULayer(dim, dim)
        for layer in (self.interest, self.match, self.evolve):
            xavier_uniform_(layer, generator)
        self.head = ClickHead(
            3 * dim + NUM_USER_BUCKETS * BUCKET_EMBEDDING_DIM, Dropout(config.dropout, noise), generator
        )

    def forward(self, seen: RankerInput) -> tuple[Tensor, Tensor | None]:
        x_BLD, inside_BL = self.reader.history(seen)
        state_BLD = self.interest(x_BLD.transpose(0, 1)).transpose(0, 1) * inside_BL[..., None]
        asked_BCD = self.reader.items(seen.candidates_BC)
        score_BCL = asked_BCD @ self.match(state_BLD).transpose(1, 2)
        score_BCL = score_BCL.masked_fill(~inside_BL[:, None], torch.finfo(score_BCL.dtype).min)
        share_BCL = score_BCL.softmax(dim=2) * inside_BL[:, None]
        person_BCD = self._evolve(state_BLD, share_BCL)
        log_odds = self.head(person_BCD, asked_BCD, person_BCD * asked_BCD, self.reader.person(seen))
        extra = self._next_event_loss(seen, state_BLD) if self.training and self.auxiliary else None
        return log_odds, extra

    def _evolve(self, state_BLD: Tensor, share_BCL: Tensor) -> Tensor:
        """[B, C, D]: the last state of the AUGRU for each candidate; what enters a step is the same for all of them."""
        cell = self.evolve
        batch, count, _ = share_BCL.shape
        dim = state_BLD.shape[2]
        entered_BLG = F.linear(state_BLD, cell.input, cell.input_bias)
        evolved_BCD = state_BLD.new_zeros(batch, count, dim)
        for t in range(state_BLD.shape[1]):
            enter = entered_BLG[:, t, None]
            carry = F.linear(evolved_BCD, cell.state, cell.state_bias)
            gates = (enter[..., : 2 * dim] + carry[..., : 2 * dim]).sigmoid()
            fresh = (enter[..., 2 * dim :] + gates[..., :dim] * carry[..., 2 * dim :]).tanh()
            moves = share_BCL[:, :, t, None] * (1.0 - gates[..., dim:])
            evolved_BCD = evolved_BCD + moves * (fresh - evolved_BCD)
        return evolved_BCD

    def _next_event_loss(self, seen: RankerInput, state_BLD: Tensor) -> Tensor:
        """Each state against the event that followed and one that somebody else did instead (eq. 7)."""
        follows_BL = tensor(seen.is_event)[:, 1:]
        after_BLD = self.reader.items(seen.items_BL[:, 1:])
        others = torch.from_numpy(seen.items_BL[seen.is_event])
        draw = self.noise.bytes(8 * follows_BL.numel()).view(torch.int64).abs() % max(1, len(others))
        other_BLD = F.embedding(others[draw], self.reader.table).view_as(after_BLD)
        told_BLD = state_BLD[:, :-1]
        right = F.logsigmoid((told_BLD * after_BLD).sum(dim=2))
        wrong = F.logsigmoid(-(told_BLD * other_BLD).sum(dim=2))
        return -self.auxiliary * ((right + wrong) * follows_BL).sum() / follows_BL.sum().clamp(min=1)
