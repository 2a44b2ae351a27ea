"""Variety: a list's first places are chosen so that items are good and not all alike.

Shape letters: C candidates, D vector size, G categories, V catalog size with PAD.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from segue.pipeline.filters.item_columns import ItemColumns
from segue.pipeline.placements.diversity import calibrated_greedy, determinantal_greedy, mmr_greedy
from segue.pipeline.placements.item_similarity import (
    ItemSimilarity,
    column_similarity,
    embedding_similarity,
    membership,
    values_of,
)
from segue.pipeline.ranked_list import RankedList


@dataclass(frozen=True)
class DiversificationConfig:
    """How much variety, and of what."""

    method: Literal["none", "mmr", "determinantal", "calibrated"] = "none"
    """'mmr': each item unlike the most alike of those before; 'determinantal': unlike all together; 'calibrated':
    categories spread as in the person's history."""
    strength: float = 0.3
    """0: by score alone; 1: by variety alone."""
    num_candidates: int = 100
    """So many of the best candidates are chosen from."""
    num_fixed: int = 0
    """So many of the best keep their places; the items behind them are chosen to be unlike them too."""
    column: str | None = None
    """The column whose values make items alike, or are the categories; 'none': the items' vectors."""

    def __post_init__(self) -> None:
        methods = ("none", "mmr", "determinantal", "calibrated")
        if self.method not in methods:
            raise ValueError(f"method must be {', '.join(methods[:-1])} or {methods[-1]}, got '{self.method}'.")
        if not 0 <= self.strength <= 1:
            raise ValueError(f"strength must be between 0 and 1, got {self.strength}.")
        if self.num_candidates < 1:
            raise ValueError(f"num_candidates must be at least 1, got {self.num_candidates}.")
        if self.num_fixed < 0:
            raise ValueError(f"num_fixed must not be negative, got {self.num_fixed}.")
        if self.method == "calibrated" and self.column is None:
            raise ValueError("Calibrated lists need a column of categories: set column.")


class Diversifier:
    """Variety for one catalog."""

    def __init__(
        self, config: DiversificationConfig, columns: ItemColumns, vectors_VD: np.ndarray | None = None
    ) -> None:
        """ValueError where the column is none that items can share, or neither it nor vectors are given."""
        self.config = config
        self._similarity: ItemSimilarity | None = None
        if config.method == "calibrated":
            self._values = values_of(columns, config.column or "")
        elif config.method != "none":
            self._similarity = _item_similarity(config, columns, vectors_VD)

    def apply(self, ranked: RankedList, k: int, history: np.ndarray) -> RankedList:
        """The same items: first the k that were chosen of the first ``depth``, then the others in their order.

        Scores are scaled to 0..1 over the candidates, so that the strength means the same for every model.
        """
        if self.config.method == "none" or self.config.strength == 0 or len(ranked) < 2:
            return ranked
        first = min(self.config.num_candidates, len(ranked))
        order = self._order(ranked.items_C[:first], min_max_scaled(ranked.scores_C[:first]), k, history)
        rest = np.setdiff1d(np.arange(len(ranked)), order, assume_unique=True)
        return ranked.take(np.concatenate([order, rest]))

    def _order(self, items_C: np.ndarray, relevance_C: np.ndarray, k: int, history: np.ndarray) -> np.ndarray:
        strength, kept = self.config.strength, self.config.num_fixed
        if self._similarity is None:
            both_CG, _ = membership(self._values, np.concatenate([items_C, np.asarray(history, dtype=items_C.dtype)]))
            total_G = both_CG[len(items_C) :].sum(axis=0)
            if total_G.sum() == 0:
                return np.arange(min(k, len(items_C)))  # nothing is known of the person: no list is better spread
            return calibrated_greedy(relevance_C, both_CG[: len(items_C)], total_G / total_G.sum(), k, strength, kept)
        choose = mmr_greedy if self.config.method == "mmr" else determinantal_greedy
        return choose(relevance_C, self._similarity(items_C), k, strength, kept)


def _item_similarity(
    config: DiversificationConfig, columns: ItemColumns, vectors_VD: np.ndarray | None
) -> ItemSimilarity:
    if config.column is not None:
        return column_similarity(columns, config.column)
    if vectors_VD is None:
        raise ValueError(
            f"'{config.method}' needs to know how alike items are: set column, or use a model with vectors."
        )
    return embedding_similarity(vectors_VD)


def min_max_scaled(scores_C: np.ndarray) -> np.ndarray:
    """Scores between 0 (the lowest, and items without a score) and 1; all 1 where they are equal."""
    known = scores_C[np.isfinite(scores_C)]
    if len(known) == 0 or known.max() == known.min():
        return np.isfinite(scores_C).astype(np.float64)
    return np.maximum((scores_C - known.min()) / (known.max() - known.min()), 0.0)
