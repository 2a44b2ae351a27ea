"""FPMC: what a person likes plus what follows their last item, both factorized (Rendle et al. 2010).

Baskets are single events here: the "last basket" is the last item. Shape letters: B batch, U people of the log,
V catalog size with PAD, N events, M rows that a step touches, D dimensions, E = 2 D.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from segue.data.catalog import PAD
from segue.data.sequences import Sequences
from segue.models.factorization.fold_in import fill_empty_histories, fold_in_map, weighted_mean_embedding
from segue.models.sparse_rows import item_counts, tie_breaker


@dataclass(frozen=True)
class FPMCConfig:
    """The two factorizations and their training."""

    embedding_dim: int = 64
    """Length of the vectors, of each of the two parts."""
    epochs: int = 20
    """Passes over the events."""
    learning_rate: float = 0.05
    """Step of Adagrad."""
    regularization: float = 0.01
    """Pulls the vectors that an event touches towards zero (lambda of the paper's eq. 15)."""
    batch_size: int = 1024
    """Events of one step."""
    seed: int = 0
    """Draws the first vectors, the events' order and what they are compared with."""

    def __post_init__(self) -> None:
        for name in ("embedding_dim", "epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if self.learning_rate <= 0:
            raise ValueError(f"learning_rate must be above 0, got {self.learning_rate}.")
        if self.regularization < 0:
            raise ValueError(f"regularization must not be negative, got {self.regularization}.")
        if self.seed < 0:
            raise ValueError(f"seed must not be negative, got {self.seed}.")


class FPMC:
    """score(j) = x . liked_j + from_l . to_j (eq. 12), l the last item, x the person.

    A person at scoring time is a history, so x is folded in: the mean of its items' ``liked`` vectors, times the
    ridge regression from such means to the vectors that training gave its own people.
    """

    name: ClassVar[str] = "fpmc"

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        self._arrays = dict(arrays)
        self.items_VE, self.from_VD = arrays["items"], arrays["from"]
        self.map_DD, self.popularity_V = arrays["map"], arrays["popularity"]
        self._liked_VD = np.ascontiguousarray(self.items_VE[:, : self.from_VD.shape[1]])

    @classmethod
    def fit(cls, sequences: Sequences, size: int, config: FPMCConfig) -> "FPMC":
        """S-BPR (section 5.2): each event against one drawn item, in mini-batches."""
        rng = np.random.default_rng(config.seed)
        people_UD, from_VD, items_VE = _train(sequences, size, config, rng)
        known = sequences.drop_unknown()
        means_UD = weighted_mean_embedding(known.take(known.lengths > 0), items_VE[:, : config.embedding_dim], 1.0)
        arrays = {
            "items": items_VE,
            "from": from_VD,
            "map": fold_in_map(means_UD, people_UD),
            "popularity": tie_breaker(item_counts(sequences, size), 1e-6),
        }
        return cls(arrays)

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray], config: FPMCConfig) -> "FPMC":
        """What ``arrays`` gave."""
        return cls(arrays)

    @property
    def size(self) -> int:
        return len(self.items_VE)

    def scores(self, histories: Sequences) -> np.ndarray:
        """float32 [B, V]."""
        known = histories.drop_unknown()
        last_B = known.padded(1)[:, 0]
        people_BD = weighted_mean_embedding(known, self._liked_VD, 1.0) @ self.map_DD
        query_BE = np.concatenate([people_BD, self.from_VD[last_B]], axis=1)
        return fill_empty_histories(query_BE @ self.items_VE.T, known, self.popularity_V)

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything to save, by name."""
        return self._arrays


def bpr_gradients(
    query_BE: np.ndarray, taken_BE: np.ndarray, drawn_BE: np.ndarray, regularization: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What -log sigmoid(query . (taken - drawn)) + regularization / 2 * (squares of all three) grows with, for each
    event: (by query, by taken, by drawn), all [B, E]."""
    apart_BE = taken_BE - drawn_BE
    margin_B = np.einsum("be,be->b", query_BE, apart_BE)
    pull_B1 = (-0.5 + 0.5 * np.tanh(0.5 * margin_B))[:, None].astype(query_BE.dtype)  # -sigmoid(-margin), no overflow
    by_item_BE = pull_B1 * query_BE
    return (
        pull_B1 * apart_BE + regularization * query_BE,
        by_item_BE + regularization * taken_BE,
        regularization * drawn_BE - by_item_BE,
    )


def item_transitions(sequences: Sequences) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(person int64 [N], last item int32 [N], item int32 [N]) of every known event; PAD is the last item of a first
    event and of one after an unknown item. People with no known item have no number."""
    row_N, where_N = sequences.positions()
    items_N = sequences.items[where_N]
    last_N = np.where(np.diff(row_N, prepend=-1) > 0, PAD, np.roll(items_N, 1))
    known = items_N != PAD
    _, person_N = np.unique(row_N[known], return_inverse=True)
    return person_N, last_N[known], items_N[known]


def _train(
    sequences: Sequences, size: int, config: FPMCConfig, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(people [U, D], from [V, D], items [V, 2 D]: liked and to), float32; row PAD of ``from`` stays zero."""
    person_N, last_N, item_N = item_transitions(sequences)
    dim = config.embedding_dim
    shapes = [(int(person_N.max(initial=-1)) + 1, dim), (size, dim), (size, 2 * dim)]
    tables = [AdagradTable(rng.normal(0.0, 0.1, shape).astype(np.float32), config.learning_rate) for shape in shapes]
    people, follows, items = tables
    follows.rows[PAD] = 0.0
    occur = np.unique(item_N)
    for _ in range(config.epochs):
        order_N = rng.permutation(len(item_N))
        drawn_N = rng.choice(occur, len(item_N)) if len(occur) else item_N
        for start in range(0, len(order_N), config.batch_size):
            at = order_N[start : start + config.batch_size]
            query_BE = np.concatenate([people.rows[person_N[at]], follows.rows[last_N[at]]], axis=1)
            by_query_BE, by_taken_BE, by_drawn_BE = bpr_gradients(
                query_BE, items.rows[item_N[at]], items.rows[drawn_N[at]], config.regularization
            )
            people.step(person_N[at], by_query_BE[:, :dim])
            follows.step(last_N[at], by_query_BE[:, dim:])
            follows.rows[PAD] = 0.0
            items.step(np.concatenate([item_N[at], drawn_N[at]]), np.concatenate([by_taken_BE, by_drawn_BE]))
    return people.rows, follows.rows, items.rows


class AdagradTable:
    """Vectors with Adagrad's memory (Duchi et al. 2011): a step costs what it touches, not what there is."""

    def __init__(self, rows: np.ndarray, learning_rate: float) -> None:
        self.rows = rows
        self.learning_rate = learning_rate
        self._squares = np.zeros_like(rows)

    def step(self, index_M: np.ndarray, by_row: np.ndarray) -> None:
        """One step against the gradients [M, width] of some rows; those of a row that comes twice are added."""
        order_M = np.argsort(index_M, kind="stable")
        ordered_M = index_M[order_M]
        first = np.flatnonzero(np.diff(ordered_M, prepend=-1))
        touched = ordered_M[first]
        total = np.add.reduceat(by_row[order_M], first, axis=0)
        self._squares[touched] += total * total
        self.rows[touched] -= self.learning_rate * total / (np.sqrt(self._squares[touched]) + 1e-8)
