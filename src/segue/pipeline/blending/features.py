"""Features of candidates for the blend and the trees: scores of the sources, statistics of the item, the user's
history.

Shape letters: B batch, C candidates, S sources, F features, N events of the histories.
"""

from dataclasses import dataclass

import numpy as np

from segue.data.catalog import PAD
from segue.data.sequences import Sequences
from segue.pipeline.candidates.candidate_set import CandidateSet
from segue.pipeline.item_statistics import ItemStatistics

MIN_SHARE = 1e-4
"""Added to a share of the best score before its logarithm, for items that a source scores 0."""
MAX_ABS_Z = 10.0
"""Largest distance of a level from the best level of a source."""
REPEAT_WINDOW = 200
"""Number of newest events that are searched for an earlier occurrence of a candidate."""
ITEM_FEATURES = ("popularity", "recency", "age", "repeats", "repeat recency")
"""Features of an item and a user, behind those of the sources."""
CONTEXT_FEATURES = ("events",)
"""Features that all candidates of a history share; trees can use them, a linear blend cannot."""


@dataclass(frozen=True)
class ScoreScales:
    """Scales that turn each source's scores into levels, fitted on validation cases."""

    log_S: np.ndarray
    """bool: True for scores that are never negative, counts, compared by ratio; False for logits, compared by
    difference."""
    spread_S: np.ndarray
    """float32: standard deviation of a logit within a history (median over histories); 1 for counts."""

    @classmethod
    def fit(cls, candidates: CandidateSet) -> "ScoreScales":
        """Fit the scales to the candidates of some histories."""
        is_candidate_BC = candidates.items_BC != PAD
        log, spread = [], []
        for s in range(len(candidates.sources)):
            raw_BC = np.where(
                is_candidate_BC & candidates.is_served_BS[:, s, None], candidates.source_scores_BCS[:, :, s], -np.inf
            )
            known = np.isfinite(raw_BC)
            log.append(bool((raw_BC[known] >= 0).all()))
            rows = [row[np.isfinite(row)].std() for row in raw_BC if np.isfinite(row).sum() > 1]
            spread.append(1.0 if log[-1] or not rows else max(float(np.median(rows)), 1e-6))
        return cls(np.array(log), np.array(spread, dtype=np.float32))


def feature_names(sources: tuple[str, ...]) -> list[str]:
    """Return the name of each of the F features, in order."""
    of_sources = [f"{source} {name}" for source in sources for name in ("level", "rank")]
    return [*of_sources, *ITEM_FEATURES, *CONTEXT_FEATURES]


def blend_features(
    candidates: CandidateSet, histories: Sequences, item_statistics: ItemStatistics, scales: ScoreScales
) -> np.ndarray:
    """Return the features of candidates, float32 [B, C, F]; those of a source are 0 for users that it does not serve.

    Args:
        candidates: candidates of B histories.
        histories: the histories.
        item_statistics: popularity, recency and age of the items.
        scales: scales of the sources' scores.
    """
    count = len(candidates.sources)
    batch, width = candidates.items_BC.shape
    out_BCF = np.empty((batch, width, 2 * count + len(ITEM_FEATURES) + len(CONTEXT_FEATURES)), dtype=np.float32)
    is_served_B1S = candidates.is_served_BS[:, None, :]
    out_BCF[:, :, 0 : 2 * count : 2] = np.where(is_served_B1S, _levels(candidates, scales), 0.0)
    ranks_BCS = np.where(candidates.ranks_BCS > 0, candidates.ranks_BCS, candidates.num_candidates_S + 1)
    out_BCF[:, :, 1 : 2 * count : 2] = np.where(is_served_B1S, -np.log(ranks_BCS), 0.0)
    items_BC = candidates.items_BC
    for f, feature_V in enumerate(
        (item_statistics.popularity_V, item_statistics.recent_V, item_statistics.age_V), start=2 * count
    ):
        out_BCF[:, :, f] = feature_V[items_BC]
    newest = histories.drop_unknown().tail(REPEAT_WINDOW)
    out_BCF[:, :, 2 * count + 3], out_BCF[:, :, 2 * count + 4] = _repeat_features(
        items_BC, newest, len(item_statistics.popularity_V)
    )
    out_BCF[:, :, -1] = np.log1p(newest.lengths)[:, None]
    return out_BCF


def _levels(candidates: CandidateSet, scales: ScoreScales) -> np.ndarray:
    """Return the distance of each candidate below the best one of each source, float32 [B, C, S]; 0 for the best."""
    is_candidate_BC1 = (candidates.items_BC != PAD)[:, :, None]
    source_scores_BCS = np.where(is_candidate_BC1, candidates.source_scores_BCS, -np.inf)
    best_B1S = source_scores_BCS.max(axis=1, keepdims=True)
    best_B1S = np.where(np.isfinite(best_B1S), best_B1S, 0.0)
    ratio_BCS = np.maximum(source_scores_BCS, 0.0) / np.maximum(best_B1S, 1e-30)
    logs_BCS = np.log(np.minimum(ratio_BCS, 1.0) + MIN_SHARE)
    logits_BCS = np.maximum((source_scores_BCS - best_B1S) / scales.spread_S, -MAX_ABS_Z)
    levels_BCS: np.ndarray = np.where(scales.log_S, logs_BCS, logits_BCS)
    return levels_BCS


def _repeat_features(items_BC: np.ndarray, newest: Sequences, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (log(1 + occurrences of the candidate), 1 / (1 + events since the last one) or 0), float32 [B, C] each."""
    row_N, positions_N = newest.positions()
    keys_N = (row_N * size + newest.items[positions_N])[::-1]
    age_N = (newest.stops[row_N] - 1 - positions_N)[::-1]
    zeros = np.zeros(items_BC.shape, dtype=np.float32)
    if len(keys_N) == 0:
        return zeros, zeros.copy()
    distinct_U, first_U, count_U = np.unique(keys_N, return_index=True, return_counts=True)
    keys_BC = np.arange(len(items_BC))[:, None] * size + items_BC
    index_BC = np.minimum(np.searchsorted(distinct_U, keys_BC), len(distinct_U) - 1)
    occurs_BC = (distinct_U[index_BC] == keys_BC) & (items_BC != PAD)
    count_BC = np.where(occurs_BC, np.log1p(count_U[index_BC]), 0.0).astype(np.float32)
    since_BC = np.where(occurs_BC, 1.0 / (1.0 + age_N[first_U[index_BC]]), 0.0).astype(np.float32)
    return count_BC, since_BC
