"""The last word on the order by score: boosted trees on top of the blend, or a model of click probability.

Shape letters: B batch, C candidates, F signals, N rows (candidates of all cases, case by case).
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
    """A ranker's opinion, added to the pipeline's own: score + weight * log-odds of its probability."""

    ranker: Ranker
    weight: float = 1.0
    """Chosen on validation (``segue.workflows.fit_second_stage``)."""
    num_candidates: int = 200
    """So many of the best candidates are judged by it; the others stay behind them."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """The ranker's own, complete: it is restored with them."""

    def scores(self, histories: Sequences, items_BC: np.ndarray, scores_BC: np.ndarray) -> np.ndarray:
        """float64 [B, C]: new scores for the histories' candidates (PAD: -inf stays)."""
        if self.weight == 0 or items_BC.size == 0:
            return scores_BC
        return add_log_odds(scores_BC, self.log_odds(histories, items_BC, scores_BC), self.weight)

    def log_odds(self, histories: Sequences, items_BC: np.ndarray, scores_BC: np.ndarray) -> np.ndarray:
        """float64 [B, C]: the ranker's log-odds of each history's best candidates; NaN for those that it is not asked
        about."""
        order_BC = order_by_score_then_index(scores_BC)[:, : self.num_candidates]
        asked_BC = np.take_along_axis(items_BC, order_BC, axis=1)
        timed, moments_B = query_times(histories, self.ranker.newest_us)
        said_BC = self.ranker.log_odds(timed, asked_BC, moments_B)
        out_BC = np.full(scores_BC.shape, np.nan)
        is_candidate_BC = np.isfinite(np.take_along_axis(scores_BC, order_BC, axis=1))
        np.put_along_axis(out_BC, order_BC, np.where(is_candidate_BC, said_BC, np.nan), axis=1)
        return out_BC


def add_log_odds(scores_BC: np.ndarray, opinions_BC: np.ndarray, weight: float) -> np.ndarray:
    """float64 [B, C]: score + weight * opinion; whoever nobody has an opinion of stays behind, in the old order."""
    is_scored_BC = np.isfinite(opinions_BC)
    out_BC = np.where(is_scored_BC, scores_BC + weight * np.where(is_scored_BC, opinions_BC, 0.0), scores_BC)
    rest_BC = np.isfinite(scores_BC) & ~is_scored_BC
    lowest_B1 = np.where(is_scored_BC, out_BC, np.inf).min(axis=1, initial=np.inf, keepdims=True)
    highest_B1 = np.where(rest_BC, scores_BC, -np.inf).max(axis=1, initial=-np.inf, keepdims=True)
    both_B1 = np.isfinite(lowest_B1) & np.isfinite(highest_B1)
    gap_B1 = np.where(both_B1, lowest_B1 - 1e-6, 0.0) - np.where(both_B1, highest_B1, 0.0)
    return np.where(rest_BC, scores_BC + np.minimum(gap_B1, 0.0), out_BC)


def query_times(histories: Sequences, newest_us: int) -> tuple[Sequences, np.ndarray]:
    """(the histories, int64 [B] when each is asked): at the moment that the request names, else at its newest event's:
    what has happened since, the history cannot tell. Where the time of any event is unknown, the histories come back
    without times, asked behind everything that the ranker has seen."""
    times, now = histories.times, histories.query_times
    known = times is not None and bool((times[histories.positions()[1]] != NO_TIME).all())
    if not known:
        histories = replace(histories, times=None)
    last_B = np.full(len(histories), newest_us + 1, dtype=np.int64)
    if times is not None and known:
        filled_B = histories.lengths > 0
        last_B[filled_B] = times[histories.stops[filled_B] - 1]
    return histories, last_B if now is None else np.where(now == NO_TIME, last_B, now)
