"""Session-kNN, the VS-kNN rule: sessions like this one, recent ones first, vote (Ludewig & Jannach 2018, section 3)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from segue.data.sequences import Sequences
from segue.models.rows import item_counts, tie_breaker


@dataclass(frozen=True)
class SessionKNNConfig:
    """Whom is asked, and how votes weigh."""

    neighbours: int = 100
    """The most alike sessions that vote."""
    sample: int = 1000
    """They are looked for among this many sessions that share an item, the most recent ones."""
    length: int = 20
    """The newest events of the session that is to go on."""
    stored: int = 50
    """Of each known session or person this many newest events are remembered."""
    idf: bool = True
    """Rare items count more, by log(sessions / sessions with the item)."""

    def __post_init__(self) -> None:
        for name in ("neighbours", "sample", "length", "stored"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")


class SessionKNN:
    """similarity(n) = sum of the weights of the shared items, an item at position p of T weighing p / T;
    score(j) = sum over neighbours with j of similarity * decay by how long ago the last shared item was * idf(j).

    Stored as flat sessions, most recent last, and for each item the sessions that hold it.
    """

    name: ClassVar[str] = "session-knn"

    def __init__(self, arrays: Mapping[str, np.ndarray], config: SessionKNNConfig) -> None:
        self._arrays = dict(arrays)
        self.config = config
        self.items_N, self.offsets_S = arrays["items"], arrays["offsets"]
        self.holders_M, self.holder_offsets_V = arrays["holders"], arrays["holder_offsets"]
        self.popularity_V, self.idf_V = arrays["popularity"], arrays["idf"]

    @classmethod
    def fit(cls, sequences: Sequences, size: int, config: SessionKNNConfig) -> "SessionKNN":
        """Remembers the sessions in order of their last event (of their row where there are no times)."""
        newest = sequences.known().tail(config.stored)
        newest = newest.take(newest.lengths > 0)
        if newest.times is not None:
            newest = newest.take(np.argsort(newest.times[newest.stops - 1], kind="stable"))
        row_N, where_N = newest.positions()
        items_N = newest.items[where_N].astype(np.int32)
        pairs = np.unique(items_N.astype(np.int64) * max(len(newest), 1) + row_N)
        item_M, session_M = np.divmod(pairs, max(len(newest), 1))
        counts_V = np.bincount(item_M, minlength=size)
        idf_V = np.log(max(len(newest), 1) / np.maximum(counts_V, 1)) if config.idf else np.ones(size)
        return cls(
            {
                "items": items_N,
                "offsets": np.concatenate([[0], np.cumsum(newest.lengths)]).astype(np.int64),
                "holders": session_M.astype(np.int32),
                "holder_offsets": np.concatenate([[0], np.cumsum(counts_V)]).astype(np.int64),
                "popularity": tie_breaker(item_counts(sequences, size), 1e-6),
                "idf": np.maximum(idf_V, 1e-3).astype(np.float32),
            },
            config,
        )

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
        """float32 [B, V]."""
        out_BV = np.tile(self.popularity_V, (len(histories), 1))
        for b, items in enumerate(histories.known().tail(self.config.length)):
            if len(items):
                self._vote(items, out_BV[b])
        return out_BV

    def _vote(self, history_T: np.ndarray, out_V: np.ndarray) -> None:
        """Adds the neighbours' votes for one session."""
        weight_V = {}
        for place, item in enumerate(history_T.tolist(), start=1):
            weight_V[item] = place / len(history_T)  # a repeated item counts at its newest place
        found = [self.holders_M[self.holder_offsets_V[i] : self.holder_offsets_V[i + 1]] for i in weight_V]
        candidate_M = np.concatenate(found)
        pull_M = np.repeat(list(weight_V.values()), [len(part) for part in found])
        session_C, inverse_M = np.unique(candidate_M, return_inverse=True)
        alike_C = np.bincount(inverse_M, weights=pull_M)
        if len(session_C) > self.config.sample:  # sessions are numbered by age
            session_C, alike_C = session_C[-self.config.sample :], alike_C[-self.config.sample :]
        if len(session_C) > self.config.neighbours:
            best = np.lexsort((-session_C, -alike_C))[: self.config.neighbours]
            session_C, alike_C = session_C[best], alike_C[best]
        first_C = self.offsets_S[session_C]
        count_C = self.offsets_S[session_C + 1] - first_C
        where_M = np.repeat(first_C - (np.cumsum(count_C) - count_C), count_C) + np.arange(int(count_C.sum()))
        item_M = self.items_N[where_M]
        newest_M = np.zeros(self.size, dtype=np.float32)
        newest_M[list(weight_V)] = list(weight_V.values())
        seat_M = np.repeat(np.arange(len(session_C)), count_C)
        # The decay: how new, in this session, the newest item is that the neighbour shares.
        shared_C = np.zeros(len(session_C), dtype=np.float32)
        np.maximum.at(shared_C, seat_M, newest_M[item_M])
        once = np.unique(seat_M.astype(np.int64) * self.size + item_M)  # an item votes once for each neighbour
        seat_U, item_U = np.divmod(once, self.size)
        votes_V = np.bincount(item_U, weights=(alike_C * shared_C)[seat_U], minlength=self.size)
        out_V += (votes_V * self.idf_V).astype(np.float32)
