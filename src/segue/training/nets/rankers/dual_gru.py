"""Torch network of the dual GRU; ``models/rankers/dual_gru.py`` has the description and the numpy model.

Shape letters: B examples, C candidates, L events of a history, S item histories, M events of an item, K state width.
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
    init_embeddings,
    to_tensor,
)

NUM_ITEM_BUCKETS = 3
"""Number of bucketed item features."""
SHARPNESS = 5.0
"""Initial factor of the inner products of item embeddings in the relevance matrix."""


class BidirectionalGRU(nn.Module):
    """GRUs in both directions over left-aligned rows."""

    def __init__(self, inputs: int, dim: int, generator: torch.Generator) -> None:
        super().__init__()
        self.ahead = GRULayer(inputs, dim)
        self.back = GRULayer(inputs, dim)
        xavier_uniform_(self, generator)

    def forward(self, x_BTI: Tensor, lengths_B: np.ndarray) -> Tensor:
        """Return the states of both directions side by side; zeros in padding.

        Args:
            x_BTI: inputs.
            lengths_B: int, length of each row.

        Returns:
            [B, T, 2 H].
        """
        reversed_BT = to_tensor(reversed_positions(lengths_B, x_BTI.shape[1]))
        back_BTH = self._states(self.back, x_BTI.gather(1, reversed_BT[..., None].expand_as(x_BTI)))
        back_BTH = back_BTH.gather(1, reversed_BT[..., None].expand_as(back_BTH))
        inside_BT = torch.arange(x_BTI.shape[1]) < to_tensor(lengths_B)[:, None]
        return torch.cat([self._states(self.ahead, x_BTI), back_BTH], dim=2) * inside_BT[..., None]

    @staticmethod
    def _states(cell: GRULayer, x_BTI: Tensor) -> Tensor:
        states: Tensor = cell(x_BTI.transpose(0, 1)).transpose(0, 1)
        return states


class DualGRUNet(RankerNet):
    """A GRU over the user's history, a GRU over each item's history, and a relevance matrix between their states."""

    def __init__(self, config: DualGRUConfig, noise: DropoutRng, table_VD: Tensor, generator: torch.Generator) -> None:
        super().__init__(noise, table_VD, generator)
        dim, states = table_VD.shape[1], 2 * config.state_dim + table_VD.shape[1]
        self.unknown_item_share = config.unknown_item_share
        self.user = BidirectionalGRU(dim, config.state_dim, generator)
        self.item = BidirectionalGRU(dim, config.state_dim, generator)
        self.previous_item = nn.Linear(dim, dim)
        self.itself = nn.Linear(dim, states)
        self.relevance = nn.Linear(states, states, bias=False)
        for layer in (self.previous_item, self.itself, self.relevance):
            xavier_uniform_(layer, generator)
        self.event_features = init_embeddings(EVENT_FEATURES, BUCKETS, dim, generator=generator)
        self.no_event = init_embeddings(states, generator=generator)
        self.user_age = nn.Parameter(torch.zeros(BUCKETS))
        self.item_age = nn.Parameter(torch.zeros(BUCKETS))
        self.item_features = init_embeddings(NUM_ITEM_BUCKETS, BUCKETS, BUCKET_EMBEDDING_DIM, generator=generator)
        self._init_relevance()
        self.dropout = Dropout(config.dropout, noise)
        width = 3 * states + dim + 1 + (NUM_USER_BUCKETS + NUM_ITEM_BUCKETS) * BUCKET_EMBEDDING_DIM
        self.head = ClickHead(width, self.dropout, generator)

    def _init_relevance(self) -> None:
        """Initialize the relevance matrix with inner products of item embeddings, times ``SHARPNESS``.

        The user's events are compared with the candidate and with the items before it in other users' histories. A
        random matrix would hide the information in the embeddings.
        """
        dim, states = self.previous_item.in_features, self.itself.out_features
        with torch.no_grad():
            self.previous_item.weight.copy_(torch.eye(dim))
            self.itself.weight[-dim:] = torch.eye(dim)
            self.relevance.weight[-dim:] = 0.0
            self.relevance.weight[:, -dim:] = 0.0
            self.relevance.weight[-dim:, -dim:] = torch.eye(dim) * SHARPNESS * states**0.5

    def forward(self, ranker_input: RankerInput) -> tuple[Tensor, Tensor | None]:
        """See `RankerNet.forward`."""
        assert ranker_input.candidate_histories is not None
        histories = self._drop_item_histories(ranker_input.candidate_histories)
        user_BLK, inside_BL = self._user_states(ranker_input)
        candidate_BCD = self.reader.embed_items(ranker_input.candidates_BC)
        states_SMK = self.dropout(self._item_states(histories.item_events))
        item_BCMK = torch.cat(
            [
                self.itself(candidate_BCD)[:, :, None],
                F.embedding(to_tensor(histories.row_BC), states_SMK.flatten(1)).unflatten(2, states_SMK.shape[1:]),
            ],
            dim=2,
        )
        lengths_BC = to_tensor(histories.item_events.lengths_S[histories.row_BC])
        is_item_event_BCM = torch.arange(item_BCMK.shape[2]) <= lengths_BC[..., None]
        score_BCLM = self._relevance(ranker_input, histories, user_BLK, item_BCMK)
        is_pair_BCLM = inside_BL[:, None, :, None] & is_item_event_BCM[:, :, None]
        flat_BCX = score_BCLM.masked_fill(~is_pair_BCLM, -torch.inf).flatten(2)
        total_BC1 = flat_BCX.logsumexp(dim=2, keepdim=True)
        weight_BCLM = (flat_BCX - total_BC1).exp().view_as(score_BCLM)
        user_BCK = weight_BCLM.sum(dim=3) @ user_BLK
        item_BCK = (weight_BCLM.sum(dim=2)[:, :, None] @ item_BCMK)[:, :, 0]
        item_features = bucket_embeddings(self.item_features, to_tensor(histories.features_BCX))
        log_odds = self.head(
            user_BCK,
            item_BCK,
            user_BCK * item_BCK,
            candidate_BCD,
            total_BC1,
            self.reader.user_features(ranker_input),
            item_features,
        )
        return log_odds, None

    def _user_states(self, ranker_input: RankerInput) -> tuple[Tensor, Tensor]:
        """Return ([B, L, K] the state of no event and those of the history, bool [B, L] False for padding)."""
        x_BLD, inside_BL = self.reader.embed_history(ranker_input)
        state_BLK = self.dropout(torch.cat([self.user(x_BLD, ranker_input.lengths_B), x_BLD], dim=2))
        no_event_B1K = self.no_event.expand(len(x_BLD), 1, -1)
        return torch.cat([no_event_B1K, state_BLK], dim=1), F.pad(inside_BL, (1, 0), value=True)

    def _item_states(self, events: ItemEvents) -> Tensor:
        """Return the states of the items' histories, [S, M, K]."""
        y_SMD = self.previous_item(self.reader.embed_items(events.previous_items_SM))
        buckets_SMX = to_tensor(events.buckets_SMK)
        for feature in range(EVENT_FEATURES):
            y_SMD = y_SMD + F.embedding(buckets_SMX[..., feature], self.event_features[feature])
        inside_SM = torch.arange(y_SMD.shape[1]) < to_tensor(events.lengths_S)[:, None]
        y_SMD = y_SMD * inside_SM[..., None]
        return torch.cat([self.item(y_SMD, events.lengths_S), y_SMD], dim=2)

    def _relevance(
        self, ranker_input: RankerInput, histories: CandidateHistories, user_BLK: Tensor, item_BCMK: Tensor
    ) -> Tensor:
        """Return the scores of all pairs of user event and item event, the absent ones included, [B, C, L, M]."""
        query_B1LK = self.relevance(user_BLK)[:, None]
        score_BCLM = query_B1LK @ item_BCMK.transpose(2, 3) / user_BLK.shape[2] ** 0.5
        user_age_BL = F.pad(self.user_age[to_tensor(ranker_input.ages_BL)], (1, 0))
        item_age_BCM = F.pad(self.item_age[to_tensor(histories.ages_BCM)], (1, 0))
        return score_BCLM + user_age_BL[:, None, :, None] + item_age_BCM[:, :, None]

    def _drop_item_histories(self, histories: CandidateHistories) -> CandidateHistories:
        """Replace the histories of some candidates by those of a new item in training, independent of the label."""
        if not self.training or not self.unknown_item_share:
            return histories
        cut = round(self.unknown_item_share * 256)
        is_dropped_BC = self.noise.bytes(histories.row_BC.size).numpy().reshape(histories.row_BC.shape) < cut
        ages_BCM = np.where(is_dropped_BC[..., None], 0, histories.ages_BCM)
        # As for an item without events: no age, and a count of 0, which is in bucket 1.
        features_BCX = np.where(is_dropped_BC[..., None], np.array([0, 0, 1]), histories.features_BCX)
        row_BC = np.where(is_dropped_BC, len(histories.item_events.lengths_S), histories.row_BC)
        return CandidateHistories(histories.item_events.with_empty_row(), row_BC, ages_BCM, features_BCX)
