"""The last word on the order by score: boosted trees on top of the blend, or a model of click probability.

Shape letters: B batch, C candidates, F signals, N rows (candidates of all cases, case by case).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from segue.data.sequences import NO_TIME, Sequences
from segue.models.top_k import order_by_score_then_index
from segue.pipeline.blending.boosted_trees import BoostedTrees
from segue.pipeline.config import RankConfig


class Opinion(Protocol):
    """A model of click probability, as the attentive two-sided GRU is one."""

    @property
    def name(self) -> str:
        """Its name in the table of rankers."""
        ...

    @property
    def newest_us(self) -> int:
        """The time of the newest event it has seen, UTC microseconds; 0 where it remembers none."""
        ...

    def log_odds(self, histories: Sequences, candidates_BC: np.ndarray, moments_B: np.ndarray) -> np.ndarray:
        """float64 [B, C]: that each person takes each of the candidates at the moment (UTC microseconds)."""
        ...

    def observe(self, history: Sequences, item: int, time: int) -> None:
        """Takes in that the person of the one row came to the item."""
        ...

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything to save, by name."""
        ...


@dataclass(frozen=True)
class SecondStageRanker:
    """A ranker's opinion, added to the pipeline's own: score + weight * log-odds of its probability."""

    ranker: Opinion
    weight: float = 1.0
    """Chosen on validation (``segue.workflows.fit_second_stage``)."""
    first: int = 200
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
        order_BC = order_by_score_then_index(scores_BC)[:, : self.first]
        asked_BC = np.take_along_axis(items_BC, order_BC, axis=1)
        timed, moments_B = query_times(histories, self.ranker.newest_us)
        said_BC = self.ranker.log_odds(timed, asked_BC, moments_B)
        out_BC = np.full(scores_BC.shape, np.nan)
        there_BC = np.isfinite(np.take_along_axis(scores_BC, order_BC, axis=1))
        np.put_along_axis(out_BC, order_BC, np.where(there_BC, said_BC, np.nan), axis=1)
        return out_BC


def add_log_odds(scores_BC: np.ndarray, opinions_BC: np.ndarray, weight: float) -> np.ndarray:
    """float64 [B, C]: score + weight * opinion; whoever nobody has an opinion of stays behind, in the old order."""
    judged_BC = np.isfinite(opinions_BC)
    out_BC = np.where(judged_BC, scores_BC + weight * np.where(judged_BC, opinions_BC, 0.0), scores_BC)
    rest_BC = np.isfinite(scores_BC) & ~judged_BC
    lowest_B1 = np.where(judged_BC, out_BC, np.inf).min(axis=1, initial=np.inf, keepdims=True)
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


def fit_boosted_trees(
    learned: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    held_out: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    config: RankConfig,
    seed: int,
) -> BoostedTrees:
    """LambdaMART (Burges 2010) from where the blend stands: each tree corrects what is still in a wrong order.

    Both parts are (signals [B, C, F], who is there [B, C], the target's place [B], the blend's scores [B, C]). The
    second says when to stop; where no tree helps there, none is kept. ValueError where LightGBM is not installed.
    """
    try:
        import lightgbm
    except ImportError:
        raise ValueError(
            "Ranking by trees needs LightGBM: pip install 'segue[gbdt]', or set rank.method to none."
        ) from None
    options = {
        "objective": "lambdarank",
        "metric": "ndcg",
        "eval_at": [10],
        "learning_rate": config.learning_rate,
        "max_depth": config.max_depth,
        "num_leaves": 2**config.max_depth - 1,
        "min_data_in_leaf": config.min_leaf_size,
        "lambdarank_truncation_level": 20,
        "feature_pre_filter": False,
        "num_threads": 1,
        "deterministic": True,
        "force_row_wise": True,
        "seed": seed,
        "verbosity": -1,
    }
    first = _data(lightgbm, learned)
    second = _data(lightgbm, held_out, first)
    stop = lightgbm.early_stopping(15, verbose=False)
    model = lightgbm.train(options, first, config.max_trees, valid_sets=[second], callbacks=[stop])
    return BoostedTrees.from_lightgbm(model, model.best_iteration)


def _data(lightgbm: Any, part: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray], like: Any = None) -> Any:
    """LightGBM's own kind of table: rows are candidates, groups are cases, the target is what is relevant."""
    signals_BCF, there_BC, target_B, blended_BC = part
    label_BC = np.zeros(there_BC.shape, dtype=np.int8)
    label_BC[np.arange(len(target_B)), target_B] = 1
    return lightgbm.Dataset(
        signals_BCF[there_BC],
        label_BC[there_BC],
        group=there_BC.sum(axis=1),
        init_score=blended_BC[there_BC],
        reference=like,
        free_raw_data=True,
    )
