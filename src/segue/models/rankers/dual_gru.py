"""Dual GRU ranker: click probability from two recurrences, over the user's history and over the item's history.

The user's events and the item's own interactions are read by a bidirectional GRU each. A relevance matrix between the
states of both, normalized over all its cells, weighs pairs of event and interaction. It gives an attended user and an
attended item, and a small network gives the log odds. Item states do not depend on the query time, because ages enter
with the matrix. So they are cached until the item's next event.

Shape letters: B examples, C candidates, L events of a history and a placeholder for no event, S item histories, M
interactions of an item history and one column for the item itself, D width of item embeddings, K width of states.
"""

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from segue.config.ranges import Range
from segue.models.numpy_layers import Weights, linear
from segue.models.rankers.item_histories import EVENT_FEATURES, ItemEvents
from segue.models.rankers.layers_numpy import bidirectional_gru, embed_buckets, embed_history, output_layers
from segue.models.rankers.ranker_config import RankerConfig
from segue.models.rankers.ranker_input import RankerInput


@dataclass(frozen=True)
class DualGRUConfig(RankerConfig):
    """Size of the network, and the share of cold items in training."""

    state_dim: Annotated[int, Range(ge=1)] = 32
    """Width of the state of each recurrence; there are two for users and two for items."""
    item_history_length: Annotated[int, Range(ge=1)] = 8
    """Number of newest interactions of an item that are read."""
    unknown_item_share: Annotated[float, Range(ge=0, lt=1)] = 0.05
    """Share of the candidates that a training step treats as items without interactions."""


class NumpyDualGRU:
    """Trained dual GRU in numpy.

    u_l = [ahead_l; back_l; x_l] for each event, v_m alike for each interaction, u_0 a parameter, v_0 = W e_c:
    R_lm = u_l' A v_m / sqrt(K) + p(age of l) + q(age of m); w = softmax over all cells of R. The attended user is
    sum_lm w_lm u_l, the attended item sum_lm w_lm v_m; log(sum exp R) is the total relevance.
    """

    def __init__(self, weights: Weights, config: DualGRUConfig) -> None:
        self.weights = weights
        self.max_length = config.max_length
        self.item_history_length = config.item_history_length

    def log_odds(self, features: RankerInput) -> np.ndarray:
        """See ``ClickNet.log_odds``."""
        assert features.candidate_histories is not None
        return self.log_odds_from_states(features, self.item_states(features.candidate_histories.item_events))

    def item_states(self, item_events: ItemEvents) -> np.ndarray:
        """Return the states of item histories, without the column of the item itself: float32 [S, M, K]."""
        weights = self.weights
        y_SMD = linear(weights, "previous_item", weights["reader.table"][item_events.previous_items_SM])
        for feature in range(EVENT_FEATURES):
            y_SMD = y_SMD + weights["event_features"][feature, item_events.buckets_SMK[..., feature]]
        is_event_SM1 = (np.arange(y_SMD.shape[1]) < item_events.lengths_S[:, None])[..., None]
        y_SMD = y_SMD * is_event_SM1
        return np.concatenate([bidirectional_gru(weights, "item", y_SMD, item_events.lengths_S), y_SMD], axis=2)

    def log_odds_from_states(self, features: RankerInput, states_SMK: np.ndarray) -> np.ndarray:
        """Return log odds, given the states of the item histories.

        Args:
            features: input of the ranker, with candidate histories.
            states_SMK: float32 [S, M, K], result of ``item_states`` for these histories.

        Returns:
            float32 [B, C].
        """
        weights, histories = self.weights, features.candidate_histories
        assert histories is not None
        user_BLK = self._user_states(features)
        candidate_BCD = weights["reader.table"][features.candidates_BC]
        itself_BC1K = linear(weights, "itself", candidate_BCD)[:, :, None]
        item_BCMK = np.concatenate([itself_BC1K, states_SMK[histories.row_BC]], axis=2)
        lengths_BC = histories.item_events.lengths_S[histories.row_BC]
        is_known_BCM = np.arange(item_BCMK.shape[2]) <= lengths_BC[..., None]
        weight_BCLM, total_BC1 = self._relevance(features, user_BLK, item_BCMK, is_known_BCM)
        attended_user_BCK = weight_BCLM.sum(axis=3) @ user_BLK
        attended_item_BCK = (weight_BCLM.sum(axis=2)[:, :, None] @ item_BCMK)[:, :, 0]
        of_user = embed_buckets(weights["reader.features"], features.features_BX)
        of_user = np.broadcast_to(of_user[:, None], (*candidate_BCD.shape[:2], of_user.shape[1]))
        of_item = embed_buckets(weights["item_features"], histories.features_BCX)
        product_BCK = attended_user_BCK * attended_item_BCK
        return output_layers(
            weights,
            [attended_user_BCK, attended_item_BCK, product_BCK, candidate_BCD, total_BC1, of_user, of_item],
        )

    def _user_states(self, features: RankerInput) -> np.ndarray:
        """Return the placeholder for no event, then the state after each event: float32 [B, L, K]."""
        x_BLD = embed_history(self.weights, features)
        states = bidirectional_gru(self.weights, "user", x_BLD, features.lengths_B)
        state_BLK = np.concatenate([states, x_BLD], axis=2)
        no_event_B1K = np.broadcast_to(self.weights["no_event"], (len(x_BLD), 1, state_BLK.shape[2]))
        return np.concatenate([no_event_B1K, state_BLK], axis=1)

    def _relevance(
        self, features: RankerInput, user_BLK: np.ndarray, item_BCMK: np.ndarray, is_known_BCM: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return (softmax of the relevance matrix [B, C, L, M], log of the sum of its exponentials [B, C, 1])."""
        weights, histories = self.weights, features.candidate_histories
        assert histories is not None
        query_B1LK = linear(weights, "relevance", user_BLK)[:, None]
        score_BCLM = query_B1LK @ item_BCMK.transpose(0, 1, 3, 2) / np.float32(np.sqrt(user_BLK.shape[2]))
        age_BL = np.pad(weights["user_age"][features.ages_BL], ((0, 0), (1, 0)))
        age_BCM = np.pad(weights["item_age"][histories.ages_BCM], ((0, 0), (0, 0), (1, 0)))
        score_BCLM = score_BCLM + age_BL[:, None, :, None] + age_BCM[:, :, None]
        is_event_BL = np.pad(features.is_event, ((0, 0), (1, 0)), constant_values=True)
        score_BCLM = np.where(is_event_BL[:, None, :, None] & is_known_BCM[:, :, None], score_BCLM, -np.inf)
        highest_BC = score_BCLM.max(axis=(2, 3))
        weight_BCLM = np.exp(score_BCLM - highest_BC[..., None, None])
        sum_BC = weight_BCLM.sum(axis=(2, 3))
        return weight_BCLM / sum_BC[..., None, None], (highest_BC + np.log(sum_BC))[..., None]
