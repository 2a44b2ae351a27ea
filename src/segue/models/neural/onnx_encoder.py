"""Encoder that runs the ONNX graph of an exported network; needs onnxruntime, not torch."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np

from segue.data.catalog import PAD
from segue.data.sequences import Sequences
from segue.models.neural.time_features import event_times

MAX_BATCH_EVENTS = 16384
"""Events of one batch, padding included; bounds the memory of a long evaluation."""
MAX_SINGLE_THREAD_EVENTS = 1024
"""Batches up to this number of events run on one thread: waking another takes longer than it saves."""


class OnnxEncoder:
    """Exported encoder as an ONNX graph.

    Inputs of the graph: ``vectors`` float32 [B, T, D] (input embeddings, oldest event first, zeros behind), ``last``
    int64 [B] (position of the newest event) and, for a network that uses times, ``times`` int64 [B, T + 1] in the
    layout of ``event_times``. Output: ``hidden`` float32 [B, D].
    """

    num_input_columns = 0

    def __init__(
        self, graph: bytes, max_length: int, weights: Mapping[str, np.ndarray] | None = None, threads: int = 0
    ) -> None:
        self.graph = graph
        self.weights = dict(weights or {})
        """Parameters of the network, kept so that training can be resumed from them."""
        self.max_length = max_length
        self._threads = threads
        self._single_threaded = _session(graph, 1)
        self.uses_times = any(given.name == "times" for given in self._single_threaded.get_inputs())
        """True if the graph has the input ``times``."""

    @cached_property
    def _multi_threaded(self) -> Any:
        return self._single_threaded if self._threads == 1 else _session(self.graph, self._threads)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the tensors of the artifact: ``encoder.onnx`` (bytes of the graph, uint8) and ``net.{name}``."""
        graph = {"encoder.onnx": np.frombuffer(self.graph, dtype=np.uint8)}
        return {**graph, **{f"net.{name}": value for name, value in self.weights.items()}}

    def encode(self, histories: Sequences, inputs_ND: np.ndarray) -> np.ndarray:
        """See ``Encoder.encode``. Rows of similar length share a batch."""
        lengths = histories.lengths
        offsets = np.cumsum(lengths) - lengths
        if len(lengths) == 1:
            return self._run(histories, inputs_ND[None], lengths)
        order = np.argsort(-lengths, kind="stable")
        out_BD = np.empty((len(lengths), inputs_ND.shape[1]), dtype=np.float32)
        start = 0
        while start < len(order):
            width = int(lengths[order[start]])
            rows = order[start : start + max(1, MAX_BATCH_EVENTS // width)]
            column_BT = np.arange(width)[None, :]
            is_event_BT = column_BT < lengths[rows][:, None]
            position_BT = np.where(is_event_BT, offsets[rows][:, None] + column_BT, PAD)
            inputs_BTD = inputs_ND[position_BT] * is_event_BT[..., None]
            out_BD[rows] = self._run(histories.take(rows), inputs_BTD, lengths[rows])
            start += len(rows)
        return out_BD

    def _run(self, histories: Sequences, inputs_BTD: np.ndarray, lengths_B: np.ndarray) -> np.ndarray:
        batch, width = inputs_BTD.shape[:2]
        feed = {"vectors": inputs_BTD.astype(np.float32, copy=False), "last": lengths_B - 1}
        if self.uses_times:
            feed["times"] = event_times(histories, width)
        session = self._single_threaded if batch * width <= MAX_SINGLE_THREAD_EVENTS else self._multi_threaded
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
    # Threads of a server wait most of the time; spinning would use a core meanwhile.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
