"""An exported network as an encoder: runs an ONNX graph; needs onnxruntime, never torch."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np

from segue.data.catalog import PAD
from segue.data.sequences import Sequences
from segue.models.neural.time_features import event_times

TOKENS_AT_ONCE = 16384
"""Events that are encoded in one call, padding included: bounds the memory of a long evaluation."""
TOKENS_ALONE = 1024
"""Up to so many are encoded by one thread: waking another takes longer than it saves."""


class OnnxEncoder:
    """Runs ``vectors`` float32 [B, T, D] (oldest event first, zeros behind) and ``last`` int64 [B] (the position of
    the newest event) through the graph, which gives ``hidden`` float32 [B, D]. A graph that asks for ``times`` gets
    int64 [B, T + 1] as ``moments`` lays them out."""

    inputs = 0

    def __init__(
        self, graph: bytes, length: int, weights: Mapping[str, np.ndarray] | None = None, threads: int = 0
    ) -> None:
        self.graph = graph
        self.weights = dict(weights or {})
        """The network's own parameters, carried along so that a later training can go on from them."""
        self.length = length
        self._threads = threads
        self._alone = _session(graph, 1)
        self.timed = any(given.name == "times" for given in self._alone.get_inputs())
        """Whether the graph looks at times."""

    @cached_property
    def _together(self) -> Any:
        """Several threads, for an evaluation's batches."""
        return self._alone if self._threads == 1 else _session(self.graph, self._threads)

    def arrays(self) -> dict[str, np.ndarray]:
        """The graph's bytes, uint8, and the parameters with 'net.' before their names."""
        graph = {"encoder.onnx": np.frombuffer(self.graph, dtype=np.uint8)}
        return {**graph, **{f"net.{name}": value for name, value in self.weights.items()}}

    def encode(self, histories: Sequences, vectors_ND: np.ndarray) -> np.ndarray:
        """float32 [B, D]: the state after each whole history; rows of like length go through together."""
        lengths = histories.lengths
        offsets = np.cumsum(lengths) - lengths
        if len(lengths) == 1:
            return self._run(histories, vectors_ND[None], lengths)
        order = np.argsort(-lengths, kind="stable")
        out_BD = np.empty((len(lengths), vectors_ND.shape[1]), dtype=np.float32)
        start = 0
        while start < len(order):
            width = int(lengths[order[start]])
            rows = order[start : start + max(1, TOKENS_AT_ONCE // width)]
            column_BT = np.arange(width)[None, :]
            inside_BT = column_BT < lengths[rows][:, None]
            where_BT = np.where(inside_BT, offsets[rows][:, None] + column_BT, PAD)
            vectors_BTD = vectors_ND[where_BT] * inside_BT[..., None]
            out_BD[rows] = self._run(histories.take(rows), vectors_BTD, lengths[rows])
            start += len(rows)
        return out_BD

    def _run(self, histories: Sequences, vectors_BTD: np.ndarray, lengths_B: np.ndarray) -> np.ndarray:
        batch, width = vectors_BTD.shape[:2]
        feed = {"vectors": vectors_BTD.astype(np.float32, copy=False), "last": lengths_B - 1}
        if self.timed:
            feed["times"] = event_times(histories, width)
        session = self._alone if batch * width <= TOKENS_ALONE else self._together
        hidden_BD: np.ndarray = session.run(["hidden"], feed)[0]
        return hidden_BD


def _session(graph: bytes, threads: int) -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise ImportError("This model runs an ONNX graph: pip install 'segue[serve]'.") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    # A server's threads wait most of the time, and must not burn a core while they do.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
