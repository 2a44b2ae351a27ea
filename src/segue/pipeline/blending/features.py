"""Candidates -> the numbers that a blend or a ranker weighs: sources' opinions, the item, and what the person did.

Shape letters: B batch, C candidates, S sources, F signals, N events of the histories.
"""

from dataclasses import dataclass

import numpy as np

from segue.data.catalog import PAD
from segue.data.sequences import Sequences
from segue.pipeline.candidates.candidate_set import CandidateSet
from segue.pipeline.item_statistics import ItemStatistics

MIN_SHARE = 1e-4
"""Added to a share of the best score before its logarithm: what an item is worth that a source gives nothing."""
MAX_ABS_Z = 10.0
"""A level lies at most so far under the best one's."""
REPEAT_WINDOW = 200
"""Newest events in which an earlier occurrence is looked for."""
ITEM_FEATURES = ("popularity", "lately", "age", "times taken", "taken lately")
"""Signals of an item and a person, after the sources' own."""
CONTEXT_FEATURES = ("events",)
"""Signals that all candidates of a history share: no linear blend can use them, trees can."""


@dataclass(frozen=True)
class ScoreScales:
    """How each source's scores become levels: fitted once, on validation cases."""

    log_S: np.ndarray
    """bool: scores that are never negative are counts, whose ratios matter; others are logits, whose differences do."""
    spread_S: np.ndarray
    """float32: how widely a logit spreads within a history; 1 for counts."""

    @classmethod
    def fit(cls, candidates: CandidateSet) -> "ScoreScales":
        """Looks at the candidates of some histories."""
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
    """What each of the F signals is, in order."""
    own = [f"{source} {kind}" for source in sources for kind in ("level", "place")]
    return [*own, *ITEM_FEATURES, *CONTEXT_FEATURES]


def blend_features(
    candidates: CandidateSet, histories: Sequences, item_statistics: ItemStatistics, scales: ScoreScales
) -> np.ndarray:
    """float32 [B, C, F]; 0 in all of a source's columns for people it does not serve."""
    count = len(candidates.sources)
    batch, width = candidates.items_BC.shape
    out_BCF = np.empty((batch, width, 2 * count + len(ITEM_FEATURES) + len(CONTEXT_FEATURES)), dtype=np.float32)
    is_served_B1S = candidates.is_served_BS[:, None, :]
    out_BCF[:, :, 0 : 2 * count : 2] = np.where(is_served_B1S, _levels(candidates, scales), 0.0)
    ranks_BCS = np.where(candidates.ranks_BCS > 0, candidates.ranks_BCS, candidates.num_candidates_S + 1)
    out_BCF[:, :, 1 : 2 * count : 2] = np.where(is_served_B1S, -np.log(ranks_BCS), 0.0)
    items_BC = candidates.items_BC
    for f, of_item_V in enumerate(
        (item_statistics.popularity_V, item_statistics.recent_V, item_statistics.age_V), start=2 * count
    ):
        out_BCF[:, :, f] = of_item_V[items_BC]
    newest = histories.drop_unknown().tail(REPEAT_WINDOW)
    out_BCF[:, :, 2 * count + 3], out_BCF[:, :, 2 * count + 4] = _repeat_features(
        items_BC, newest, len(item_statistics.popularity_V)
    )
    out_BCF[:, :, -1] = np.log1p(newest.lengths)[:, None]
    return out_BCF


def _levels(candidates: CandidateSet, scales: ScoreScales) -> np.ndarray:
    """float32 [B, C, S]: how far each candidate lies under the best one in a source's eyes, 0 for the best itself."""
    is_candidate_BC1 = (candidates.items_BC != PAD)[:, :, None]
    source_scores_BCS = np.where(is_candidate_BC1, candidates.source_scores_BCS, -np.inf)
    best_B1S = source_scores_BCS.max(axis=1, keepdims=True)
    best_B1S = np.where(np.isfinite(best_B1S), best_B1S, 0.0)
    ratio_BCS = np.maximum(source_scores_BCS, 0.0) / np.maximum(best_B1S, 1e-30)
    logs_BCS = np.log(np.minimum(ratio_BCS, 1.0) + MIN_SHARE)
    plain_BCS = np.maximum((source_scores_BCS - best_B1S) / scales.spread_S, -MAX_ABS_Z)
    levels_BCS: np.ndarray = np.where(scales.log_S, logs_BCS, plain_BCS)
    return levels_BCS


def _repeat_features(items_BC: np.ndarray, newest: Sequences, size: int) -> tuple[np.ndarray, np.ndarray]:
    """(log(1 + how often the history holds the candidate), 1 / (1 + how many events ago it did last; 0: never)),
    float32 [B, C] each."""
    row_N, where_N = newest.positions()
    keys_N = (row_N * size + newest.items[where_N])[::-1]
    age_N = (newest.stops[row_N] - 1 - where_N)[::-1]
    zeros = np.zeros(items_BC.shape, dtype=np.float32)
    if len(keys_N) == 0:
        return zeros, zeros.copy()
    distinct_U, first_U, count_U = np.unique(keys_N, return_index=True, return_counts=True)
    asked_BC = np.arange(len(items_BC))[:, None] * size + items_BC
    place_BC = np.minimum(np.searchsorted(distinct_U, asked_BC), len(distinct_U) - 1)
    hit_BC = (distinct_U[place_BC] == asked_BC) & (items_BC != PAD)
    often_BC = np.where(hit_BC, np.log1p(count_U[place_BC]), 0.0).astype(np.float32)
    since_BC = np.where(hit_BC, 1.0 / (1.0 + age_N[first_U[place_BC]]), 0.0).astype(np.float32)
    return often_BC, since_BC
