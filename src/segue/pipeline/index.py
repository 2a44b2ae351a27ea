"""The nearest of many vectors by inner product: exactly, or approximately where that loses almost nothing.

Shape letters: B queries, V vectors (a catalogue with PAD), D width, K neighbours.
"""

from typing import Any, Protocol

import numpy as np

from segue.data.catalog import PAD
from segue.models.scorer import top_k

WANTED_RECALL = 0.99
"""An approximate index that finds a smaller share of the true neighbours is not used."""


class Index(Protocol):
    """Finds the items whose vectors have the largest inner product with a query."""

    def nearest(self, query_BD: np.ndarray, k: int) -> np.ndarray:
        """int32 [B, k], best first; PAD where there are no more."""
        ...


class Exact:
    """One matrix product and the one ``top_k``."""

    def __init__(self, keys_VD: np.ndarray) -> None:
        self.keys_VD = keys_VD

    def nearest(self, query_BD: np.ndarray, k: int) -> np.ndarray:
        """int32 [B, k]."""
        return top_k(query_BD @ self.keys_VD.T, k)[0]


class Approximate:
    """A navigable graph of the vectors (HNSW, Malkov & Yashunin 2016) by usearch; a search walks along its edges."""

    def __init__(self, graph: Any) -> None:
        self._graph = graph

    @classmethod
    def build(cls, keys_VD: np.ndarray, *, connectivity: int = 32, effort: int = 256) -> "Approximate":
        """All items but PAD. ValueError where usearch is not installed."""
        graph = _usearch(keys_VD.shape[1], connectivity, effort)
        graph.add(np.arange(1, len(keys_VD)), np.ascontiguousarray(keys_VD[1:], dtype=np.float32), threads=1)
        return cls(graph)

    @classmethod
    def restore(cls, saved: np.ndarray) -> "Approximate":
        """What ``array`` gave."""
        graph = _usearch(1, 32, 256)
        graph.load(saved.tobytes())
        return cls(graph)

    def array(self) -> np.ndarray:
        """The graph as bytes, uint8."""
        return np.frombuffer(bytes(self._graph.save()), dtype=np.uint8)

    def nearest(self, query_BD: np.ndarray, k: int) -> np.ndarray:
        """int32 [B, k]."""
        items_BK = np.full((len(query_BD), k), PAD, dtype=np.int32)
        asked = np.ascontiguousarray(query_BD, dtype=np.float32)
        found = self._graph.search(asked, k, threads=1)
        keys = np.atleast_2d(found.keys)
        counts = np.atleast_1d(found.counts) if len(asked) > 1 else [keys.shape[1]]
        for b, count in enumerate(counts):
            items_BK[b, :count] = keys[b, :count]
        return items_BK


def recall_of(index: Index, keys_VD: np.ndarray, query_BD: np.ndarray, k: int) -> float:
    """The share of the true k nearest items that an index finds for some queries."""
    true_BK, found_BK = Exact(keys_VD).nearest(query_BD, k), index.nearest(query_BD, k)
    hits = [len(np.intersect1d(true, found)) for true, found in zip(true_BK, found_BK, strict=True)]
    return sum(hits) / max(1, int((true_BK != PAD).sum()))


def approximate_if_good(keys_VD: np.ndarray, query_BD: np.ndarray, k: int) -> tuple[Approximate | None, float]:
    """(an approximate index, its recall on the queries); None where the recall is below what is wanted."""
    index = Approximate.build(keys_VD)
    recall = recall_of(index, keys_VD, query_BD, k)
    return (index if recall >= WANTED_RECALL else None), recall


def _usearch(width: int, connectivity: int, effort: int) -> Any:
    try:
        from usearch.index import Index as Graph
    except ImportError:
        raise ValueError("An approximate index needs usearch: pip install 'segue[ann]'.") from None
    return Graph(
        ndim=width,
        metric="ip",
        dtype="f32",
        connectivity=connectivity,
        expansion_add=effort,
        expansion_search=effort,
    )
