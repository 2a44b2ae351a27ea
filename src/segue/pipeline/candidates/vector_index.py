"""Index of the nearest item embeddings by inner product: exact, or approximate with a measured recall.

Shape letters: B queries, V item embeddings (a catalog with PAD), D embedding size, K neighbors.
"""

from typing import Any, Protocol

import numpy as np

from segue.data.catalog import PAD
from segue.models.top_k import top_k

MIN_RECALL = 0.99
"""Smallest recall of an approximate index that is used."""


class VectorIndex(Protocol):
    """Protocol of a search for the items with the largest inner product with a query."""

    def nearest(self, query_BD: np.ndarray, k: int) -> np.ndarray:
        """Return the k nearest items, int32 [B, k], best first; PAD where there are fewer.

        Args:
            query_BD: float32 query embeddings.
            k: number of items.
        """
        ...


class ExactIndex:
    """Exact search: one matrix product and ``top_k``."""

    def __init__(self, keys_VD: np.ndarray) -> None:
        self.keys_VD = keys_VD

    def nearest(self, query_BD: np.ndarray, k: int) -> np.ndarray:
        """See ``VectorIndex.nearest``."""
        return top_k(query_BD @ self.keys_VD.T, k)[0]


class HNSWIndex:
    """Hierarchical navigable small world graph (HNSW, Malkov & Yashunin 2016) by faiss."""

    def __init__(self, graph: Any) -> None:
        self._graph = graph

    @classmethod
    def build(cls, keys_VD: np.ndarray, *, num_links: int = 32, search_width: int = 256) -> "HNSWIndex":
        """Build the index of all items; PAD has the zero embedding of its row.

        Args:
            keys_VD: float32 item embeddings.
            num_links: links per node (M).
            search_width: candidates that are kept during build and search (efConstruction, efSearch).

        Raises:
            ValueError: faiss is not installed.
        """
        faiss = _faiss()
        graph = faiss.IndexHNSWFlat(keys_VD.shape[1], num_links, faiss.METRIC_INNER_PRODUCT)
        graph.hnsw.efConstruction = graph.hnsw.efSearch = search_width
        graph.add(np.ascontiguousarray(keys_VD, dtype=np.float32))
        return cls(graph)

    @classmethod
    def restore(cls, saved: np.ndarray, keys_VD: np.ndarray) -> "HNSWIndex":
        """Return the index that ``to_array`` saved.

        Args:
            saved: bytes of the index.
            keys_VD: float32 item embeddings that it must hold.

        Raises:
            ValueError: the bytes are no such index, or a link of its graph leads outside it.
        """
        if saved[:4].tobytes() != b"IHNf":  # other types may name files
            raise ValueError("The approximate index is no HNSW index.")
        faiss = _faiss()
        try:
            graph = faiss.deserialize_index(np.ascontiguousarray(saved))
            stored = faiss.downcast_index(graph.storage)
            is_sound = (
                isinstance(graph, faiss.IndexHNSWFlat)
                and isinstance(stored, faiss.IndexFlat)
                and graph.metric_type == stored.metric_type == faiss.METRIC_INNER_PRODUCT
                and (graph.ntotal, graph.d, stored.ntotal, stored.d) == (*keys_VD.shape, *keys_VD.shape)
                and _links_are_sound(faiss, graph.hnsw, len(keys_VD))
                and np.allclose(stored.reconstruct_n(0, len(keys_VD)), keys_VD, rtol=1e-3, atol=1e-5)
            )
        except (RuntimeError, MemoryError):
            raise ValueError("The approximate index cannot be read: it is damaged.") from None
        if not is_sound:
            raise ValueError("The approximate index does not belong to the item embeddings, or is damaged.")
        return cls(graph)

    def to_array(self) -> np.ndarray:
        """Return the index as bytes, uint8."""
        saved: np.ndarray = _faiss().serialize_index(self._graph)
        return saved

    def nearest(self, query_BD: np.ndarray, k: int) -> np.ndarray:
        """See ``VectorIndex.nearest``; a k above ``search_width`` is searched with a larger width."""
        width = max(self._graph.hnsw.efSearch, k + 1)
        parameters = _faiss().SearchParametersHNSW(efSearch=width)
        rows_BD = np.ascontiguousarray(query_BD, dtype=np.float32)
        _, matches_BK = self._graph.search(rows_BD, k + 1, params=parameters)  # one more, in the place of PAD
        items_BK = np.where(matches_BK < 0, PAD, matches_BK).astype(np.int32)
        behind_BK = np.argsort(items_BK == PAD, axis=1, kind="stable")[:, :k]
        nearest_BK: np.ndarray = np.take_along_axis(items_BK, behind_BK, axis=1)
        return nearest_BK


def measure_recall(index: VectorIndex, keys_VD: np.ndarray, query_BD: np.ndarray, k: int) -> float:
    """Return the share of the true k nearest items that an index finds.

    Args:
        index: the index.
        keys_VD: float32 item embeddings.
        query_BD: float32 query embeddings.
        k: number of neighbors.
    """
    true_BK, matches_BK = ExactIndex(keys_VD).nearest(query_BD, k), index.nearest(query_BD, k)
    found_BK = [np.intersect1d(true, matches) for true, matches in zip(true_BK, matches_BK, strict=True)]
    num_found = sum(int((items_K != PAD).sum()) for items_K in found_BK)  # PAD fills both lists of a small catalog
    return num_found / max(1, int((true_BK != PAD).sum()))


def approximate_if_good(keys_VD: np.ndarray, query_BD: np.ndarray, k: int) -> tuple[HNSWIndex | None, float]:
    """Build an approximate index and measure its recall.

    Args:
        keys_VD: float32 item embeddings.
        query_BD: float32 queries that measure the recall.
        k: number of neighbors.

    Returns:
        (index, its recall); the index is None with a recall below MIN_RECALL.
    """
    index = HNSWIndex.build(keys_VD)
    recall = measure_recall(index, keys_VD, query_BD, k)
    return (index if recall >= MIN_RECALL else None), recall


def _links_are_sound(faiss: Any, hnsw: Any, size: int) -> bool:
    """Return True if every link of a graph with ``size`` nodes leads to a node of its level."""
    levels_N, offsets, links, steps = (
        faiss.vector_to_array(array).astype(np.int64)
        for array in (hnsw.levels, hnsw.offsets, hnsw.neighbors, hnsw.cum_nneighbor_per_level)
    )
    if len(levels_N) != size or len(offsets) != size + 1 or len(steps) < 2 or levels_N.min(initial=1) < 1:
        return False
    if steps[0] != 0 or (np.diff(steps) < 0).any() or levels_N.max(initial=1) >= len(steps):
        return False
    if offsets[0] != 0 or (np.diff(offsets) != steps[levels_N]).any() or offsets[-1] != len(links):
        return False
    if hnsw.max_level != levels_N.max(initial=1) - 1 or not 0 <= hnsw.entry_point < size:
        return False
    if levels_N[hnsw.entry_point] != hnsw.max_level + 1 or links.min(initial=-1) < -1 or links.max(initial=-1) >= size:
        return False
    level = np.searchsorted(steps, np.arange(len(links)) - np.repeat(offsets[:-1], np.diff(offsets)), side="right") - 1
    is_link = links >= 0
    return bool((levels_N[links[is_link]] > level[is_link]).all()) and 1 <= hnsw.efSearch <= 1 << 16


def _faiss() -> Any:
    try:
        import faiss
    except ImportError:
        raise ValueError("An approximate index needs faiss: pip install 'segue[ann]'.") from None
    faiss.omp_set_num_threads(1)
    return faiss
