"""Remembered rows that share items with a history: found, cut to the nearest and heard, a whole batch at a time.

Shape letters: B histories, V catalog size with PAD, Q distinct items of the histories, S remembered rows, M their
items one behind the other, C rows found for the histories of a block.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from segue.data.sequences import Sequences
from segue.models.sparse_rows import item_counts, tie_breaker

WEIGHTS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "none": lambda age, length: np.ones(len(age)),
    "linear": lambda age, length: 1.0 - age / length,
    "quadratic": lambda age, length: (1.0 - age / length) ** 2,
    "log": lambda age, length: 1.0 / np.log2(age + 2.0),
    "harmonic": lambda age, length: 1.0 / (age + 1.0),
}
"""(age in events, length of the history) -> what such an item weighs: 1 for the newest, less for older ones."""

BLOCK_PAIRS = 1 << 20
"""So many pairs of a history's item and a row that holds it are looked at together, about 50 MB; one history alone
may need more, at most its length times the sample."""
BLOCK_SCORES = 1 << 22
"""So many scores, histories times catalog, are summed together."""


@dataclass(frozen=True)
class NeighborQueries:
    """A block of histories: each of their items once, at its newest place; row by row, the newest item first."""

    row_Q: np.ndarray
    item_Q: np.ndarray
    age_Q: np.ndarray
    """Events since the item, 0 for the newest event; an item that came again counts from its last time."""
    length_B: np.ndarray
    """Events in each history."""
    start: int
    """Where the block begins among all histories."""

    def __len__(self) -> int:
        return len(self.length_B)


@dataclass(frozen=True)
class NeighborMatches:
    """C pairs of a history and a remembered row with an item in common; history by history, the last row first."""

    row_C: np.ndarray
    held_C: np.ndarray
    """The remembered row."""
    shared_C: np.ndarray
    """Sum of the shared items' weights, in the order of their age."""
    item_C: np.ndarray
    """The newest shared item."""
    age_C: np.ndarray
    """And its age in the history."""

    def take(self, chosen: np.ndarray) -> "NeighborMatches":
        """Some of the pairs."""
        return NeighborMatches(
            self.row_C[chosen], self.held_C[chosen], self.shared_C[chosen], self.item_C[chosen], self.age_C[chosen]
        )


class SessionIndex:
    """Rows, the last ones first to be asked, each item once at its newest place; and for each item who holds it."""

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        self._arrays = dict(arrays)
        self.items_M, self.offsets_S = arrays["items"], arrays["offsets"]
        self.holders_M, self.holder_offsets_V = arrays["holders"], arrays["holder_offsets"]
        self.popularity_V = arrays["popularity"]
        self.times_S = arrays.get("times")
        self.length_S = np.diff(self.offsets_S)

    @classmethod
    def fit(
        cls, sequences: Sequences, size: int, *, stored: int | None = None, shuffle: np.random.Generator | None = None
    ) -> "SessionIndex":
        """Remembers the newest ``stored`` events of each row, in order of their last event (of their row where there
        are no times), or in random order: the last rows are those that a sample takes."""
        newest = sequences.drop_unknown() if stored is None else sequences.drop_unknown().tail(stored)
        newest = newest.take(newest.lengths > 0)
        if shuffle is not None:
            newest = newest.take(shuffle.permutation(len(newest)))
        elif newest.times is not None:
            newest = newest.take(np.argsort(newest.times[newest.stops - 1], kind="stable"))
        row_M, where_M = recency_positions(newest, size)
        items_M = newest.items[where_M].astype(np.int32)
        arrays = {
            "items": items_M,
            "offsets": _offsets(np.bincount(row_M, minlength=len(newest))),
            "holders": row_M[np.argsort(items_M, kind="stable")].astype(np.int32),
            "holder_offsets": _offsets(np.bincount(items_M, minlength=size)),
            "popularity": tie_breaker(item_counts(sequences, size), 1.0),
        }
        if newest.times is not None:
            arrays["times"] = newest.times[newest.stops - 1]
        return cls(arrays)

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything to save, by name."""
        return self._arrays

    @property
    def size(self) -> int:
        return len(self.popularity_V)

    def idf(self) -> np.ndarray:
        """log(rows / rows with the item), float64 [V]; 0 for an item nobody holds."""
        held_V = np.diff(self.holder_offsets_V)
        return np.log(max(1, len(self.length_S)) / np.where(held_V == 0, max(1, len(self.length_S)), held_V))

    def blocks(self, histories: Sequences, sample: int) -> Iterator[NeighborQueries]:
        """The histories (without PAD) cut so that each block's search and scores fit into bounded memory."""
        row_N, where_N = recency_positions(histories, self.size)
        items_N, age_N = histories.items[where_N], histories.stops[row_N] - 1 - where_N
        order = np.lexsort((age_N, row_N))
        row_N, items_N, age_N = row_N[order], items_N[order], age_N[order]
        pairs_N = np.minimum(self._held(items_N), sample)
        pairs_B = np.bincount(row_N, weights=pairs_N, minlength=len(histories))
        cost_B = np.maximum(pairs_B / BLOCK_PAIRS, self.size / BLOCK_SCORES)
        block_B = np.floor(np.cumsum(cost_B)).astype(np.int64)
        for block in np.unique(block_B):
            start, stop = np.searchsorted(block_B, [block, block + 1])
            part = slice(*np.searchsorted(row_N, [start, stop]))
            yield NeighborQueries(
                row_N[part] - start, items_N[part], age_N[part], histories.lengths[start:stop], int(start)
            )

    def _held(self, items: np.ndarray) -> np.ndarray:
        return self.holder_offsets_V[items + 1] - self.holder_offsets_V[items]

    def find(self, asked: NeighborQueries, weight_Q: np.ndarray, sample: int) -> NeighborMatches:
        """The last ``sample`` rows that share an item with each history.

        A row among the last n that hold any of some items is among the last n that hold each of its own: so only so
        many holders of each item have to be looked at. History, row and item are packed into one integer, because
        numbers are sorted many times faster than records.
        """
        count_Q = np.minimum(self._held(asked.item_Q), sample)
        first_B = _offsets(np.bincount(asked.row_Q, minlength=len(asked)))
        place_Q = np.arange(len(asked.row_Q)) - first_B[asked.row_Q]
        rows, places = max(1, len(self.length_S)), int(place_Q.max(initial=0)) + 1
        assert len(asked) * rows * places < 1 << 62
        last_Q = self.holder_offsets_V[asked.item_Q + 1] - 1
        entry = np.repeat(last_Q + np.cumsum(count_Q) - count_Q, count_Q) - np.arange(int(count_Q.sum()))
        key = np.repeat(((asked.row_Q + 1) * rows - 1) * places + place_Q, count_Q)
        key -= self.holders_M[entry] * np.int64(places)
        key.sort()
        pair, place = np.divmod(key, places)
        first_C = np.flatnonzero(np.diff(pair, prepend=-1))
        row_C, back_C = np.divmod(pair[first_C], rows)
        query = first_B[row_C]
        weights = weight_Q[np.repeat(query, np.diff(first_C, append=len(key))) + place]
        shared_C = np.add.reduceat(weights, first_C) if len(first_C) else np.empty(0)
        query = query + place[first_C]
        found = NeighborMatches(row_C, rows - 1 - back_C, shared_C, asked.item_Q[query], asked.age_Q[query])
        return found.take(_places(row_C) < sample)

    def add_votes(self, found: NeighborMatches) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The items of the rows found: (which of the C int64, item int32, how many places behind the newest shared
        item int64; negative before it)."""
        count_C = self.length_S[found.held_C]
        which = np.repeat(np.arange(len(count_C)), count_C)
        first_C = np.cumsum(count_C) - count_C
        place = np.arange(len(which))
        items = self.items_M[np.repeat(self.offsets_S[found.held_C] - first_C, count_C) + place]
        shared_C = np.flatnonzero(items == found.item_C[which])  # a row has each item once: one place for each
        return which, items, place - shared_C[which]

    def scores(self, row: np.ndarray, items: np.ndarray, votes: np.ndarray, batch: int) -> np.ndarray:
        """float32 [batch, V]: the sum of the votes, the best item of each row 1. Where there is no vote, popularity
        in [-1, 0): no vote is too small to count more than none."""
        counted = np.bincount(row * self.size + items, weights=votes, minlength=batch * self.size)
        total = counted.astype(np.float64).reshape(batch, self.size)  # without any vote it counts in integers
        best_B1 = total.max(axis=1, keepdims=True, initial=0.0)
        total /= np.where(best_B1 > 0, best_B1, 1.0)
        return np.where(total > 0, total, self.popularity_V - 1.0).astype(np.float32)


class NeighborModel:
    """What a model that answers from a ``Memory`` shares with every other: only who votes, and how, is its own.

    A model's ``config`` says how many newest events of a history are asked for (``length``), and among how many rows
    that share an item its neighbors are looked for (``sample``).
    """

    def __init__(self, memory: SessionIndex, config: Any) -> None:
        self.memory = memory
        self.config = config

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray], config: Any) -> Self:
        """What ``arrays`` gave."""
        return cls(SessionIndex(arrays), config)

    @property
    def size(self) -> int:
        return self.memory.size

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything to save, by name."""
        return self.memory.arrays()

    def scores(self, histories: Sequences) -> np.ndarray:
        """float32 [B, V]: the best item of a history 1; below 0 is popularity, which orders what nobody votes for."""
        known = histories.drop_unknown().tail(self.config.max_length)
        out_BV = np.empty((len(known), self.size), dtype=np.float32)
        for asked in self.memory.blocks(known, self.config.sample_size):
            rows = slice(asked.start, asked.start + len(asked))
            out_BV[rows] = self.votes(asked, known.take(rows))
        return out_BV

    @abstractmethod
    def votes(self, asked: NeighborQueries, histories: Sequences) -> np.ndarray:
        """``Memory.scores`` of a block of histories, whose rows ``asked`` holds item by item."""


def nearest(found: NeighborMatches, alike_C: np.ndarray, count: int) -> np.ndarray:
    """bool [C]: the ``count`` most alike of each history; of equals those that come first."""
    batch = int(found.row_C.max(initial=-1)) + 1
    chosen: np.ndarray = np.bincount(found.row_C, minlength=batch)[found.row_C] <= count
    crowded = np.flatnonzero(~chosen)
    if not len(crowded):
        return chosen
    _, row = np.unique(found.row_C[crowded], return_inverse=True)
    rows, place, alike = int(row[-1]) + 1, _places(row), alike_C[crowded]
    table_BC = np.full((rows, int(place.max()) + 1), -np.inf)
    table_BC[row, place] = alike
    floor = np.partition(table_BC, -count, axis=1)[:, -count][row]
    above, equal = alike > floor, np.flatnonzero(alike == floor)
    left_B = count - np.bincount(row[above], minlength=rows)
    chosen[crowded[above]] = True
    chosen[crowded[equal[_places(row[equal]) < left_B[row[equal]]]]] = True
    return chosen


def recency_positions(sequences: Sequences, size: int) -> tuple[np.ndarray, np.ndarray]:
    """(row int64, flat position int64) of all events but those whose item comes again later in its row."""
    row_N, where_N = sequences.positions()
    slot_N = row_N * size + sequences.items[where_N]
    _, from_behind = np.unique(slot_N[::-1], return_index=True)
    kept = np.sort(len(row_N) - 1 - from_behind)
    return row_N[kept], where_N[kept]


def _places(row: np.ndarray) -> np.ndarray:
    """Each entry's place within its row; entries lie row by row."""
    first_B = _offsets(np.bincount(row))
    places: np.ndarray = np.arange(len(row)) - first_B[row]
    return places


def _offsets(counts: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
