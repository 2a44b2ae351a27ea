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

ASKED = np.float64(1e6)
"""More than any fused score."""


@dataclass(frozen=True)
class CandidateSet:
    """B sets of candidates, each in the order of reciprocal-rank fusion, PAD behind where a set is smaller."""

    items_BC: np.ndarray
    """int32."""
    place_BCS: np.ndarray
    """int32: the place from 1 in each source's list; 0 where the source did not give the item."""
    raw_BCS: np.ndarray
    """float32: every source's score of every candidate, given by it or not; -inf where it has no opinion."""
    served_BS: np.ndarray
    """bool: whether a source was asked for this history."""
    sources: tuple[str, ...]
    takes_S: np.ndarray
    """int32: how many candidates each source gives."""

    def __len__(self) -> int:
        return len(self.items_BC)

    def ranked(self, b: int, scores_C: np.ndarray) -> RankedList:
        """One history's candidates by new scores, best first; the source of an item is the one that had it highest,
        of equals the first."""
        there = np.flatnonzero(self.items_BC[b] != PAD)
        order = there[order_by_score_then_index(scores_C[there])]
        place_CS = self.place_BCS[b, order]
        given_CS = np.where(place_CS > 0, place_CS, np.iinfo(np.int32).max)
        source_C = np.where((place_CS > 0).any(axis=1), given_CS.argmin(axis=1), NO_SOURCE)
        return RankedList.of(
            self.items_BC[b, order], scores_C[order], sources=self.sources, source_C=source_C, place_CS=place_CS
        )


def generate_candidates(
    sources: Sequence[CandidateSource],
    histories: Sequences,
    most: int,
    *,
    exclude: Sequences | None = None,
    allowed_V: np.ndarray | None = None,
    also: Sequences | None = None,
) -> CandidateSet:
    """Asks every source and merges what they give, at most ``most`` items a history.

    Items of ``also`` (row b for row b) are candidates too, whoever gives them: what somebody asks about.
    """
    size = sources[0].scorer.size
    served_BS = np.stack([source.serves(histories) for source in sources], axis=1)
    answers = [source.score_histories(histories) for source in sources]
    lists = []
    for s, (source, answer) in enumerate(zip(sources, answers, strict=True)):
        items_BK = answer.best(min(source.config.num_candidates, size), exclude, allowed_V)
        row, column = np.nonzero((items_BK != PAD) & served_BS[:, s, None])
        lists.append((row * size + items_BK[row, column], column + 1, np.full(len(row), s)))
    keys_N, place_N, source_N = (np.concatenate(part) for part in zip(*lists, strict=True))
    merged = _merge(keys_N, place_N, source_N, (len(histories), size, len(sources)), also)
    items_BC, place_BCS = _spread(*merged, (len(histories), size), most)
    raw_BCS = np.stack([answer.of(items_BC) for answer in answers], axis=2)
    names, takes = tuple(source.name for source in sources), [source.config.num_candidates for source in sources]
    return CandidateSet(items_BC, place_BCS, raw_BCS, served_BS, names, np.array(takes, dtype=np.int32))


def _merge(
    keys_N: np.ndarray,
    place_N: np.ndarray,
    source_N: np.ndarray,
    shape: tuple[int, int, int],
    also: Sequences | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(each distinct row * V + item, rising; its fused score float64 [U]; its places int32 [U, S])."""
    _, size, count = shape
    asked = np.empty(0, dtype=np.int64)
    if also is not None:
        row, where = also.drop_unknown().positions()
        asked = row * size + also.drop_unknown().items[where]
    keys_U, index = np.unique(np.concatenate([keys_N, asked]), return_inverse=True)
    fused_U = np.zeros(len(keys_U), dtype=np.float64)
    np.add.at(fused_U, index[: len(keys_N)], 1.0 / (RRF_CONSTANT + place_N))
    fused_U[index[len(keys_N) :]] += ASKED  # above all: they were asked for by name
    place_US = np.zeros((len(keys_U), count), dtype=np.int32)
    place_US[index[: len(keys_N)], source_N] = place_N
    return keys_U, fused_U, place_US


def _spread(
    keys_U: np.ndarray, fused_U: np.ndarray, place_US: np.ndarray, shape: tuple[int, int], most: int
) -> tuple[np.ndarray, np.ndarray]:
    """(items int32 [B, C], places int32 [B, C, S]): rows by fused score, equals by index."""
    batch, size = shape
    row_U = keys_U // size
    order = order_by_score_then_index(fused_U, rows_N=row_U)
    row_U = row_U[order]
    column_U = np.arange(len(order)) - np.searchsorted(row_U, row_U)
    kept = column_U < most
    width = max(1, int(column_U[kept].max(initial=-1)) + 1)
    row_U, column_U, order = row_U[kept], column_U[kept], order[kept]
    items_BC = np.full((batch, width), PAD, dtype=np.int32)
    items_BC[row_U, column_U] = keys_U[order] % size
    place_BCS = np.zeros((batch, width, place_US.shape[1]), dtype=np.int32)
    place_BCS[row_U, column_U] = place_US[order]
    return items_BC, place_BCS
