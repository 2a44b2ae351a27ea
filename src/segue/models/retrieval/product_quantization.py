"""A quick look at a whole catalog through product codes of 4 bits: a quarter of the memory of whole numbers, and a
third of the time for one query. It may miss an item, so it is used only where somebody asks for it and it was seen to
find nearly all.

Shape letters: B queries, D width, V catalog size with PAD, K list length, R items that are looked at again.
"""

from typing import Any

import numpy as np

from segue.models.retrieval.int8_scan import ItemGroups

MIN_RECALL = 0.99
"""Codes that find a smaller share of the true best are not used."""
_MAX_TRAINING_ITEMS = 20_000
_FEWEST, _MOST = 200, 6400
"""Items that are looked at again: so many at first, twice as many until the recall is good enough."""


class PQScan:
    """Product quantisation (Jegou et al. 2011) with codes of 4 bits that are compared in registers (Andre et al. 2015,
    "Cache locality is not enough"), by faiss. Each item is a group of its own. From one thread at a time."""

    def __init__(self, keys_VD: np.ndarray, bias_V: np.ndarray | None = None, looks: int = _FEWEST) -> None:
        """``looks``: at so many items is looked again, at least. ImportError where faiss is not installed."""
        import faiss

        faiss.omp_set_num_threads(1)
        self.looks = looks
        self.groups = ItemGroups(len(keys_VD), 1, len(keys_VD))
        self._bias = bias_V is not None
        told_VE = self._even(keys_VD, bias_V)
        self._index: Any = faiss.index_factory(
            told_VE.shape[1], f"PQ{told_VE.shape[1] // 2}x4fs", faiss.METRIC_INNER_PRODUCT
        )
        step = max(1, len(told_VE) // _MAX_TRAINING_ITEMS)
        self._index.train(np.ascontiguousarray(told_VE[::step]))
        self._index.add(told_VE)

    def best(self, query_BD: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """As ``Screen.best``, of at least ``count`` groups; nobody knows how far off a maximum is: zeros."""
        ones_B = np.ones(len(query_BD), dtype=np.float32) if self._bias else None
        looks = min(self.groups.size, max(count, self.looks))
        told_BR, item_BR = self._index.search(self._even(query_BD, ones_B), looks)
        return item_BR, told_BR[:, -1], np.zeros(len(query_BD), dtype=np.float32)

    @staticmethod
    def _even(rows_ND: np.ndarray, last_N: np.ndarray | None) -> np.ndarray:
        """float32, as faiss takes it: with one more column, where there is one, and an even number of them."""
        more = [] if last_N is None else [last_N[:, None]]
        if (rows_ND.shape[1] + len(more)) % 2:
            more.append(np.zeros((len(rows_ND), 1)))
        return np.ascontiguousarray(np.concatenate([rows_ND, *more], axis=1) if more else rows_ND, dtype=np.float32)


def build_pq_scan(
    keys_VD: np.ndarray, bias_V: np.ndarray | None, query_BD: np.ndarray, k: int
) -> tuple[PQScan | None, float]:
    """(codes that look at no more items than they must to find what is wanted of the queries' true best, their recall);
    no codes where they would have to look at too many. ImportError where faiss is not installed."""
    codes = PQScan(keys_VD, bias_V)
    scores_BV = query_BD @ keys_VD.T
    if bias_V is not None:
        scores_BV += bias_V
    true_BK = np.argpartition(scores_BV, -k, axis=1)[:, -k:]
    while True:
        found_BR, _, _ = codes.best(query_BD, k)
        hits = [len(np.intersect1d(true, found)) for true, found in zip(true_BK, found_BR, strict=True)]
        recall = sum(hits) / true_BK.size
        if recall >= MIN_RECALL:
            return codes, recall
        if codes.looks >= min(_MOST, len(keys_VD)):
            return None, recall
        codes.looks *= 2
