"""Candidates -> the numbers that a blend or a ranker weighs: sources' opinions, the item, and what the person did.

Shape letters: B batch, C candidates, S sources, F signals, N events of the histories.
"""

from dataclasses import dataclass

import numpy as np

from segue.data.catalog import PAD
from segue.data.sequences import Sequences
from segue.pipeline.candidates.candidate_set import CandidateSet
from segue.pipeline.item_statistics import ItemStatistics

FLOOR = 1e-4
"""Added to a share of the best score before its logarithm: what an item is worth that a source gives nothing."""
MAX_ABS_Z = 10.0
"""A level lies at most so far under the best one's."""
REPEAT_WINDOW = 200
"""Newest events in which an earlier occurrence is looked for."""
ITEM = ("popularity", "lately", "age", "times taken", "taken lately")
"""Signals of an item and a person, after the sources' own."""
CONTEXT = ("events",)
"""Signals that all candidates of a history share: no linear blend can use them, trees can."""


@dataclass(frozen=True)
class ScoreScales:
    """How each source's scores become levels: fitted once, on validation cases."""

    log_S: np.ndarray
    """bool: scores that are never negative are counts, whose ratios matter; others are logits, whose differences do."""
    spread_S: np.ndarray
    """float32: how widely a logit spreads within a history; 1 for counts."""

    @classmethod
    def fit(cls, found: CandidateSet) -> "ScoreScales":
        """Looks at the candidates of some histories."""
        there_BC = found.items_BC != PAD
        log, spread = [], []
        for s in range(len(found.sources)):
            raw_BC = np.where(there_BC & found.served_BS[:, s, None], found.raw_BCS[:, :, s], -np.inf)
            known = np.isfinite(raw_BC)
            log.append(bool((raw_BC[known] >= 0).all()))
            rows = [row[np.isfinite(row)].std() for row in raw_BC if np.isfinite(row).sum() > 1]
            spread.append(1.0 if log[-1] or not rows else max(float(np.median(rows)), 1e-6))
        return cls(np.array(log), np.array(spread, dtype=np.float32))


def feature_names(sources: tuple[str, ...]) -> list[str]:
    """What each of the F signals is, in order."""
    own = [f"{source} {kind}" for source in sources for kind in ("level", "place")]
    return [*own, *ITEM, *CONTEXT]


def blend_features(found: CandidateSet, histories: Sequences, shelf: ItemStatistics, scales: ScoreScales) -> np.ndarray:
    """float32 [B, C, F]; 0 in all of a source's columns for people it does not serve."""
    count = len(found.sources)
    batch, width = found.items_BC.shape
    out_BCF = np.empty((batch, width, 2 * count + len(ITEM) + len(CONTEXT)), dtype=np.float32)
    served_B1S = found.served_BS[:, None, :]
    out_BCF[:, :, 0 : 2 * count : 2] = np.where(served_B1S, _levels(found, scales), 0.0)
    place_BCS = np.where(found.place_BCS > 0, found.place_BCS, found.takes_S + 1)
    out_BCF[:, :, 1 : 2 * count : 2] = np.where(served_B1S, -np.log(place_BCS), 0.0)
    items_BC = found.items_BC
    for f, of_item_V in enumerate((shelf.popularity_V, shelf.recent_V, shelf.age_V), start=2 * count):
        out_BCF[:, :, f] = of_item_V[items_BC]
    newest = histories.drop_unknown().tail(REPEAT_WINDOW)
    out_BCF[:, :, 2 * count + 3], out_BCF[:, :, 2 * count + 4] = _taken(items_BC, newest, len(shelf.popularity_V))
    out_BCF[:, :, -1] = np.log1p(newest.lengths)[:, None]
    return out_BCF


def _levels(found: CandidateSet, scales: ScoreScales) -> np.ndarray:
    """float32 [B, C, S]: how far each candidate lies under the best one in a source's eyes, 0 for the best itself."""
    there_BC1 = (found.items_BC != PAD)[:, :, None]
    raw_BCS = np.where(there_BC1, found.raw_BCS, -np.inf)
    best_B1S = raw_BCS.max(axis=1, keepdims=True)
    best_B1S = np.where(np.isfinite(best_B1S), best_B1S, 0.0)
    ratio_BCS = np.maximum(raw_BCS, 0.0) / np.maximum(best_B1S, 1e-30)
    logs_BCS = np.log(np.minimum(ratio_BCS, 1.0) + FLOOR)
    plain_BCS = np.maximum((raw_BCS - best_B1S) / scales.spread_S, -MAX_ABS_Z)
    levels_BCS: np.ndarray = np.where(scales.log_S, logs_BCS, plain_BCS)
    return levels_BCS


def _taken(items_BC: np.ndarray, newest: Sequences, size: int) -> tuple[np.ndarray, np.ndarray]:
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
