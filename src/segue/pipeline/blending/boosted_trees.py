"""Boosted trees that score with numpy alone: fitted by LightGBM, saved as five arrays.

Shape letters: N rows, T trees, F features, M nodes of all trees.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from segue.pipeline.blending.ranking_cases import RankingCases
from segue.pipeline.config import RankConfig

PAIRS_PER_BLOCK = 1 << 16
"""Number of (row, tree) pairs that walk down at once; their positions stay in the processor's cache."""
_ARRAYS = ("roots", "feature", "threshold", "child", "value")


class BoostedTrees:
    """Sum of regression trees: score(row) = sum over trees of the value of the row's leaf.

    Node m tests feature ``feature_M[m]`` > ``threshold_M[m]``. False leads to ``child_M[m]``, True to the node behind
    it. A leaf has the threshold infinity and leads to itself.
    """

    def __init__(
        self,
        roots_T: np.ndarray,
        feature_M: np.ndarray,
        threshold_M: np.ndarray,
        child_M: np.ndarray,
        value_M: np.ndarray,
    ) -> None:
        self.roots_T = roots_T
        self.feature_M = feature_M
        self.threshold_M = threshold_M
        self.child_M = child_M
        self.value_M = value_M
        self.depth = self._depth()

    @classmethod
    def from_lightgbm(cls, model: Any, num_trees: int) -> "BoostedTrees":
        """Convert the first trees of a LightGBM booster whose features are numbers without missing values.

        Args:
            model: a fitted ``lightgbm.Booster``.
            num_trees: number of trees to keep.
        """
        nodes: list[list[float]] = []
        roots = []
        for tree in model.dump_model(num_iteration=num_trees)["tree_info"]:
            roots.append(len(nodes))
            nodes.append([])
            _append_node(tree["tree_structure"], roots[-1], nodes)
        table = np.array(nodes, dtype=np.float64).reshape(-1, 4)
        feature_M, child_M = table[:, 0].astype(np.int32), table[:, 2].astype(np.int32)
        return cls(np.array(roots, dtype=np.int32), feature_M, table[:, 1].copy(), child_M, table[:, 3].copy())

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray]) -> "BoostedTrees":
        """Return the trees that ``arrays`` saved.

        Raises:
            ValueError: a node that is no leaf has no nodes below it, or the reverse.
        """
        roots_T, feature_M, threshold_M, child_M, value_M = (arrays[name] for name in _ARRAYS)
        if ((threshold_M == np.inf) != (child_M == np.arange(len(child_M)))).any() or (feature_M < 0).any():
            raise ValueError("The boosted trees have a node that is neither a leaf nor a test.")
        return cls(roots_T, feature_M, threshold_M, child_M, value_M)

    def __len__(self) -> int:
        return len(self.roots_T)

    def scores(self, rows_NF: np.ndarray) -> np.ndarray:
        """Return the score of each row of features [N, F], float64 [N]."""
        out_N = np.zeros(len(rows_NF))
        step = max(1, PAIRS_PER_BLOCK // max(1, len(self.roots_T)))
        for start in range(0, len(rows_NF), step):
            part_NF = rows_NF[start : start + step]
            out_N[start : start + step] = self.value_M[self._leaves(part_NF)].sum(axis=0)
        return out_N

    def _leaves(self, rows_NF: np.ndarray) -> np.ndarray:
        """Return the leaf of each row in each tree, int32 [T, N]; all walk one level at a time."""
        flat = np.ascontiguousarray(rows_NF.T).ravel()
        row_1N = np.arange(len(rows_NF), dtype=np.int32)[None, :]
        stride_M = self.feature_M * np.int32(len(rows_NF))
        node_TN = np.repeat(self.roots_T[:, None], len(rows_NF), axis=1)
        for _ in range(self.depth):
            above_TN = flat[stride_M[node_TN] + row_1N] > self.threshold_M[node_TN]
            node_TN = self.child_M[node_TN] + above_TN
        return node_TN

    def _depth(self) -> int:
        """Return the number of steps to the deepest leaf."""
        steps, nodes = 0, self.roots_T
        while len(inner := nodes[self.threshold_M[nodes] != np.inf]):
            nodes = np.concatenate([self.child_M[inner], self.child_M[inner] + 1])
            steps += 1
        return steps

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays to save, by name."""
        return {
            "roots": self.roots_T,
            "feature": self.feature_M,
            "threshold": self.threshold_M,
            "child": self.child_M,
            "value": self.value_M,
        }


def fit_boosted_trees(training: RankingCases, held_out: RankingCases, config: RankConfig, seed: int) -> BoostedTrees:
    """Fit LambdaMART (Burges 2010) on top of the base scores: each tree corrects pairs that are still in the wrong
    order.

    Args:
        training: cases that the trees are fitted on.
        held_out: cases that stop the fit; no tree is kept where none helps there.
        config: number, depth and rate of the trees.
        seed: random seed; equal arguments give equal trees.

    Raises:
        ValueError: LightGBM is not installed.
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
    training_set = _dataset(lightgbm, training)
    held_out_set = _dataset(lightgbm, held_out, training_set)
    stop = lightgbm.early_stopping(15, verbose=False)
    model = lightgbm.train(options, training_set, config.max_trees, valid_sets=[held_out_set], callbacks=[stop])
    return BoostedTrees.from_lightgbm(model, model.best_iteration)


def _dataset(lightgbm: Any, cases: RankingCases, reference: Any = None) -> Any:
    """Return a LightGBM dataset: rows are candidates, groups are cases, the target is the relevant row."""
    is_candidate_NC = cases.is_candidate_NC
    label_NC = np.zeros(is_candidate_NC.shape, dtype=np.int8)
    label_NC[np.arange(len(cases.target_N)), cases.target_N] = 1
    return lightgbm.Dataset(
        cases.features_NCF[is_candidate_NC],
        label_NC[is_candidate_NC],
        group=is_candidate_NC.sum(axis=1),
        init_score=cases.base_scores_NC[is_candidate_NC],
        reference=reference,
        free_raw_data=True,
    )


def _append_node(node: Mapping[str, Any], index: int, nodes: list[list[float]]) -> None:
    """Append a node of LightGBM's description and its descendants as [feature, threshold, child, value]."""
    if "split_feature" not in node:
        nodes[index] = [0.0, np.inf, float(index), float(node["leaf_value"])]
        return
    if node["decision_type"] != "<=":
        raise ValueError(
            f"A tree tests by '{node['decision_type']}', but its features are numbers: only '<=' is known."
        )
    child = len(nodes)
    nodes.extend([[], []])
    nodes[index] = [float(node["split_feature"]), float(node["threshold"]), float(child), 0.0]
    _append_node(node["left_child"], child, nodes)
    _append_node(node["right_child"], child + 1, nodes)
