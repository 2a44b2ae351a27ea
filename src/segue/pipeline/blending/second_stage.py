"""Second stage of a pipeline: a click ranker that re-scores the best candidates of the blend.

Shape letters: B batch, C candidates.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from segue.data.sequences import NO_TIME, Sequences
from segue.models.rankers.ranker import Ranker
from segue.models.top_k import order_by_score_then_index


@dataclass(frozen=True)
class SecondStageRanker:
    """Second-stage ranker: ``score + weight * log_odds`` for the best candidates; the others keep their order below
    them."""

    ranker: Ranker
    """Click ranker."""
    weight: float = 1.0
    """Weight of the log odds, chosen on validation (``segue.workflows.fit_second_stage``)."""
    num_candidates: int = 200
    """Number of best candidates that the ranker scores."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Complete settings of the ranker, to restore it."""

    def scores(self, histories: Sequences, items_BC: np.ndarray, scores_BC: np.ndarray) -> np.ndarray:
        """Return the new scores of the candidates, float64 [B, C]; -inf for PAD.

        Args:
            histories: B histories.
            items_BC: their candidates.
            scores_BC: float64 scores of the pipeline; -inf for PAD.
        """
        if self.weight == 0 or items_BC.size == 0:
            return scores_BC
        return add_log_odds(scores_BC, self.log_odds(histories, items_BC, scores_BC), self.weight)

    def log_odds(self, histories: Sequences, items_BC: np.ndarray, scores_BC: np.ndarray) -> np.ndarray:
        """Return the ranker's log odds of each history's best candidates, float64 [B, C]; NaN for the others.

        Args:
            histories: B histories.
            items_BC: their candidates.
            scores_BC: float64 scores of the pipeline; -inf for PAD.
        """
        order_BC = order_by_score_then_index(scores_BC)[:, : self.num_candidates]
        best_items_BC = np.take_along_axis(items_BC, order_BC, axis=1)
        histories, times_B = query_times(histories, self.ranker.newest_us)
        ranker_log_odds_BC = self.ranker.log_odds(histories, best_items_BC, times_B)
        out_BC = np.full(scores_BC.shape, np.nan)
        is_candidate_BC = np.isfinite(np.take_along_axis(scores_BC, order_BC, axis=1))
        np.put_along_axis(out_BC, order_BC, np.where(is_candidate_BC, ranker_log_odds_BC, np.nan), axis=1)
        return out_BC


def add_log_odds(scores_BC: np.ndarray, log_odds_BC: np.ndarray, weight: float) -> np.ndarray:
    """Return score + weight * log odds, float64 [B, C].

    Candidates without log odds stay behind those with, in their old order.

    Args:
        scores_BC: float64 scores; -inf for PAD.
        log_odds_BC: float64 log odds; NaN for candidates without.
        weight: weight of the log odds.
    """
    is_scored_BC = np.isfinite(log_odds_BC)
    out_BC = np.where(is_scored_BC, scores_BC + weight * np.where(is_scored_BC, log_odds_BC, 0.0), scores_BC)
    is_unscored_BC = np.isfinite(scores_BC) & ~is_scored_BC
    lowest_B1 = np.where(is_scored_BC, out_BC, np.inf).min(axis=1, initial=np.inf, keepdims=True)
    highest_B1 = np.where(is_unscored_BC, scores_BC, -np.inf).max(axis=1, initial=-np.inf, keepdims=True)
    has_both_B1 = np.isfinite(lowest_B1) & np.isfinite(highest_B1)
    gap_B1 = np.where(has_both_B1, lowest_B1 - 1e-6, 0.0) - np.where(has_both_B1, highest_B1, 0.0)
    return np.where(is_unscored_BC, scores_BC + np.minimum(gap_B1, 0.0), out_BC)


def query_times(histories: Sequences, newest_us: int) -> tuple[Sequences, np.ndarray]:
    """Return the histories with the time of each query, int64 [B], UTC microseconds.

    It is the query time of the request if given, else the timestamp of the newest event: the history holds nothing of
    the time since. If the timestamp of any event is unknown, the histories lose theirs, and the query time is
    ``newest_us + 1``.

    Args:
        histories: B histories.
        newest_us: timestamp of the newest event that the ranker has observed.
    """
    times, now = histories.times, histories.query_times
    known = times is not None and bool((times[histories.positions()[1]] != NO_TIME).all())
    if not known:
        histories = replace(histories, times=None)
    last_B = np.full(len(histories), newest_us + 1, dtype=np.int64)
    if times is not None and known:
        filled_B = histories.lengths > 0
        last_B[filled_B] = times[histories.stops[filled_B] - 1]
    return histories, last_B if now is None else np.where(now == NO_TIME, last_B, now)
