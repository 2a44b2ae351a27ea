"""The last word on the order by score: boosted trees on top of the blend, or a model of click probability.

Shape letters: B batch, C candidates, F signals, N rows (candidates of all cases, case by case).
"""

from typing import Any, Protocol

import numpy as np

from segue.data.sequences import Sequences
from segue.pipeline.config import RankConfig
from segue.pipeline.trees import Trees


class Ranker(Protocol):
    """A model that judges pairs of a history and a candidate, as the attentive two-sided GRU does."""

    def rank(self, histories: Sequences, items_BC: np.ndarray) -> np.ndarray:
        """float32 [B, C]: the probability that the person takes the candidate next; PAD gets anything."""
        ...


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
