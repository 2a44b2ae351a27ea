"""Index of stored sessions or users: their distinct items, and the sessions of each item.

A stored row of items is called a session here; in user-kNN it is a user.

Shape letters: B histories, V catalog size with PAD, Q distinct items of the histories, S stored sessions, M their
items (contiguous), C pairs of a history and a session of one block.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from segue.data.sequences import Sequences
from segue.models.sparse_rows import item_counts, tie_breaker

BLOCK_PAIRS = 1 << 20
"""Number of pairs (item of a history, session with it) in one block, about 50 MB; a single history may exceed it, up to
its length times the sample size."""
BLOCK_SCORES = 1 << 22
"""Number of scores (histories times catalog) in one block."""
BLOCK_ITEMS = 1 << 21
"""Number of items of matched sessions that vote at a time, about 120 MB; a single history may exceed it."""


@dataclass(frozen=True)
class NeighborQueries:
    """A block of histories: each distinct item once, at its newest position; row by row, the newest item first."""

    row_Q: np.ndarray
    item_Q: np.ndarray
    age_Q: np.ndarray
    """Number of events after the item's last occurrence; 0 for the newest event."""
    length_B: np.ndarray
    """Number of events of each history."""
    start: int
    """Index of the block's first history among all histories."""

    def __len__(self) -> int:
        return len(self.length_B)


@dataclass(frozen=True)
class NeighborMatches:
    """C pairs of a history and a session with a common item; history by history, the last session first."""

    row_C: np.ndarray
    session_C: np.ndarray
    """Index of the session."""
    shared_C: np.ndarray
    """Sum of the weights of the shared items, added in the order of their age."""
    item_C: np.ndarray
    """Newest shared item."""
    age_C: np.ndarray
    """Age of the newest shared item in the history, in events."""

    def take(self, chosen: np.ndarray | slice) -> "NeighborMatches":
        """Return the chosen pairs (index, bool mask or slice)."""
        return NeighborMatches(
            self.row_C[chosen], self.session_C[chosen], self.shared_C[chosen], self.item_C[chosen], self.age_C[chosen]
        )


class SessionIndex:
    """Stored sessions with their distinct items, and for each item the sessions that contain it.

    Sessions are in ascending order of preference: a sample takes the last ones.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        self._arrays = dict(arrays)
        self.items_M, self.offsets_S = arrays["items"], arrays["offsets"]
        self.item_sessions_M, self.item_session_offsets_V = arrays["item_sessions"], arrays["item_session_offsets"]
        self.popularity_V = arrays["popularity"]
        self.times_S = arrays.get("times")
        self.length_S = np.diff(self.offsets_S)

    @classmethod
    def fit(
        cls,
        sequences: Sequences,
        size: int,
        *,
        max_events: int | None = None,
        shuffle: np.random.Generator | None = None,
    ) -> "SessionIndex":
        """Store sessions in order of their last event, of their row where the log has no times, or in random order.

        Args:
            sequences: item indices of each session or user; PAD is ignored.
            size: V, catalog size with PAD.
            max_events: number of newest events that are stored of each session; None: all.
            shuffle: generator of a random order; None: order by time.
        """
        newest = sequences.drop_unknown() if max_events is None else sequences.drop_unknown().tail(max_events)
        newest = newest.take(newest.lengths > 0)
        if shuffle is not None:
            newest = newest.take(shuffle.permutation(len(newest)))
        elif newest.times is not None:
            newest = newest.take(np.argsort(newest.times[newest.stops - 1], kind="stable"))
        row_M, position_M = recency_positions(newest, size)
        items_M = newest.items[position_M].astype(np.int32)
        arrays = {
            "items": items_M,
            "offsets": _offsets(np.bincount(row_M, minlength=len(newest))),
            "item_sessions": row_M[np.argsort(items_M, kind="stable")].astype(np.int32),
            "item_session_offsets": _offsets(np.bincount(items_M, minlength=size)),
            "popularity": tie_breaker(item_counts(sequences, size), 1.0),
        }
        if newest.times is not None:
            arrays["times"] = newest.times[newest.stops - 1]
        return cls(arrays)

    def arrays(self) -> dict[str, np.ndarray]:
        """See ``Scorer.arrays``."""
        return self._arrays

    @property
    def size(self) -> int:
        return len(self.popularity_V)

    def idf(self) -> np.ndarray:
        """Return log(sessions / sessions with the item), float64 [V]; 0 for an item of no session."""
        count_V = np.diff(self.item_session_offsets_V)
        return np.log(max(1, len(self.length_S)) / np.where(count_V == 0, max(1, len(self.length_S)), count_V))

    def blocks(self, histories: Sequences, sample: int) -> Iterator[NeighborQueries]:
        """Split histories into blocks whose search and scores fit into bounded memory.

        Args:
            histories: histories without PAD.
            sample: number of sessions that are searched for each history.
        """
        row_N, position_N = recency_positions(histories, self.size)
        items_N, age_N = histories.items[position_N], histories.stops[row_N] - 1 - position_N
        order = np.lexsort((age_N, row_N))
        row_N, items_N, age_N = row_N[order], items_N[order], age_N[order]
        pairs_N = np.minimum(self._session_counts(items_N), sample)
        pairs_B = np.bincount(row_N, weights=pairs_N, minlength=len(histories))
        cost_B = np.maximum(pairs_B / BLOCK_PAIRS, self.size / BLOCK_SCORES)
        block_B = np.floor(np.cumsum(cost_B)).astype(np.int64)
        for block in np.unique(block_B):
            start, stop = np.searchsorted(block_B, [block, block + 1])
            part = slice(*np.searchsorted(row_N, [start, stop]))
            yield NeighborQueries(
                row_N[part] - start, items_N[part], age_N[part], histories.lengths[start:stop], int(start)
            )

    def _session_counts(self, items: np.ndarray) -> np.ndarray:
        return self.item_session_offsets_V[items + 1] - self.item_session_offsets_V[items]

    def find(self, queries: NeighborQueries, weight_Q: np.ndarray, sample: int) -> NeighborMatches:
        """Find the last ``sample`` sessions that share an item with each history.

        A session among the last n with any of some items is among the last n sessions of each of its items: so n
        sessions of each item are enough. History, session and item are packed into one integer, because integers are
        sorted many times faster than records.

        Args:
            queries: a block of histories.
            weight_Q: weight of each item in the similarity.
            sample: number of sessions for each history.
        """
        count_Q = np.minimum(self._session_counts(queries.item_Q), sample)
        first_B = _offsets(np.bincount(queries.row_Q, minlength=len(queries)))
        position_Q = np.arange(len(queries.row_Q)) - first_B[queries.row_Q]
        rows, num_positions = max(1, len(self.length_S)), int(position_Q.max(initial=0)) + 1
        assert len(queries) * rows * num_positions < 1 << 62
        last_Q = self.item_session_offsets_V[queries.item_Q + 1] - 1
        entry = np.repeat(last_Q + np.cumsum(count_Q) - count_Q, count_Q) - np.arange(int(count_Q.sum()))
        key = np.repeat(((queries.row_Q + 1) * rows - 1) * num_positions + position_Q, count_Q)
        key -= self.item_sessions_M[entry] * np.int64(num_positions)
        key.sort()
        pair, position = np.divmod(key, num_positions)
        first_C = np.flatnonzero(np.diff(pair, prepend=-1))
        row_C, back_C = np.divmod(pair[first_C], rows)
        query = first_B[row_C]
        weights = weight_Q[np.repeat(query, np.diff(first_C, append=len(key))) + position]
        shared_C = np.add.reduceat(weights, first_C) if len(first_C) else np.empty(0)
        query = query + position[first_C]
        matches = NeighborMatches(row_C, rows - 1 - back_C, shared_C, queries.item_Q[query], queries.age_Q[query])
        return matches.take(positions_in_row(row_C) < sample)

    def row_blocks(self, matches: NeighborMatches, batch: int) -> Iterator[tuple[slice, slice]]:
        """Split the histories of a block so that the items of their matched sessions fit into bounded memory.

        Args:
            matches: pairs of a history and a session, history by history.
            batch: number of histories.

        Yields:
            (histories, their matches).
        """
        items_B = np.bincount(matches.row_C, weights=self.length_S[matches.session_C], minlength=batch)
        block_B = np.floor(np.cumsum(items_B) / BLOCK_ITEMS).astype(np.int64)
        edges = [0, *(np.flatnonzero(np.diff(block_B)) + 1).tolist(), batch]
        first_match = np.searchsorted(matches.row_C, edges)
        for i, (start, stop) in enumerate(pairwise(edges)):
            yield slice(start, stop), slice(first_match[i], first_match[i + 1])

    def neighbor_items(self, matches: NeighborMatches) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the items of all matched sessions.

        Returns:
            (index of the match int64, item int32, distance after the newest shared item in items int64, negative
            before it), all of one length.
        """
        count_C = self.length_S[matches.session_C]
        match = np.repeat(np.arange(len(count_C)), count_C)
        first_C = np.cumsum(count_C) - count_C
        entry = np.arange(len(match))
        items = self.items_M[np.repeat(self.offsets_S[matches.session_C] - first_C, count_C) + entry]
        shared_C = np.flatnonzero(items == matches.item_C[match])  # a session has each item once: one entry for each
        return match, items, entry - shared_C[match]

    def scores(self, row: np.ndarray, items: np.ndarray, votes: np.ndarray, batch: int) -> np.ndarray:
        """Sum votes into scores; the best item of each row has score 1.

        An item without votes has its popularity, scaled to [-1, 0), so that any vote ranks above none.

        Args:
            row: row of each vote.
            items: item of each vote.
            votes: weight of each vote.
            batch: number of rows.

        Returns:
            float32 [batch, V].
        """
        summed = np.bincount(row * self.size + items, weights=votes, minlength=batch * self.size)
        total = summed.astype(np.float64).reshape(batch, self.size)  # without any vote bincount returns integers
        best_B1 = total.max(axis=1, keepdims=True, initial=0.0)
        total /= np.where(best_B1 > 0, best_B1, 1.0)
        return np.where(total > 0, total, self.popularity_V - 1.0).astype(np.float32)


def recency_positions(sequences: Sequences, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the last occurrence of each item in each row.

    Args:
        sequences: rows of item indices.
        size: V, catalog size with PAD.

    Returns:
        (row int64, flat position int64).
    """
    row_N, position_N = sequences.positions()
    slot_N = row_N * size + sequences.items[position_N]
    _, from_behind = np.unique(slot_N[::-1], return_index=True)
    kept = np.sort(len(row_N) - 1 - from_behind)
    return row_N[kept], position_N[kept]


def positions_in_row(row: np.ndarray) -> np.ndarray:
    """Return the position of each entry within its row; entries lie row by row."""
    first_B = _offsets(np.bincount(row))
    positions: np.ndarray = np.arange(len(row)) - first_B[row]
    return positions


def _offsets(counts: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
