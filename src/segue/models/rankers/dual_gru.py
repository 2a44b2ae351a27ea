"""The dual GRU: a click probability from two recurrences, over what the person did and over who came to the item.

The person's events and the item's own interactions are read by a bidirectional GRU each. A relevance matrix between the
two sides' states, normalized over all its cells, says which event matters for which way to the item, and when; it gives
the attended person and the attended item, and a small network the log-odds. Item states do not depend on the moment of
asking (ages enter with the matrix), so they are kept until the item's next event.

Shape letters: B cases, C candidates, L events of a history and one that stands for none, S item sides, M interactions
of a side and one that stands for the item itself, D width of item vectors, K width of states.
"""

from dataclasses import dataclass

import numpy as np

from segue.models.rankers.item_histories import EVENT_FEATURES, ItemEvents
from segue.models.rankers.layers_numpy import Weights, bidirectional_gru, embed_buckets, encode_history, head, linear
from segue.models.rankers.pooled import check_shape
from segue.models.rankers.ranker_input import RankerInput


@dataclass(frozen=True)
class DualGRUConfig:
    """The shape of the network."""

    embedding_dim: int = 32
    """Width of item vectors."""
    state_dim: int = 32
    """Width of each recurrence's state; there are two of them on either side."""
    max_length: int = 20
    """The newest events of a history that are read."""
    item_history_length: int = 8
    """The newest interactions of an item that are read."""
    dropout: float = 0.2
    """On states, and on what enters the last layers."""
    unknown_item_share: float = 0.05
    """Share of candidates that a training step takes for items nobody has come to yet."""
    spectral_init: bool = True
    """Item vectors start as the SVD of the log's windowed co-occurrence, not at random."""

    def __post_init__(self) -> None:
        check_shape(self.embedding_dim, self.max_length, self.dropout)
        if self.state_dim < 1 or self.item_history_length < 1:
            raise ValueError(
                "state_dim and item_history_length must be at least 1, "
                f"got {self.state_dim} and {self.item_history_length}."
            )
        if not 0 <= self.unknown_item_share < 1:
            raise ValueError(f"unknown_item_share must be in [0, 1), got {self.unknown_item_share}.")


class NumpyDualGRU:
    """The trained network in numpy.

    u_l = [ahead_l; back_l; x_l] for each event, v_m alike for each interaction, u_0 a vector of its own, v_0 = W e_c:
    R_lm = u_l' A v_m / sqrt(K) + p(age of l) + q(age of m); w = softmax over all cells of R. The attended person is
    sum_lm w_lm u_l, the attended item sum_lm w_lm v_m; log(sum exp R) tells how much there was to attend to.
    """

    def __init__(self, weights: Weights, config: DualGRUConfig) -> None:
        self.weights = weights
        self.length = config.max_length
        self.width = config.item_history_length

    def log_odds(self, seen: RankerInput) -> np.ndarray:
        """[B, C]."""
        assert seen.beside is not None
        return self.log_odds_from_states(seen, self.item_states(seen.beside.sides))

    def item_states(self, sides: ItemEvents) -> np.ndarray:
        """[S, M, K]: the states of the items' own sequences, without the column of the item itself."""
        weights = self.weights
        y_SMD = linear(weights, "before", weights["reader.table"][sides.before_SM])
        for mark in range(EVENT_FEATURES):
            y_SMD = y_SMD + weights["marks"][mark, sides.buckets_SMK[..., mark]]
        inside_SM1 = (np.arange(y_SMD.shape[1]) < sides.lengths_S[:, None])[..., None]
        y_SMD = y_SMD * inside_SM1
        return np.concatenate([bidirectional_gru(weights, "item", y_SMD, sides.lengths_S), y_SMD], axis=2)

    def log_odds_from_states(self, seen: RankerInput, states_SMK: np.ndarray) -> np.ndarray:
        """[B, C]: the log-odds, given the states of the sides that ``seen.beside`` names."""
        weights, beside = self.weights, seen.beside
        assert beside is not None
        person_BLK = self._person(seen)
        asked_BCD = weights["reader.table"][seen.candidates_BC]
        itself_BC1K = linear(weights, "itself", asked_BCD)[:, :, None]
        item_BCMK = np.concatenate([itself_BC1K, states_SMK[beside.which_BC]], axis=2)
        lengths_BC = beside.sides.lengths_S[beside.which_BC]
        known_BCM = np.arange(item_BCMK.shape[2]) <= lengths_BC[..., None]
        cells_BCLM, total_BC1 = self._cells(seen, person_BLK, item_BCMK, known_BCM)
        attended_BCK = cells_BCLM.sum(axis=3) @ person_BLK
        found_BCK = (cells_BCLM.sum(axis=2)[:, :, None] @ item_BCMK)[:, :, 0]
        about_person = embed_buckets(weights["reader.facts"], seen.facts_BX)
        about_person = np.broadcast_to(about_person[:, None], (*asked_BCD.shape[:2], about_person.shape[1]))
        about_item = embed_buckets(weights["item_facts"], beside.facts_BCX)
        return head(
            weights,
            [attended_BCK, found_BCK, attended_BCK * found_BCK, asked_BCD, total_BC1, about_person, about_item],
        )

    def _person(self, seen: RankerInput) -> np.ndarray:
        """[B, L, K]: the event that stands for none, then the states of the history's."""
        x_BLD = encode_history(self.weights, seen)
        state_BLK = np.concatenate([bidirectional_gru(self.weights, "person", x_BLD, seen.lengths_B), x_BLD], axis=2)
        nobody_B1K = np.broadcast_to(self.weights["nobody"], (len(x_BLD), 1, state_BLK.shape[2]))
        return np.concatenate([nobody_B1K, state_BLK], axis=1)

    def _cells(
        self, seen: RankerInput, person_BLK: np.ndarray, item_BCMK: np.ndarray, known_BCM: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """(each cell's share [B, C, L, M], log of the sum of exp of the relevance matrix [B, C, 1])."""
        weights, beside = self.weights, seen.beside
        assert beside is not None
        asks_B1LK = linear(weights, "relevance", person_BLK)[:, None]
        score_BCLM = asks_B1LK @ item_BCMK.transpose(0, 1, 3, 2) / np.float32(np.sqrt(person_BLK.shape[2]))
        when_BL = np.pad(weights["person_when"][seen.ages_BL], ((0, 0), (1, 0)))
        when_BCM = np.pad(weights["item_when"][beside.ages_BCM], ((0, 0), (0, 0), (1, 0)))
        score_BCLM = score_BCLM + when_BL[:, None, :, None] + when_BCM[:, :, None]
        there_BL = np.pad(seen.inside, ((0, 0), (1, 0)), constant_values=True)
        score_BCLM = np.where(there_BL[:, None, :, None] & known_BCM[:, :, None], score_BCLM, -np.inf)
        highest_BC = score_BCLM.max(axis=(2, 3))
        weight_BCLM = np.exp(score_BCLM - highest_BC[..., None, None])
        sum_BC = weight_BCLM.sum(axis=(2, 3))
        return weight_BCLM / sum_BC[..., None, None], (highest_BC + np.log(sum_BC))[..., None]
