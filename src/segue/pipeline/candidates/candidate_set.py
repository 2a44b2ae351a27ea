"""Candidates of all sources merged into one set per history, without duplicates, with their ranks in each source.

Shape letters: B batch, C candidates, S sources, K candidates of one source, N flat entries, U distinct ones, V catalog
size with PAD.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from segue.data.catalog import PAD
from segue.data.sequences import Sequences
from segue.models.top_k import order_by_score_then_index
from segue.pipeline.candidates.source import CandidateSource
from segue.pipeline.ranked_list import NO_SOURCE, RankedList

RRF_CONSTANT = 60.0
"""Constant of the reciprocal rank fusion that selects the candidates to keep (Cormack et al. 2009)."""

INCLUDED_BONUS = np.float64(1e6)
"""Added to the fused score of items to include: more than any fused score."""


@dataclass(frozen=True)
class CandidateSet:
    """Candidates of B histories, each row in the order of reciprocal rank fusion, with PAD behind shorter rows."""

    items_BC: np.ndarray
    """int32."""
    ranks_BCS: np.ndarray
    """int32: rank from 1 in each source's list; 0 where the source did not give the item."""
    source_scores_BCS: np.ndarray
    """float32: score of every candidate by every source, whether it gave the candidate or not; -inf without a score."""
    is_served_BS: np.ndarray
    """bool: the source serves this history."""
    sources: tuple[str, ...]
    """Names of the sources."""
    num_candidates_S: np.ndarray
    """int32: number of candidates that each source gives."""

    def __len__(self) -> int:
        return len(self.items_BC)

    def ranked_list(self, row: int, scores_C: np.ndarray) -> RankedList:
        """Return one history's candidates by new scores, best first.

        The source of an item is the one with its best rank, the first one of ties.

        Args:
            row: row of the history.
            scores_C: new scores of its candidates.
        """
        columns = np.flatnonzero(self.items_BC[row] != PAD)
        order = columns[order_by_score_then_index(scores_C[columns])]
        source_ranks_CS = self.ranks_BCS[row, order]
        ranks_or_max_CS = np.where(source_ranks_CS > 0, source_ranks_CS, np.iinfo(np.int32).max)
        source_C = np.where((source_ranks_CS > 0).any(axis=1), ranks_or_max_CS.argmin(axis=1), NO_SOURCE)
        return RankedList.from_items(
            self.items_BC[row, order],
            scores_C[order],
            sources=self.sources,
            source_C=source_C,
            source_ranks_CS=source_ranks_CS,
        )


def generate_candidates(
    sources: Sequence[CandidateSource],
    histories: Sequences,
    max_candidates: int,
    *,
    exclude: Sequences | None = None,
    allowed_V: np.ndarray | None = None,
    include: Sequences | None = None,
) -> CandidateSet:
    """Generate the candidates of every source and merge them.

    Args:
        sources: the sources.
        histories: B histories.
        max_candidates: largest number of candidates per history; larger where more items are to be included.
        exclude: items that are no candidates, row b for row b.
        allowed_V: bool, items that may be candidates; None: all.
        include: items that are candidates in any case, row b for row b.
    """
    size = sources[0].scorer.size
    is_served_BS = np.stack([source.serves(histories) for source in sources], axis=1)
    scores = [source.score_histories(histories) for source in sources]
    lists = []
    for s, (source, source_scores) in enumerate(zip(sources, scores, strict=True)):
        items_BK = source_scores.top_k(min(source.config.num_candidates, size), exclude, allowed_V)
        row, column = np.nonzero((items_BK != PAD) & is_served_BS[:, s, None])
        lists.append((row * size + items_BK[row, column], column + 1, np.full(len(row), s)))
    keys_N, ranks_N, source_N = (np.concatenate(part) for part in zip(*lists, strict=True))
    merged = _merge(keys_N, ranks_N, source_N, (len(histories), size, len(sources)), include)
    items_BC, ranks_BCS = _to_rows(*merged, (len(histories), size), max_candidates)
    source_scores_BCS = np.stack([source_scores.score_items(items_BC) for source_scores in scores], axis=2)
    names, num_candidates = (
        tuple(source.name for source in sources),
        [source.config.num_candidates for source in sources],
    )
    return CandidateSet(
        items_BC, ranks_BCS, source_scores_BCS, is_served_BS, names, np.array(num_candidates, dtype=np.int32)
    )


def _merge(
    keys_N: np.ndarray,
    ranks_N: np.ndarray,
    source_N: np.ndarray,
    shape: tuple[int, int, int],
    include: Sequences | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (distinct row * V + item, rising; fused scores float64 [U]; ranks int32 [U, S])."""
    _, size, count = shape
    included_keys = np.empty(0, dtype=np.int64)
    if include is not None:
        row, positions = include.drop_unknown().positions()
        included_keys = row * size + include.drop_unknown().items[positions]
    keys_U, index = np.unique(np.concatenate([keys_N, included_keys]), return_inverse=True)
    fused_U = np.zeros(len(keys_U), dtype=np.float64)
    np.add.at(fused_U, index[: len(keys_N)], 1.0 / (RRF_CONSTANT + ranks_N))
    fused_U[index[len(keys_N) :]] += INCLUDED_BONUS  # above all others
    ranks_US = np.zeros((len(keys_U), count), dtype=np.int32)
    ranks_US[index[: len(keys_N)], source_N] = ranks_N
    return keys_U, fused_U, ranks_US


def _to_rows(
    keys_U: np.ndarray, fused_U: np.ndarray, ranks_US: np.ndarray, shape: tuple[int, int], max_candidates: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return (items int32 [B, C], ranks int32 [B, C, S]), rows by fused score, ties by index."""
    batch, size = shape
    row_U = keys_U // size
    order = order_by_score_then_index(fused_U, rows_N=row_U)
    row_U = row_U[order]
    column_U = np.arange(len(order)) - np.searchsorted(row_U, row_U)
    is_kept_U = (column_U < max_candidates) | (fused_U[order] >= INCLUDED_BONUS)
    width = max(1, int(column_U[is_kept_U].max(initial=-1)) + 1)
    row_U, column_U, order = row_U[is_kept_U], column_U[is_kept_U], order[is_kept_U]
    items_BC = np.full((batch, width), PAD, dtype=np.int32)
    items_BC[row_U, column_U] = keys_U[order] % size
    ranks_BCS = np.zeros((batch, width, ranks_US.shape[1]), dtype=np.int32)
    ranks_BCS[row_U, column_U] = ranks_US[order]
    return items_BC, ranks_BCS
