"""Scans of a whole catalog: an estimate of the best score of each group of items, with a bound of its error.

Shape letters: B queries, D width, V catalog size with PAD, G groups, N items of one block, R groups that are returned.
"""

import os
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from segue.models.onnx_proto import Node, Shapes, build_graph

_THREADS = min(2, os.cpu_count() or 1)
"""Threads of a scan. It is the one part of a request that is worth sharing, and integer sums have no order."""
_HALF_ULP = 2.0**-24
"""Half a unit in the last place of a float32 around 1."""
_QUERY_MAX, _QUERY_ZERO = 127, 64
"""Quantized coordinates of a query are 0 to 127 around 64: 7 bits, because processors without VNNI add pairs of
products in 16 bits, which 8 bits would overflow."""


@dataclass(frozen=True)
class ItemGroups:
    """Groups of ``width`` neighboring items, so that the items of a group are adjacent in memory.

    The last items, fewer than ``width``, are in no group.
    """

    size: int
    """V; PAD is an item like any other here."""
    width: int
    """Number of items in a group."""
    block: int
    """Number of items that are scored at once, a multiple of ``width``."""

    @property
    def grouped(self) -> int:
        """Number of items in groups; they are 0 to this number."""
        return self.size // self.width * self.width

    @property
    def count(self) -> int:
        """G."""
        return self.grouped // self.width

    def blocks(self) -> list[slice]:
        """Return the items of each block."""
        starts = range(0, self.grouped, self.block)
        return [slice(start, min(start + self.block, self.grouped)) for start in starts]

    def groups_of(self, items: np.ndarray) -> np.ndarray:
        """Return the group of each item that is in one, int64; other items are left out."""
        group: np.ndarray = items[items < self.grouped].astype(np.int64) // self.width
        return group

    def members(self, groups: np.ndarray) -> np.ndarray:
        """Return all items of the groups, int64."""
        return (groups[:, None] * self.width + np.arange(self.width)).ravel()

    def interleaved(self, block: slice) -> np.ndarray:
        """Return a block's items, int64: the first item of each group, then the second of each, and so on.

        A maximum over groups then is a maximum over whole rows.
        """
        return np.arange(block.start, block.stop).reshape(-1, self.width).T.ravel()


class GroupBoundScan(Protocol):
    """An estimate of every group's best score."""

    @property
    def groups(self) -> ItemGroups:
        """Groups of the catalog's items."""
        ...

    def top_groups(self, query_BD: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the groups with the highest estimates.

        Args:
            query_BD: float32 [B, D].
            count: R, number of groups of each query.

        Returns:
            (groups int64 [B, R] in any order; the lowest of their estimates float32 [B]; bound of the error of any
            estimate of the query, float32 [B]).
        """
        ...


class FloatScan:
    """Scan in float32, block by block, so that a block's scores stay in the cache. Needs numpy only."""

    def __init__(self, keys_VD: np.ndarray, bias_V: np.ndarray | None, groups: ItemGroups) -> None:
        self.groups = groups
        self._keys_VD = keys_VD
        self._bias_V = bias_V
        self._max_norm = float(np.sqrt(np.einsum("vd,vd->v", keys_VD, keys_VD).max(initial=0.0)))
        self._max_bias = 0.0 if bias_V is None else float(np.abs(bias_V).max(initial=0.0))

    def group_maxima(self, query_BD: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (estimated best score of each group float32 [B, G], bound of the error float32 [B])."""
        best_GB = np.empty((self.groups.count, len(query_BD)), dtype=np.float32)
        done = 0
        for block in self.groups.blocks():
            # Items along the first axis, as in the table, so that memory is read in order.
            scores_NB = self._keys_VD[block] @ query_BD.T
            if self._bias_V is not None:
                scores_NB += self._bias_V[block, None]
            by_group = scores_NB.reshape(-1, self.groups.width, len(query_BD))
            best = best_GB[done : done + len(by_group)]
            best[:] = by_group[:, 0]
            for member in range(1, self.groups.width):  # a reduction over the middle axis is several times slower
                np.maximum(best, by_group[:, member], out=best)
            done += len(by_group)
        return best_GB.T, rounding_error_bound(query_BD, self._max_norm, self._max_bias)

    def top_groups(self, query_BD: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """See ``GroupBoundScan.top_groups``."""
        best_BG, error_B = self.group_maxima(query_BD)
        group_BR = np.argpartition(best_BG, -count, axis=1)[:, -count:]
        return group_BR, np.take_along_axis(best_BG, group_BR, axis=1).min(axis=1), error_B


def rounding_error_bound(query_BD: np.ndarray, max_norm: float, max_bias: float) -> np.ndarray:
    """Bound the distance of a float32 score from the exact one, for any order of additions.

    D + 2 roundings of sums that are at most |query| * |key| + |bias|.

    Args:
        query_BD: float32 [B, D].
        max_norm: length of the longest key.
        max_bias: largest absolute bias.

    Returns:
        float32 [B].
    """
    norms_B = np.sqrt(np.einsum("bd,bd->b", query_BD, query_BD))
    relative = (query_BD.shape[1] + 2) * 2 * _HALF_ULP
    bound: np.ndarray = (relative * (norms_B * max_norm + max_bias)).astype(np.float32)
    return bound


class Int8Scan:
    """Scan in 8 bits by onnxruntime, several times faster than float32 with a quarter of the memory traffic.

    Rounding keys and queries moves a score by at most
    |query - rounded query| * |key| + |rounded query| * |key - rounded key| (Cauchy-Schwarz, twice).

    Raises:
        ImportError: onnxruntime is not installed.
    """

    def __init__(self, keys_VD: np.ndarray, bias_V: np.ndarray | None, groups: ItemGroups) -> None:
        import onnxruntime

        self.groups = groups
        self._step = float(np.abs(keys_VD).max(initial=0.0)) / 127 or 1.0
        rounded_VD = np.round(keys_VD / np.float32(self._step))
        error_VD = keys_VD - rounded_VD * np.float32(self._step)
        self._max_norm = float(np.sqrt(np.einsum("vd,vd->v", keys_VD, keys_VD).max(initial=0.0)))
        self._max_error = float(np.sqrt(np.einsum("vd,vd->v", error_VD, error_VD).max(initial=0.0)))
        self._max_bias = 0.0 if bias_V is None else float(np.abs(bias_V).max(initial=0.0))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = _THREADS
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(
            _int8_graph(rounded_VD.astype(np.int8), bias_V, groups), options, providers=["CPUExecutionProvider"]
        )

    def group_maxima(self, query_BD: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (estimated best score of each group float32 [B, G], bound of the error float32 [B])."""
        feed, error_B = self._feed(query_BD)
        return self._session.run(["best"], feed)[0], error_B

    def top_groups(self, query_BD: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """See ``GroupBoundScan.top_groups``."""
        feed, error_B = self._feed(query_BD)
        highest_BR, group_BR = self._session.run(["highest", "highest_groups"], {**feed, "count": np.array([count])})
        return group_BR, highest_BR[:, -1], error_B

    def _feed(self, query_BD: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Return (inputs of the graph, bound of the error of a maximum float32 [B])."""
        step_B1 = np.abs(query_BD).max(axis=1, keepdims=True) / (_QUERY_MAX - _QUERY_ZERO)
        step_B1[step_B1 == 0] = 1.0
        quantized_BD = np.rint(query_BD / step_B1)
        rounded_BD = quantized_BD * step_B1
        difference_BD = query_BD - rounded_BD
        error_B = np.sqrt(np.einsum("bd,bd->b", difference_BD, difference_BD)) * self._max_norm
        error_B += np.sqrt(np.einsum("bd,bd->b", rounded_BD, rounded_BD)) * self._max_error
        scale_B1 = (step_B1 * np.float32(self._step)).astype(np.float32)
        feed = {"query": (quantized_BD + _QUERY_ZERO).astype(np.uint8), "scale": scale_B1, "count": _NO_COUNT}
        return feed, error_B.astype(np.float32) + rounding_error_bound(query_BD, self._max_norm, self._max_bias)


_NO_COUNT = np.array([1])
"""Value of the input ``count`` where only the maxima are requested."""


def _int8_graph(keys_VD: np.ndarray, bias_V: np.ndarray | None, groups: ItemGroups) -> bytes:
    """Build the graph: for each block an integer product, then scale and bias (if any) and each group's maximum."""
    nodes, parts = [], []
    constants: dict[str, np.ndarray] = {
        "query_zero": np.array(_QUERY_ZERO, dtype=np.uint8),
        "group_axis": np.array([1], dtype=np.int64),
    }
    for n, block in enumerate(groups.blocks()):
        order = groups.interleaved(block)
        constants[f"keys{n}"] = keys_VD[order].T
        stride = (block.stop - block.start) // groups.width
        constants[f"shape{n}"] = np.array([-1, groups.width, stride], dtype=np.int64)
        nodes.append(Node("MatMulInteger", ["query", f"keys{n}", "query_zero"], f"product{n}"))
        scores = f"product{n}"
        if bias_V is not None:
            constants[f"bias{n}"] = bias_V[order]
            nodes.append(Node("Cast", [scores], f"float{n}", [("to", 1)]))
            nodes.append(Node("Mul", [f"float{n}", "scale"], f"scaled{n}"))
            nodes.append(Node("Add", [f"scaled{n}", f"bias{n}"], f"score{n}"))
            scores = f"score{n}"
        nodes.append(Node("Reshape", [scores, f"shape{n}"], f"grouped{n}"))
        nodes.append(Node("ReduceMax", [f"grouped{n}", "group_axis"], f"best{n}", [("keepdims", 0)]))
        parts.append(f"best{n}")
    last = "best" if bias_V is not None else "product"
    nodes.append(Node("Concat", parts, last, [("axis", 1)]))
    if bias_V is None:
        nodes += [Node("Cast", [last], "product_float", [("to", 1)]), Node("Mul", ["product_float", "scale"], "best")]
    nodes.append(Node("TopK", ["best", "count"], ["highest", "highest_groups"], [("axis", 1)]))
    inputs: Shapes = {
        "query": ("uint8", ["B", keys_VD.shape[1]]),
        "scale": ("float32", ["B", 1]),
        "count": ("int64", [1]),
    }
    outputs: Shapes = {
        "best": ("float32", ["B", groups.count]),
        "highest": ("float32", ["B", "R"]),
        "highest_groups": ("int64", ["B", "R"]),
    }
    return build_graph(nodes, constants, inputs, outputs)


def build_scan(keys_VD: np.ndarray, bias_V: np.ndarray | None, *, list_length: int = 20) -> GroupBoundScan:
    """Build the fastest scan that this environment can run.

    Larger catalogs get wider groups: fewer maxima are compared, and more items are scored again. Long lists get
    narrower groups.

    Args:
        keys_VD: float32 [V, D].
        bias_V: float32 [V]; None: no bias.
        list_length: usual length of a list; from 100 on, groups are half as wide.
    """
    size = len(keys_VD)
    width = 16 if size < 1 << 19 else 64
    if list_length >= 100:
        width //= 2
    try:
        return Int8Scan(keys_VD, bias_V, ItemGroups(size, width, 1 << 17))
    except ImportError:
        return FloatScan(keys_VD, bias_V, ItemGroups(size, width, 1 << 13))
