"""Item-kNN: items that the same people took, whatever the order (Sarwar et al. 2001; Deshpande & Karypis 2004)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

import numpy as np

from segue.data.sequences import Sequences
from segue.models.sparse_rows import SparseRows, ages, decayed_lifts, effective_length, item_counts, tie_breaker


@dataclass(frozen=True)
class ItemKNNConfig:
    """How alike two items are, and how a history votes."""

    num_neighbors: int = 200
    """Each item keeps this many of the most alike."""
    shrinkage: float = 10.0
    """Added to the cosine's denominator: pairs seen by few people are worth less."""
    weighting: Literal["none", "tfidf", "bm25"] = "none"
    """How a person's events weigh before the cosine; the last two damp people who take everything."""
    decay: float = 0.5
    """Each step back into the history multiplies its vote by this; 1: all alike."""

    def __post_init__(self) -> None:
        if self.num_neighbors < 1:
            raise ValueError(f"num_neighbors must be at least 1, got {self.num_neighbors}.")
        if self.shrinkage < 0:
            raise ValueError(f"shrinkage must not be negative, got {self.shrinkage}.")
        if not 0 < self.decay <= 1:
            raise ValueError(f"decay must be in (0, 1], got {self.decay}.")


class ItemVoteConfig(Protocol):
    """What of its settings a fitted model still needs."""

    @property
    def decay(self) -> float: ...


class ItemKNN:
    """score(j) = sum over the history of decay ** age * similarity(item, j)."""

    name: ClassVar[str] = "item-knn"

    def __init__(self, alike: SparseRows, popularity_V: np.ndarray, decay: float) -> None:
        self.alike = alike
        self.popularity_V = popularity_V
        self.decay = decay

    @classmethod
    def fit(cls, sequences: Sequences, size: int, config: ItemKNNConfig) -> "ItemKNN":
        """Cosine between item columns of the person x item matrix, the diagonal left out."""
        from scipy import sparse

        who = _people_by_items(sequences, size, config.weighting)
        norm_V = np.sqrt(np.asarray(who.power(2).sum(axis=0)).ravel())
        alike = (who.T @ who).tocoo()
        off = alike.row != alike.col
        row, col, dot = alike.row[off], alike.col[off], alike.data[off]
        cosine = dot / (norm_V[row] * norm_V[col] + config.shrinkage)
        matrix = sparse.coo_array((cosine.astype(np.float32), (row, col)), shape=(size, size))
        rows = SparseRows.from_scipy(matrix, keep=config.num_neighbors)
        return cls(rows, tie_breaker(item_counts(sequences, size), 1e-7), config.decay)

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray], config: ItemVoteConfig) -> "ItemKNN":
        """What ``arrays`` gave."""
        return cls(SparseRows.restore(arrays), arrays["popularity"], config.decay)

    @property
    def size(self) -> int:
        return self.alike.size

    def scores(self, histories: Sequences) -> np.ndarray:
        """float32 [B, V]."""
        known = histories.drop_unknown().tail(effective_length(self.decay))
        return self.alike.weighted_sum(known, self.decay ** ages(known)) + self.popularity_V

    def lifts(self, items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(items like those of one known history, ascending; float32 how much they are raised above popularity)."""
        return decayed_lifts(self.alike, items, self.decay)

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything to save, by name."""
        return {**self.alike.arrays(), "popularity": self.popularity_V}


def _people_by_items(sequences: Sequences, size: int, weighting: str) -> Any:
    """scipy CSR [people, V]: 1 where the person took the item; or tf-idf (Salton & Buckley 1988) or BM25 (Robertson
    & Zaragoza 2009, eq. 3.15, k1 1.2, b .75) with people as documents' terms and items as documents."""
    from scipy import sparse

    known = sequences.drop_unknown()
    row_N, where_N = known.positions()
    ones = np.ones(len(row_N), dtype=np.float64)
    who = sparse.coo_array((ones, (row_N, known.items[where_N])), shape=(len(known), size)).tocsr()
    who.data[:] = 1.0
    if weighting == "none":
        return who
    breadth = np.maximum(np.diff(who.indptr), 1)
    idf = np.log(1.0 + size / breadth)
    if weighting == "bm25":
        audience_V = np.asarray(who.sum(axis=0)).ravel()
        scale_V = 1.2 * (0.25 + 0.75 * audience_V / max(audience_V.mean(), 1e-12))
        who.data = who.data * 2.2 / (who.data + scale_V[who.indices])
    return sparse.diags_array(idf) @ who
