"""Several sources' lists as one set of candidates for each history: duplicates merged, provenance kept.

Shape letters: B batch, C candidates, S sources, K taken by one source, N flat entries, U distinct ones, V catalog
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
"""The constant of reciprocal-rank fusion that decides which candidates go on (Cormack et al. 2009)."""

INCLUDED_BONUS = np.float64(1e6)
"""More than any fused score."""


@dataclass(frozen=True)
class CandidateSet:
    """B sets of candidates, each in the order of reciprocal-rank fusion, PAD behind where a set is smaller."""

    items_BC: np.ndarray
    """int32."""
    ranks_BCS: np.ndarray
    """int32: the place from 1 in each source's list; 0 where the source did not give the item."""
    source_scores_BCS: np.ndarray
    """float32: every source's score of every candidate, given by it or not; -inf where it has no opinion."""
    is_served_BS: np.ndarray
    """bool: whether a source was asked for this history."""
    sources: tuple[str, ...]
    num_candidates_S: np.ndarray
    """int32: how many candidates each source gives."""

    def __len__(self) -> int:
        return len(self.items_BC)

    def ranked_list(self, row: int, scores_C: np.ndarray) -> RankedList:
        """One history's candidates by new scores, best first; the source of an item is the one that had it highest,
        of equals the first."""
        there = np.flatnonzero(self.items_BC[row] != PAD)
        order = there[order_by_score_then_index(scores_C[there])]
        source_ranks_CS = self.ranks_BCS[row, order]
        given_CS = np.where(source_ranks_CS > 0, source_ranks_CS, np.iinfo(np.int32).max)
        source_C = np.where((source_ranks_CS > 0).any(axis=1), given_CS.argmin(axis=1), NO_SOURCE)
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
    """Asks every source and merges what they give, at most ``most`` items a history.

    Items of ``also`` (row b for row b) are candidates too, whoever gives them: what somebody asks about.
    """
    size = sources[0].scorer.size
    is_served_BS = np.stack([source.serves(histories) for source in sources], axis=1)
    answers = [source.score_histories(histories) for source in sources]
    lists = []
    for s, (source, answer) in enumerate(zip(sources, answers, strict=True)):
        items_BK = answer.top_k(min(source.config.num_candidates, size), exclude, allowed_V)
        row, column = np.nonzero((items_BK != PAD) & is_served_BS[:, s, None])
        lists.append((row * size + items_BK[row, column], column + 1, np.full(len(row), s)))
    keys_N, ranks_N, source_N = (np.concatenate(part) for part in zip(*lists, strict=True))
    merged = _merge(keys_N, ranks_N, source_N, (len(histories), size, len(sources)), include)
    items_BC, ranks_BCS = _to_rows(*merged, (len(histories), size), max_candidates)
    source_scores_BCS = np.stack([answer.score_items(items_BC) for answer in answers], axis=2)
    names, takes = tuple(source.name for source in sources), [source.config.num_candidates for source in sources]
    return CandidateSet(items_BC, ranks_BCS, source_scores_BCS, is_served_BS, names, np.array(takes, dtype=np.int32))


def _merge(
    keys_N: np.ndarray,
    ranks_N: np.ndarray,
    source_N: np.ndarray,
    shape: tuple[int, int, int],
    include: Sequences | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(each distinct row * V + item, rising; its fused score float64 [U]; its places int32 [U, S])."""
    _, size, count = shape
    asked = np.empty(0, dtype=np.int64)
    if include is not None:
        row, where = include.drop_unknown().positions()
        asked = row * size + include.drop_unknown().items[where]
    keys_U, index = np.unique(np.concatenate([keys_N, asked]), return_inverse=True)
    fused_U = np.zeros(len(keys_U), dtype=np.float64)
    np.add.at(fused_U, index[: len(keys_N)], 1.0 / (RRF_CONSTANT + ranks_N))
    fused_U[index[len(keys_N) :]] += INCLUDED_BONUS  # above all: they were asked for by name
    ranks_US = np.zeros((len(keys_U), count), dtype=np.int32)
    ranks_US[index[: len(keys_N)], source_N] = ranks_N
    return keys_U, fused_U, ranks_US


def _to_rows(
    keys_U: np.ndarray, fused_U: np.ndarray, ranks_US: np.ndarray, shape: tuple[int, int], max_candidates: int
) -> tuple[np.ndarray, np.ndarray]:
    """(items int32 [B, C], places int32 [B, C, S]): rows by fused score, equals by index."""
    batch, size = shape
    row_U = keys_U // size
    order = order_by_score_then_index(fused_U, rows_N=row_U)
    row_U = row_U[order]
    column_U = np.arange(len(order)) - np.searchsorted(row_U, row_U)
    kept = column_U < max_candidates
    width = max(1, int(column_U[kept].max(initial=-1)) + 1)
    row_U, column_U, order = row_U[kept], column_U[kept], order[kept]
    items_BC = np.full((batch, width), PAD, dtype=np.int32)
    items_BC[row_U, column_U] = keys_U[order] % size
    ranks_BCS = np.zeros((batch, width, ranks_US.shape[1]), dtype=np.int32)
    ranks_BCS[row_U, column_U] = ranks_US[order]
    return items_BC, ranks_BCS
