"""The last word on the order by score: boosted trees on top of the blend, or a model of click probability.

Shape letters: B batch, C candidates, F signals, N rows (candidates of all cases, case by case).
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from segue.data.sequences import Sequences
from segue.pipeline.config import RankConfig
from segue.pipeline.trees import Trees


class Ranker(Protocol):
    """A model of click probability, as the attentive two-sided GRU is one."""

    def probability(self, history: Sequences, candidates_C: np.ndarray, now: int) -> np.ndarray:
        """float64 [C]: that the person of the one row takes each candidate at the moment ``now`` (UTC
        microseconds)."""
        ...


@dataclass(frozen=True)
class Second:
    """A ranker's opinion, added to the pipeline's own: score + weight * log-odds of its probability."""

    ranker: Ranker
    weight: float = 1.0
    """To be chosen on validation."""
    first: int = 200
    """So many of the best candidates are judged by it; the others stay behind them."""

    def scores(self, history: Sequences, items_C: np.ndarray, scores_C: np.ndarray) -> np.ndarray:
        """float64 [C]: new scores for one history's candidates (PAD: -inf stays). The moment is that of the newest
        event: what has happened since, the history cannot tell."""
        newest = history.stops[0] - 1
        timed = history.times is not None and history.lengths[0] > 0
        now = int(history.times[newest]) if history.times is not None and timed else 0
        order = np.argsort(-scores_C, kind="stable")[: self.first]
        order = order[np.isfinite(scores_C[order])]
        chance = np.clip(self.ranker.probability(history, items_C[order], now), 1e-6, 1 - 1e-6)
        judged = scores_C[order] + self.weight * np.log(chance / (1 - chance))
        out_C = scores_C.copy()
        if len(order):
            # Those that were not judged keep their order, below all that were.
            rest = np.isfinite(scores_C)
            rest[order] = False
            if rest.any():
                out_C[rest] += judged.min() - scores_C[rest].max() - 1e-6
            out_C[order] = judged
        return out_C


def learn_trees(
    learned: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    held_out: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    config: RankConfig,
    seed: int,
) -> Trees:
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
        "max_depth": config.depth,
        "num_leaves": 2**config.depth - 1,
        "min_data_in_leaf": config.min_leaf,
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
    model = lightgbm.train(options, first, config.trees, valid_sets=[second], callbacks=[stop])
    return Trees.from_lightgbm(model, model.best_iteration)


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
