"""Session-kNN: sessions like this one, recent ones first, vote for what stands near the shared items.

The rule is VS-kNN (Ludewig & Jannach 2018, section 3.1) with the neighbour's order taken into account as in STAN
(Garg et al. 2019, section 3.3). Shape letters: V catalogue size with PAD, T events of one session, S stored sessions,
C sessions that may vote, M their items one behind the other.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from segue.data.sequences import Sequences
from segue.models.rows import item_counts, tie_breaker

WEIGHTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "linear": lambda age_T: 1.0 - age_T / max(1, len(age_T)),
    "quadratic": lambda age_T: (1.0 - age_T / max(1, len(age_T))) ** 2,
    "log": lambda age_T: 1.0 / np.log2(age_T + 2.0),
    "harmonic": lambda age_T: 1.0 / (age_T + 1.0),
}
"""What an item of the session weighs that is so many events old; 1 for the newest, less for older ones."""


@dataclass(frozen=True)
class SessionKNNConfig:
    """Whom is asked, and how votes weigh."""

    neighbours: int = 500
    """The most alike sessions that vote."""
    sample: int = 2000
    """They are looked for among this many sessions that share an item, the most recent ones."""
    length: int = 20
    """The newest events of the session that is to go on."""
    stored: int = 100
    """Of each known session or person this many newest events are remembered."""
    weighting: Literal["linear", "quadratic", "log", "harmonic"] = "log"
    """How fast an item's weight in the similarity falls with its age in the session."""
    spread: float | None = 4.0
    """So many items away from the shared item a vote has fallen to 1 / e; 'none': votes are equal everywhere."""
    before: float = 0.5
    """What items before the shared one count, compared with those behind it."""
    idf: bool = True
    """Rare items count more, by log(sessions / sessions with the item)."""

    def __post_init__(self) -> None:
        for name in ("neighbours", "sample", "length", "stored"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if self.spread is not None and self.spread <= 0:
            raise ValueError(f"spread must be above 0, got {self.spread}.")
        if self.before < 0:
            raise ValueError(f"before must not be negative, got {self.before}.")


class SessionKNN:
    """similarity(n) = sum of the weights of the items that session n shares;
    score(j) = idf(j) * sum over neighbours n with j of similarity(n) / (1 + age of the newest shared item)
    * exp(-distance of j from that item in n / spread), times ``before`` where j stands before it.

    Stored are sessions, most recent last, each item once at its newest place, and for each item who holds it.
    """

    name: ClassVar[str] = "session-knn"

    def __init__(self, arrays: Mapping[str, np.ndarray], config: SessionKNNConfig) -> None:
        self._arrays = dict(arrays)
        self.config = config
        self.items_M, self.offsets_S = arrays["items"], arrays["offsets"]
        self.holders_M, self.holder_offsets_V = arrays["holders"], arrays["holder_offsets"]
        self.popularity_V, self.idf_V = arrays["popularity"], arrays["idf"]

    @classmethod
    def fit(cls, sequences: Sequences, size: int, config: SessionKNNConfig) -> "SessionKNN":
        """Remembers the sessions in order of their last event (of their row where there are no times)."""
        newest = sequences.known().tail(config.stored)
        newest = newest.take(newest.lengths > 0)
        if newest.times is not None:
            newest = newest.take(np.argsort(newest.times[newest.stops - 1], kind="stable"))
        session_M, items_M = _once(newest, size)
        counts_V = np.bincount(items_M, minlength=size)
        idf_V = np.log(max(len(newest), 1) / np.maximum(counts_V, 1)) if config.idf else np.ones(size)
        arrays = {
            "items": items_M,
            "offsets": _offsets(np.bincount(session_M, minlength=len(newest))),
            "holders": session_M[np.argsort(items_M, kind="stable")].astype(np.int32),
            "holder_offsets": _offsets(counts_V),
            "popularity": tie_breaker(item_counts(sequences, size), 1e-6),
            "idf": np.maximum(idf_V, 1e-3).astype(np.float32),  # an item of every session may still be voted for
        }
        return cls(arrays, config)

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray], config: SessionKNNConfig) -> "SessionKNN":
        """What ``arrays`` gave."""
        return cls(arrays, config)

    @property
    def size(self) -> int:
        return len(self.popularity_V)

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything to save, by name."""
        return self._arrays

    def scores(self, histories: Sequences) -> np.ndarray:
        """float32 [B, V]; popularity, a millionth of it, orders what nobody votes for."""
        out_BV = np.tile(self.popularity_V, (len(histories), 1))
        for b, history_T in enumerate(histories.known().tail(self.config.length)):
            if len(history_T):
                out_BV[b] += self._votes(history_T)
        return out_BV

    def _votes(self, history_T: np.ndarray) -> np.ndarray:
        """The neighbours' votes for one session, float32 [V]."""
        age_T = np.arange(len(history_T) - 1, -1, -1)
        age_V = np.full(self.size, np.inf)
        age_V[history_T] = age_T  # a repeated item counts at its newest place
        own, newest = np.unique(history_T[::-1], return_index=True)
        session_C, alike_C = self._neighbours(own, WEIGHTS[self.config.weighting](age_T)[::-1][newest])
        if not len(session_C):
            return np.zeros(self.size, dtype=np.float32)
        count_C = self.offsets_S[session_C + 1] - self.offsets_S[session_C]
        first_C = np.cumsum(count_C) - count_C
        place_M = np.arange(int(count_C.sum()))
        item_M = self.items_M[np.repeat(self.offsets_S[session_C] - first_C, count_C) + place_M]
        age_M = age_V[item_M]
        shared_C = np.minimum.reduceat(age_M, first_C)
        # Ages are distinct, and a stored session has each item once: exactly one place in each session matches.
        distance_M = place_M - np.repeat(np.flatnonzero(age_M == np.repeat(shared_C, count_C)), count_C)
        vote_M = np.repeat(alike_C / (1.0 + shared_C), count_C)
        vote_M[distance_M < 0] *= self.config.before
        if self.config.spread is not None:
            vote_M *= np.exp(-np.abs(distance_M) / self.config.spread)
        votes_V = np.bincount(item_M, weights=vote_M, minlength=self.size)
        return (votes_V * self.idf_V).astype(np.float32)

    def _neighbours(self, items_T: np.ndarray, weights_T: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(sessions int64 [C], similarity float64 [C]) of those that may vote, for distinct items and their weights."""
        found = [self.holders_M[self.holder_offsets_V[i] : self.holder_offsets_V[i + 1]] for i in items_T]
        pull_M = np.repeat(weights_T, [len(part) for part in found])
        session_C, inverse_M = np.unique(np.concatenate(found), return_inverse=True)
        alike_C = np.bincount(inverse_M, weights=pull_M)
        if len(session_C) > self.config.sample:  # sessions are numbered by age
            session_C, alike_C = session_C[-self.config.sample :], alike_C[-self.config.sample :]
        if len(session_C) > self.config.neighbours:
            best = np.lexsort((-session_C, -alike_C))[: self.config.neighbours]
            session_C, alike_C = session_C[best], alike_C[best]
        return session_C.astype(np.int64), alike_C


def _once(sequences: Sequences, size: int) -> tuple[np.ndarray, np.ndarray]:
    """(row int64 [M], item int32 [M]) of all events but those whose item comes again later in its row."""
    row_N, where_N = sequences.positions()
    items_N = sequences.items[where_N]
    _, from_behind = np.unique((row_N * size + items_N)[::-1], return_index=True)
    kept = np.sort(len(row_N) - 1 - from_behind)
    return row_N[kept], items_N[kept].astype(np.int32)


def _offsets(counts: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
