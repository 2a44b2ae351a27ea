"""The dual GRU in torch; ``models/rankers/dual_gru.py`` has the words and the served twin.

Shape letters: B cases, C candidates, L events of a history, S item sides, M interactions of a side, K state width.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segue.models.rankers.dual_gru import DualGRUConfig
from segue.models.rankers.item_histories import BUCKETS, EVENT_FEATURES, ItemEvents
from segue.models.rankers.layers_numpy import BUCKET_EMBEDDING_DIM, reversed_positions
from segue.models.rankers.ranker_input import CandidateHistories, RankerInput
from segue.training.nets.encoders.decoders import GRULayer
from segue.training.nets.layers.basic import Dropout, DropoutRng, xavier_uniform_
from segue.training.nets.rankers.towers import (
    NUM_USER_BUCKETS,
    ClickHead,
    RankerNet,
    bucket_embeddings,
    small_table,
    tensor,
)

NUM_ITEM_BUCKETS = 3
SHARPNESS = 5.0


class BidirectionalGRU(nn.Module):
    """One GRU from the oldest event on and one from the newest back, over left-aligned rows."""

    def __init__(self, inputs: int, dim: int, generator: torch.Generator) -> None:
        super().__init__()
        self.ahead = GRULayer(inputs, dim)
        self.back = GRULayer(inputs, dim)
        xavier_uniform_(self, generator)

    def forward(self, x_BTI: Tensor, lengths_B: np.ndarray) -> Tensor:
        """[B, T, 2 H]; zeros in padding."""
        turn_BT = tensor(reversed_positions(lengths_B, x_BTI.shape[1]))
        back_BTH = self._states(self.back, x_BTI.gather(1, turn_BT[..., None].expand_as(x_BTI)))
        back_BTH = back_BTH.gather(1, turn_BT[..., None].expand_as(back_BTH))
        inside_BT = torch.arange(x_BTI.shape[1]) < tensor(lengths_B)[:, None]
        return torch.cat([self._states(self.ahead, x_BTI), back_BTH], dim=2) * inside_BT[..., None]

    @staticmethod
    def _states(cell: GRULayer, x_BTI: Tensor) -> Tensor:
        states: Tensor = cell(x_BTI.transpose(0, 1)).transpose(0, 1)
        return states


class DualGRUNet(RankerNet):
    """Two sides, the relevance matrix between them, and what both come to."""

    def __init__(self, config: DualGRUConfig, noise: DropoutRng, table_VD: Tensor, generator: torch.Generator) -> None:
        super().__init__(noise, table_VD, generator)
        dim, states = table_VD.shape[1], 2 * config.state_dim + table_VD.shape[1]
        self.unknown = config.unknown_item_share
        self.user = BidirectionalGRU(dim, config.state_dim, generator)
        self.item = BidirectionalGRU(dim, config.state_dim, generator)
        self.previous_item = nn.Linear(dim, dim)
        self.itself = nn.Linear(dim, states)
        self.relevance = nn.Linear(states, states, bias=False)
        for layer in (self.previous_item, self.itself, self.relevance):
            xavier_uniform_(layer, generator)
        self.event_features = small_table(EVENT_FEATURES, BUCKETS, dim, generator=generator)
        self.no_event = small_table(states, generator=generator)
        self.user_age = nn.Parameter(torch.zeros(BUCKETS))
        self.item_age = nn.Parameter(torch.zeros(BUCKETS))
        self.item_features = small_table(NUM_ITEM_BUCKETS, BUCKETS, BUCKET_EMBEDDING_DIM, generator=generator)
        self._begin_with_likeness()
        self.dropout = Dropout(config.dropout, noise)
        width = 3 * states + dim + 1 + (NUM_USER_BUCKETS + NUM_ITEM_BUCKETS) * BUCKET_EMBEDDING_DIM
        self.head = ClickHead(width, self.dropout, generator)

    def _begin_with_likeness(self) -> None:
        """The relevance matrix begins as SHARPNESS times the inner products of item vectors, of the person's events
        with the item and with what others had done before they came to it: a random one hides what the vectors know."""
        dim, states = self.previous_item.in_features, self.itself.out_features
        with torch.no_grad():
            self.previous_item.weight.copy_(torch.eye(dim))
            self.itself.weight[-dim:] = torch.eye(dim)
            self.relevance.weight[-dim:] = 0.0
            self.relevance.weight[:, -dim:] = 0.0
            self.relevance.weight[-dim:, -dim:] = torch.eye(dim) * SHARPNESS * states**0.5

    def forward(self, seen: RankerInput) -> tuple[Tensor, Tensor | None]:
        assert seen.candidate_histories is not None
        beside = self._forget_some(seen.candidate_histories)
        person_BLK, inside_BL = self._person(seen)
        asked_BCD = self.reader.items(seen.candidates_BC)
        states_SMK = self.dropout(self._item_states(beside.item_events))
        item_BCMK = torch.cat(
            [
                self.itself(asked_BCD)[:, :, None],
                F.embedding(tensor(beside.row_BC), states_SMK.flatten(1)).unflatten(2, states_SMK.shape[1:]),
            ],
            dim=2,
        )
        lengths_BC = tensor(beside.item_events.lengths_S[beside.row_BC])
        known_BCM = torch.arange(item_BCMK.shape[2]) <= lengths_BC[..., None]
        score_BCLM = self._relevance(seen, beside, person_BLK, item_BCMK)
        there_BCLM = inside_BL[:, None, :, None] & known_BCM[:, :, None]
        flat_BCX = score_BCLM.masked_fill(~there_BCLM, -torch.inf).flatten(2)
        total_BC1 = flat_BCX.logsumexp(dim=2, keepdim=True)
        cells_BCLM = (flat_BCX - total_BC1).exp().view_as(score_BCLM)
        attended_BCK = cells_BCLM.sum(dim=3) @ person_BLK
        found_BCK = (cells_BCLM.sum(dim=2)[:, :, None] @ item_BCMK)[:, :, 0]
        about_item = bucket_embeddings(self.item_features, tensor(beside.features_BCX))
        log_odds = self.head(
            attended_BCK,
            found_BCK,
            attended_BCK * found_BCK,
            asked_BCD,
            total_BC1,
            self.reader.person(seen),
            about_item,
        )
        return log_odds, None

    def _person(self, seen: RankerInput) -> tuple[Tensor, Tensor]:
        """([B, L, K] the event that stands for none and the history's states, bool [B, L] which are there)."""
        x_BLD, inside_BL = self.reader.history(seen)
        state_BLK = self.dropout(torch.cat([self.user(x_BLD, seen.lengths_B), x_BLD], dim=2))
        nobody_B1K = self.no_event.expand(len(x_BLD), 1, -1)
        return torch.cat([nobody_B1K, state_BLK], dim=1), F.pad(inside_BL, (1, 0), value=True)

    def _item_states(self, sides: ItemEvents) -> Tensor:
        """[S, M, K]."""
        y_SMD = self.previous_item(self.reader.items(sides.previous_items_SM))
        marks_SMX = tensor(sides.buckets_SMK)
        for mark in range(EVENT_FEATURES):
            y_SMD = y_SMD + F.embedding(marks_SMX[..., mark], self.event_features[mark])
        inside_SM = torch.arange(y_SMD.shape[1]) < tensor(sides.lengths_S)[:, None]
        y_SMD = y_SMD * inside_SM[..., None]
        return torch.cat([self.item(y_SMD, sides.lengths_S), y_SMD], dim=2)

    def _relevance(
        self, seen: RankerInput, beside: CandidateHistories, person_BLK: Tensor, item_BCMK: Tensor
    ) -> Tensor:
        """[B, C, L, M], cells without an event among them."""
        asks_B1LK = self.relevance(person_BLK)[:, None]
        score_BCLM = asks_B1LK @ item_BCMK.transpose(2, 3) / person_BLK.shape[2] ** 0.5
        when_BL = F.pad(self.user_age[tensor(seen.ages_BL)], (1, 0))
        when_BCM = F.pad(self.item_age[tensor(beside.ages_BCM)], (1, 0))
        return score_BCLM + when_BL[:, None, :, None] + when_BCM[:, :, None]

    def _forget_some(self, beside: CandidateHistories) -> CandidateHistories:
        """In training some candidates are taken for items nobody has come to yet, whatever their label."""
        if not self.training or not self.unknown:
            return beside
        cut = round(self.unknown * 256)
        lost_BC = self.noise.bytes(beside.row_BC.size).numpy().reshape(beside.row_BC.shape) < cut
        ages_BCM = np.where(lost_BC[..., None], 0, beside.ages_BCM)
        # As ``stand_beside`` tells of an item without a past: no age, and a count of 0, which is in bucket 1.
        facts_BCX = np.where(lost_BC[..., None], np.array([0, 0, 1]), beside.features_BCX)
        which_BC = np.where(lost_BC, len(beside.item_events.lengths_S), beside.row_BC)
        return CandidateHistories(beside.item_events.with_empty_row(), which_BC, ages_BCM, facts_BCX)
