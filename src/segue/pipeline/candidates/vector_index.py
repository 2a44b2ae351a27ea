"""The nearest of many vectors by inner product: exactly, or approximately where that loses almost nothing.

Shape letters: B queries, V vectors (a catalog with PAD), D width, K neighbors.
"""

from typing import Any, Protocol

import numpy as np

from segue.data.catalog import PAD
from segue.models.top_k import top_k

MIN_RECALL = 0.99
"""An approximate index that finds a smaller share of the true neighbors is not used."""


class VectorIndex(Protocol):
    """Finds the items whose vectors have the largest inner product with a query."""

    def nearest(self, query_BD: np.ndarray, k: int) -> np.ndarray:
        """int32 [B, k], best first; PAD where there are no more."""
        ...


class ExactIndex:
    """One matrix product and the one ``top_k``."""

    def __init__(self, keys_VD: np.ndarray) -> None:
        self.keys_VD = keys_VD

    def nearest(self, query_BD: np.ndarray, k: int) -> np.ndarray:
        """int32 [B, k]."""
        return top_k(query_BD @ self.keys_VD.T, k)[0]


class HNSWIndex:
    """A navigable graph of the vectors (HNSW, Malkov & Yashunin 2016) by faiss; a search walks along its edges."""

    def __init__(self, graph: Any) -> None:
        self._graph = graph

    @classmethod
    def build(cls, keys_VD: np.ndarray, *, num_links: int = 32, search_width: int = 256) -> "HNSWIndex":
        """All items; PAD too, as the zero vector of its row. ValueError where faiss is not installed."""
        faiss = _faiss()
        graph = faiss.IndexHNSWFlat(keys_VD.shape[1], num_links, faiss.METRIC_INNER_PRODUCT)
        graph.hnsw.efConstruction = graph.hnsw.efSearch = search_width
        graph.add(np.ascontiguousarray(keys_VD, dtype=np.float32))
        return cls(graph)

    @classmethod
    def restore(cls, saved: np.ndarray) -> "HNSWIndex":
        """What ``array`` gave."""
        return cls(_faiss().deserialize_index(np.ascontiguousarray(saved)))

    def to_array(self) -> np.ndarray:
        """The graph as bytes, uint8."""
        saved: np.ndarray = _faiss().serialize_index(self._graph)
        return saved

    def nearest(self, query_BD: np.ndarray, k: int) -> np.ndarray:
        """int32 [B, k]; what is beyond the effort of a search is asked for with more of it."""
        effort = max(self._graph.hnsw.efSearch, k + 1)
        parameters = _faiss().SearchParametersHNSW(efSearch=effort)
        asked_BD = np.ascontiguousarray(query_BD, dtype=np.float32)
        _, found_BK = self._graph.search(asked_BD, k + 1, params=parameters)  # one more, in the place of PAD
        items_BK = np.where(found_BK < 0, PAD, found_BK).astype(np.int32)
        behind_BK = np.argsort(items_BK == PAD, axis=1, kind="stable")[:, :k]
        nearest_BK: np.ndarray = np.take_along_axis(items_BK, behind_BK, axis=1)
        return nearest_BK


def measure_recall(index: VectorIndex, keys_VD: np.ndarray, query_BD: np.ndarray, k: int) -> float:
    """The share of the true k nearest items that an index finds for some queries."""
    true_BK, found_BK = ExactIndex(keys_VD).nearest(query_BD, k), index.nearest(query_BD, k)
    hits = [len(np.intersect1d(true, found)) for true, found in zip(true_BK, found_BK, strict=True)]
    return sum(hits) / max(1, int((true_BK != PAD).sum()))


def approximate_if_good(keys_VD: np.ndarray, query_BD: np.ndarray, k: int) -> tuple[HNSWIndex | None, float]:
    """(an approximate index, its recall on the queries); None where the recall is below what is wanted."""
    index = HNSWIndex.build(keys_VD)
    recall = measure_recall(index, keys_VD, query_BD, k)
    return (index if recall >= MIN_RECALL else None), recall


def _faiss() -> Any:
    try:
        import faiss
    except ImportError:
        raise ValueError("An approximate index needs faiss: pip install 'segue[ann]'.") from None
    faiss.omp_set_num_threads(1)
    return faiss
