"""Diversification: the first positions of a list are selected for relevance and dissimilarity.

Shape letters: C candidates, D embedding size, G categories, V catalog size with PAD.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np

from segue.config.ranges import Range, check_ranges
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
    """Method and strength of the diversification of a list."""

    method: Literal["none", "mmr", "determinantal", "calibrated"] = "none"
    """'mmr': each item unlike the most similar one before it; 'determinantal': unlike all before it together;
    'calibrated': categories distributed as in the user's history."""
    strength: Annotated[float, Range(ge=0, le=1)] = 0.3
    """0: by score only; 1: by diversity only; 0 to 1."""
    num_candidates: Annotated[int, Range(ge=1)] = 100
    """Number of best candidates that are selected from, at least 1."""
    num_fixed: Annotated[int, Range(ge=0)] = 0
    """Number of best candidates that keep their positions, at least 0; those behind are selected to be unlike them too.
    """
    column: str | None = None
    """Column whose shared values make items similar, or that holds the categories; 'none': item embeddings."""

    def __post_init__(self) -> None:
        methods = ("none", "mmr", "determinantal", "calibrated")
        if self.method not in methods:
            raise ValueError(f"method must be {', '.join(methods[:-1])} or {methods[-1]}, got '{self.method}'.")
        check_ranges(self)
        if self.method == "calibrated" and self.column is None:
            raise ValueError("Calibrated lists need a column of categories: set column.")


class Diversifier:
    """Diversification of lists for one catalog."""

    def __init__(
        self, config: DiversificationConfig, columns: ItemColumns, vectors_VD: np.ndarray | None = None
    ) -> None:
        """Compile the settings.

        Args:
            config: method and strength.
            columns: the items' columns.
            vectors_VD: item embeddings; None: none.

        Raises:
            ValueError: an unknown column, one that items cannot share values of, or neither a column nor embeddings.
        """
        self.config = config
        self._similarity: ItemSimilarity | None = None
        if config.method == "calibrated":
            self._values = values_of(columns, config.column or "")
        elif config.method != "none":
            self._similarity = _item_similarity(config, columns, vectors_VD)

    def apply(self, ranked: RankedList, k: int, history: np.ndarray) -> RankedList:
        """Return the same items: first k items selected from the first ``num_candidates``, then the others in their
        order.

        Scores are scaled to [0, 1] over the candidates, so that the strength means the same for every model.

        Args:
            ranked: the ranked list.
            k: number of positions to diversify.
            history: item indices of the user's history, for 'calibrated'.
        """
        if self.config.method == "none" or self.config.strength == 0 or len(ranked) < 2:
            return ranked
        first = min(self.config.num_candidates, len(ranked))
        order = self._order(ranked.items_C[:first], min_max_scaled(ranked.scores_C[:first]), k, history)
        rest = np.setdiff1d(np.arange(len(ranked)), order, assume_unique=True)
        return ranked.take(np.concatenate([order, rest]))

    def _order(self, items_C: np.ndarray, relevance_C: np.ndarray, k: int, history: np.ndarray) -> np.ndarray:
        strength, num_fixed = self.config.strength, self.config.num_fixed
        if self._similarity is None:
            both_CG, _ = membership(self._values, np.concatenate([items_C, np.asarray(history, dtype=items_C.dtype)]))
            total_G = both_CG[len(items_C) :].sum(axis=0)
            if total_G.sum() == 0:
                return np.arange(min(k, len(items_C)))  # without events no distribution is better
            return calibrated_greedy(
                relevance_C, both_CG[: len(items_C)], total_G / total_G.sum(), k, strength, num_fixed
            )
        select = mmr_greedy if self.config.method == "mmr" else determinantal_greedy
        return select(relevance_C, self._similarity(items_C), k, strength, num_fixed)


def _item_similarity(
    config: DiversificationConfig, columns: ItemColumns, vectors_VD: np.ndarray | None
) -> ItemSimilarity:
    if config.column is not None:
        return column_similarity(columns, config.column)
    if vectors_VD is None:
        raise ValueError(
            f"'{config.method}' needs the similarity of items: set column, or use a model with item embeddings."
        )
    return embedding_similarity(vectors_VD)


def min_max_scaled(scores_C: np.ndarray) -> np.ndarray:
    """Return scores scaled to [0, 1]; 0 for the lowest and items without a score, 1 for all where they are equal."""
    known = scores_C[np.isfinite(scores_C)]
    if len(known) == 0 or known.max() == known.min():
        return np.isfinite(scores_C).astype(np.float64)
    return np.maximum((scores_C - known.min()) / (known.max() - known.min()), 0.0)
