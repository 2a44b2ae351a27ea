"""Torch network of DIEN (Zhou et al. 2019): interest extraction with its auxiliary loss, and the AUGRU.

Shape letters: B examples, C candidates, L events of a history, D width of embeddings and states.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segue.models.rankers.dien import DIENConfig
from segue.models.rankers.layers_numpy import BUCKET_EMBEDDING_DIM
from segue.models.rankers.ranker_input import RankerInput
from segue.training.nets.encoders.decoders import GRULayer
from segue.training.nets.layers.basic import Dropout, DropoutRng, xavier_uniform_
from segue.training.nets.rankers.towers import NUM_USER_BUCKETS, ClickHead, RankerNet, to_tensor


class DIENNet(RankerNet):
    """GRU over the history, attention of each candidate over its states, and a GRU with attentional update gate."""

    def __init__(self, config: DIENConfig, noise: DropoutRng, table_VD: Tensor, generator: torch.Generator) -> None:
        super().__init__(noise, table_VD, generator)
        dim = table_VD.shape[1]
        self.auxiliary_loss_weight = config.auxiliary_loss_weight
        self.interest = GRULayer(dim, dim)
        self.match = nn.Linear(dim, dim, bias=False)
        self.evolve = GRULayer(dim, dim)
        for layer in (self.interest, self.match, self.evolve):
            xavier_uniform_(layer, generator)
        self.head = ClickHead(
            3 * dim + NUM_USER_BUCKETS * BUCKET_EMBEDDING_DIM, Dropout(config.dropout, noise), generator
        )

    def forward(self, ranker_input: RankerInput) -> tuple[Tensor, Tensor | None]:
        """See `RankerNet.forward`."""
        x_BLD, inside_BL = self.reader.embed_history(ranker_input)
        state_BLD = self.interest(x_BLD.transpose(0, 1)).transpose(0, 1) * inside_BL[..., None]
        candidate_BCD = self.reader.embed_items(ranker_input.candidates_BC)
        score_BCL = candidate_BCD @ self.match(state_BLD).transpose(1, 2)
        score_BCL = score_BCL.masked_fill(~inside_BL[:, None], torch.finfo(score_BCL.dtype).min)
        attention_BCL = score_BCL.softmax(dim=2) * inside_BL[:, None]
        user_BCD = self._evolve(state_BLD, attention_BCL)
        log_odds = self.head(user_BCD, candidate_BCD, user_BCD * candidate_BCD, self.reader.user_features(ranker_input))
        auxiliary_loss = (
            self._next_event_loss(ranker_input, state_BLD) if self.training and self.auxiliary_loss_weight else None
        )
        return log_odds, auxiliary_loss

    def _evolve(self, state_BLD: Tensor, attention_BCL: Tensor) -> Tensor:
        """Return the last state of the AUGRU for each candidate, [B, C, D].

        The input of a step is the same for all candidates.
        """
        cell = self.evolve
        batch, count, _ = attention_BCL.shape
        dim = state_BLD.shape[2]
        gate_inputs_BLG = F.linear(state_BLD, cell.input, cell.input_bias)
        evolved_BCD = state_BLD.new_zeros(batch, count, dim)
        for t in range(state_BLD.shape[1]):
            gate_inputs = gate_inputs_BLG[:, t, None]
            gate_states = F.linear(evolved_BCD, cell.state, cell.state_bias)
            gates = (gate_inputs[..., : 2 * dim] + gate_states[..., : 2 * dim]).sigmoid()
            candidate_state = (gate_inputs[..., 2 * dim :] + gates[..., :dim] * gate_states[..., 2 * dim :]).tanh()
            update = attention_BCL[:, :, t, None] * (1.0 - gates[..., dim:])
            evolved_BCD = evolved_BCD + update * (candidate_state - evolved_BCD)
        return evolved_BCD

    def _next_event_loss(self, ranker_input: RankerInput, state_BLD: Tensor) -> Tensor:
        """Return the auxiliary loss: each state against the next event and a random event of the batch (eq. 7)."""
        has_next_BL = to_tensor(ranker_input.is_event)[:, 1:]
        next_BLD = self.reader.embed_items(ranker_input.items_BL[:, 1:])
        all_items = torch.from_numpy(ranker_input.items_BL[ranker_input.is_event])
        index = self.noise.bytes(8 * has_next_BL.numel()).view(torch.int64).abs() % max(1, len(all_items))
        negative_BLD = F.embedding(all_items[index], self.reader.table).view_as(next_BLD)
        before_BLD = state_BLD[:, :-1]
        positive = F.logsigmoid((before_BLD * next_BLD).sum(dim=2))
        negative = F.logsigmoid(-(before_BLD * negative_BLD).sum(dim=2))
        return (
            -self.auxiliary_loss_weight * ((positive + negative) * has_next_BL).sum() / has_next_BL.sum().clamp(min=1)
        )
