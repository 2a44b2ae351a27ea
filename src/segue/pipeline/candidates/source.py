"""Source of candidates: a scorer, the part of the history that it receives, and the number of candidates that it gives.

Shape letters: B batch, C candidates, K candidates of one source, D embedding size, N events, V catalog size with PAD.
"""

from dataclasses import replace

import numpy as np

from segue.data.catalog import PAD
from segue.data.sequences import Sequences
from segue.models.retrieval.exact_search import ExactSearch
from segue.models.retrieval.int8_scan import build_scan
from segue.models.retrieval.retriever import EXACT_SEARCH_MIN_ITEMS
from segue.models.scorer import ColdItemScorer, Scorer, SparseScorer, StaticScorer, VectorScorer
from segue.pipeline.candidates.source_scores import (
    AnnScores,
    DenseScores,
    ExactSearchScores,
    SourceScores,
    SparseScores,
    StaticScores,
    rank_order,
)
from segue.pipeline.candidates.vector_index import HNSWIndex
from segue.pipeline.config import SourceConfig
from segue.pipeline.ranked_list import RankedList


class CandidateSource:
    """Scorer with its settings as a source: served users, part of the history, number of candidates, index."""

    def __init__(self, scorer: Scorer, config: SourceConfig, index: HNSWIndex | None = None) -> None:
        if index is not None:
            as_vector_scorer(scorer)
        self.scorer = scorer
        self._vectors = scorer if isinstance(scorer, VectorScorer) else None
        self.config = config
        self.index = index
        self._exact_search: ExactSearch | None = None
        if index is None and self._vectors is not None and scorer.size >= EXACT_SEARCH_MIN_ITEMS:
            keys_VD = np.ascontiguousarray(self._vectors.queries(Sequences.from_lists([]))[1])
            self._exact_search = ExactSearch(keys_VD, scan=build_scan(keys_VD, None, list_length=config.num_candidates))
        self._sparse_scorer: SparseScorer | None = None
        if isinstance(scorer, SparseScorer) and scorer.size >= EXACT_SEARCH_MIN_ITEMS:
            self._sparse_scorer, self._order = scorer, rank_order(scorer.popularity_V)
        self._static: tuple[np.ndarray, np.ndarray] | None = None
        self.refresh_static_scores()

    @property
    def name(self) -> str:
        """Name of the source in responses."""
        return self.config.display_name

    @property
    def uses_item_features(self) -> bool:
        """Return True if the scorer distinguishes cold items, by their features or because a list names them."""
        return isinstance(self.scorer, ColdItemScorer) and self.scorer.scores_cold_items

    def refresh_static_scores(self) -> None:
        """Read the scores of a static scorer again, after they have changed; nothing for any other one."""
        if isinstance(self.scorer, StaticScorer):
            scores_V = self.scorer.static_scores()
            self._static = scores_V, rank_order(scores_V)

    def serves(self, histories: Sequences) -> np.ndarray:
        """Return the mask of histories that the source serves, bool [B], by the number of known events.

        A source with an index does not serve empty histories: they have no query embedding.
        """
        lengths_B = histories.drop_unknown().lengths
        max_events = np.inf if self.config.max_events is None else self.config.max_events
        min_events = max(self.config.min_events, 0 if self.index is None else 1)
        is_served_B: np.ndarray = (lengths_B >= min_events) & (lengths_B <= max_events)
        return is_served_B

    def visible_history(self, histories: Sequences) -> Sequences:
        """Return the part of each history that the scorer receives."""
        rows = histories
        if self.config.session_gap_s is not None:
            rows = last_session(rows, self.config.session_gap_s)
        return rows if self.config.max_history is None else rows.tail(self.config.max_history)

    def score_histories(self, histories: Sequences) -> SourceScores:
        """Return the scores of B histories in the cheapest exact form for the scorer, or by the index."""
        if self._static is not None:
            return StaticScores(*self._static, len(histories))
        visible = self.visible_history(histories)
        if self._exact_search is not None and self._vectors is not None and visible.drop_unknown().lengths.all():
            return ExactSearchScores(self._vectors.queries(visible)[0], self._exact_search)
        if self._sparse_scorer is not None:
            lifts = [self._sparse_scorer.lifts(row) for row in visible.drop_unknown()]
            return SparseScores(self._sparse_scorer.popularity_V, self._order, lifts)
        if self.index is None or self._vectors is None:
            return DenseScores(self.scorer.scores(visible))
        return AnnScores(*self._vectors.queries(visible), self.index)

    def candidates(self, histories: Sequences, k: int, allowed_V: np.ndarray | None = None) -> list[RankedList]:
        """Return the k best items of each history as a list; empty for users that the source does not serve.

        Args:
            histories: B histories.
            k: largest length of a list.
            allowed_V: bool, items that may be listed; None: all.
        """
        scores, is_served_B = self.score_histories(histories), self.serves(histories)
        items_BK = scores.top_k(k, None, allowed_V)
        scores_BK = scores.score_items(items_BK)
        lists = []
        for items_K, scores_K, is_served in zip(items_BK, scores_BK, is_served_B, strict=True):
            is_given_K = (items_K != PAD) & is_served
            lists.append(RankedList.from_items(items_K[is_given_K], scores_K[is_given_K], sources=(self.name,)))
        return lists


def as_vector_scorer(scorer: Scorer) -> VectorScorer:
    """Return the scorer if its scores are inner products of embeddings.

    Raises:
        ValueError: they are not.
    """
    if isinstance(scorer, VectorScorer):
        return scorer
    raise ValueError(
        f'The scores of {scorer.name} are no inner products, so they need index = "exact"; for a network with the '
        "co-visit rule beside it, set its prior to 0 and name covisit as a source of its own."
    )


def last_session(histories: Sequences, gap_s: float) -> Sequences:
    """Cut each history to its newest events without a pause longer than ``gap_s``; rows without timestamps stay whole.

    Args:
        histories: B histories.
        gap_s: longest pause within a session, in seconds.
    """
    if histories.times is None or histories.num_events == 0:
        return histories
    row_N, positions_N = histories.positions()
    times_N = histories.times[positions_N]
    breaks = np.flatnonzero((np.diff(times_N) > gap_s * 1e6) & (row_N[1:] == row_N[:-1])) + 1
    starts_B = histories.starts.copy()
    starts_B[row_N[breaks]] = positions_N[breaks]  # positions rise within a row, so that the newest break stays
    return replace(histories, starts=starts_B)
