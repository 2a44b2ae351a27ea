"""A quick look at a whole catalog: about how good the best item of each group is, and how wrong that can be.

Shape letters: B queries, D width, V catalog size with PAD, G groups, N items of one block.
"""

import os
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from segue.models.onnx_proto import Node, Shapes, build_graph

_THREADS = min(2, os.cpu_count() or 1)
"""Of a look at a whole catalog: it is the one thing in an answer that is large enough to be shared, and whole numbers
add up to the same in any order."""
_UNIT = 2.0**-24
"""Half a unit in the last place of a float32 around 1."""
_HIGHEST, _MIDDLE = 127, 64
"""A query's coordinates are 0 to 127 around 64: seven bits, because processors without VNNI add pairs of products in
16 bits, which eight bits would overflow."""


@dataclass(frozen=True)
class ItemGroups:
    """Which items share a group: ``width`` neighbors, so that the groups that are scored again lie together in memory.

    Fewer than ``width`` items behind the last group are in none.
    """

    size: int
    """V; PAD is an item like any other here."""
    width: int
    """Items in a group."""
    block: int
    """Items that are scored at once, a multiple of ``width``."""

    @property
    def grouped(self) -> int:
        """Items that are in a group: 0 to this."""
        return self.size // self.width * self.width

    @property
    def count(self) -> int:
        """G."""
        return self.grouped // self.width

    def blocks(self) -> list[slice]:
        """The items of each block."""
        starts = range(0, self.grouped, self.block)
        return [slice(start, min(start + self.block, self.grouped)) for start in starts]

    def of(self, items: np.ndarray) -> np.ndarray:
        """The group of each item that is in one, int64; the others are left out."""
        group: np.ndarray = items[items < self.grouped].astype(np.int64) // self.width
        return group

    def members(self, groups: np.ndarray) -> np.ndarray:
        """All items of the groups, int64."""
        return (groups[:, None] * self.width + np.arange(self.width)).ravel()

    def dealt(self, block: slice) -> np.ndarray:
        """int64: a block's items, the first of each group, then the second of each: so that a maximum over groups runs
        over whole rows."""
        return np.arange(block.start, block.stop).reshape(-1, self.width).T.ravel()


class GroupBoundScan(Protocol):
    """Looks at every item."""

    @property
    def groups(self) -> ItemGroups: ...

    def best(self, query_BD: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(``count`` groups whose best scores are about the highest, int64 [B, count], in any order; about the lowest
        of these best scores; how far off one of them can be: float32 [B])."""
        ...


class FloatScan:
    """In float32, block by block; a block's scores stay in the cache. Runs everywhere."""

    def __init__(self, keys_VD: np.ndarray, bias_V: np.ndarray | None, groups: ItemGroups) -> None:
        self.groups = groups
        self._keys_VD = keys_VD
        self._bias_V = bias_V
        self._longest = float(np.sqrt(np.einsum("vd,vd->v", keys_VD, keys_VD).max(initial=0.0)))
        self._highest = 0.0 if bias_V is None else float(np.abs(bias_V).max(initial=0.0))

    def maxima(self, query_BD: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(about the best score of each group, float32 [B, G]; how far off one of them can be, float32 [B])."""
        best_GB = np.empty((self.groups.count, len(query_BD)), dtype=np.float32)
        done = 0
        for block in self.groups.blocks():
            # Items along the first axis: the table is read as it lies.
            scores_NB = self._keys_VD[block] @ query_BD.T
            if self._bias_V is not None:
                scores_NB += self._bias_V[block, None]
            by_group = scores_NB.reshape(-1, self.groups.width, len(query_BD))
            best = best_GB[done : done + len(by_group)]
            best[:] = by_group[:, 0]
            for member in range(1, self.groups.width):  # a reduction over the middle axis is several times slower
                np.maximum(best, by_group[:, member], out=best)
            done += len(by_group)
        return best_GB.T, rounding_error_bound(query_BD, self._longest, self._highest)

    def best(self, query_BD: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        best_BG, off_B = self.maxima(query_BD)
        group_BR = np.argpartition(best_BG, -count, axis=1)[:, -count:]
        return group_BR, np.take_along_axis(best_BG, group_BR, axis=1).min(axis=1), off_B


def rounding_error_bound(query_BD: np.ndarray, longest_key: float, highest_bias: float) -> np.ndarray:
    """How far a float32 score can be from the true one, whatever the order of its additions, float32 [B]: D + 2
    roundings of sums that are at most |query| * |key| + |bias|."""
    lengths_B = np.sqrt(np.einsum("bd,bd->b", query_BD, query_BD))
    steps = (query_BD.shape[1] + 2) * 2 * _UNIT
    bound: np.ndarray = (steps * (lengths_B * longest_key + highest_bias)).astype(np.float32)
    return bound


class Int8Scan:
    """In 8 bits by onnxruntime, whose kernels for whole numbers are several times faster than float32 ones and read a
    quarter of the memory. Rounding keys and queries moves a score by at most
    |query - rounded query| * |key| + |rounded query| * |key - rounded key| (Cauchy-Schwarz, twice)."""

    def __init__(self, keys_VD: np.ndarray, bias_V: np.ndarray | None, groups: ItemGroups) -> None:
        import onnxruntime

        self.groups = groups
        self._step = float(np.abs(keys_VD).max(initial=0.0)) / 127 or 1.0
        rounded_VD = np.round(keys_VD / np.float32(self._step))
        off_VD = keys_VD - rounded_VD * np.float32(self._step)
        self._longest = float(np.sqrt(np.einsum("vd,vd->v", keys_VD, keys_VD).max(initial=0.0)))
        self._off = float(np.sqrt(np.einsum("vd,vd->v", off_VD, off_VD).max(initial=0.0)))
        self._highest = 0.0 if bias_V is None else float(np.abs(bias_V).max(initial=0.0))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = _THREADS
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(
            _byte_graph(rounded_VD.astype(np.int8), bias_V, groups), options, providers=["CPUExecutionProvider"]
        )

    def maxima(self, query_BD: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(about the best score of each group, float32 [B, G]; how far off one of them can be, float32 [B])."""
        feed, off_B = self._feed(query_BD)
        return self._session.run(["best"], feed)[0], off_B

    def best(self, query_BD: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        feed, off_B = self._feed(query_BD)
        highest_BR, group_BR = self._session.run(["highest", "highest_groups"], {**feed, "count": np.array([count])})
        return group_BR, highest_BR[:, -1], off_B

    def _feed(self, query_BD: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """(what the graph asks for, how far off a maximum can be)."""
        step_B1 = np.abs(query_BD).max(axis=1, keepdims=True) / (_HIGHEST - _MIDDLE)
        step_B1[step_B1 == 0] = 1.0
        whole_BD = np.rint(query_BD / step_B1)
        rounded_BD = whole_BD * step_B1
        off_BD = query_BD - rounded_BD
        off_B = np.sqrt(np.einsum("bd,bd->b", off_BD, off_BD)) * self._longest
        off_B += np.sqrt(np.einsum("bd,bd->b", rounded_BD, rounded_BD)) * self._off
        scale_B1 = (step_B1 * np.float32(self._step)).astype(np.float32)
        feed = {"query": (whole_BD + _MIDDLE).astype(np.uint8), "scale": scale_B1, "count": _NO_COUNT}
        return feed, off_B.astype(np.float32) + rounding_error_bound(query_BD, self._longest, self._highest)


_NO_COUNT = np.array([1])
"""Where only the maxima are asked for."""


def _byte_graph(keys_VD: np.ndarray, bias_V: np.ndarray | None, groups: ItemGroups) -> bytes:
    """Block by block: whole-number product, then (scale and bias, where there is one, and) each group's maximum."""
    nodes, parts = [], []
    constants: dict[str, np.ndarray] = {
        "middle": np.array(_MIDDLE, dtype=np.uint8),
        "turns": np.array([1], dtype=np.int64),
    }
    for n, block in enumerate(groups.blocks()):
        dealt = groups.dealt(block)
        constants[f"keys{n}"] = keys_VD[dealt].T
        stride = (block.stop - block.start) // groups.width
        constants[f"shape{n}"] = np.array([-1, groups.width, stride], dtype=np.int64)
        nodes.append(Node("MatMulInteger", ["query", f"keys{n}", "middle"], f"whole{n}"))
        scores = f"whole{n}"
        if bias_V is not None:
            constants[f"bias{n}"] = bias_V[dealt]
            nodes.append(Node("Cast", [scores], f"float{n}", [("to", 1)]))
            nodes.append(Node("Mul", [f"float{n}", "scale"], f"scaled{n}"))
            nodes.append(Node("Add", [f"scaled{n}", f"bias{n}"], f"score{n}"))
            scores = f"score{n}"
        nodes.append(Node("Reshape", [scores, f"shape{n}"], f"dealt{n}"))
        nodes.append(Node("ReduceMax", [f"dealt{n}", "turns"], f"best{n}", [("keepdims", 0)]))
        parts.append(f"best{n}")
    last = "best" if bias_V is not None else "whole"
    nodes.append(Node("Concat", parts, last, [("axis", 1)]))
    if bias_V is None:
        nodes += [Node("Cast", [last], "counted", [("to", 1)]), Node("Mul", ["counted", "scale"], "best")]
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


def build_scan(keys_VD: np.ndarray, bias_V: np.ndarray | None, *, wanted: int = 20) -> GroupBoundScan:
    """The faster of the two that this environment can run. Wider groups for larger catalogs: fewer maxima are
    compared, more items are scored again; narrower ones for lists of a hundred ``wanted`` items and more."""
    size = len(keys_VD)
    width = 16 if size < 1 << 19 else 64
    if wanted >= 100:
        width //= 2
    try:
        return Int8Scan(keys_VD, bias_V, ItemGroups(size, width, 1 << 17))
    except ImportError:
        return FloatScan(keys_VD, bias_V, ItemGroups(size, width, 1 << 13))
