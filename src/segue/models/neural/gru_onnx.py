"""GRU layers as one graph of onnxruntime: several times faster than step by step in numpy, above all for few rows, and
a row's state has the same bits whoever is read beside it.

Shape letters: T steps, B rows, E what enters, D hidden size, N events of all rows.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from segue.models.onnx_proto import Node, Shapes, build_graph

EVENTS_AT_ONCE = 1 << 14
"""So many places of a batch, filled or not, are read together."""


class OnnxGRU:
    """Reads whole histories. Any number of threads may ask."""

    def __init__(self, layers: Sequence[Mapping[str, np.ndarray]]) -> None:
        """``layers`` as ``GruArrays`` has them, each with its input matrix. ImportError without onnxruntime."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # several would share a row's sums, and its bits would depend on how
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.dim = layers[0]["state"].shape[1]
        self._session = onnxruntime.InferenceSession(_graph(layers), options, providers=["CPUExecutionProvider"])

    def encode(self, lengths_B: np.ndarray, vectors_NE: np.ndarray) -> np.ndarray:
        """float32 [B, D]: the top state after each history, whose events lie one behind the other; zeros after none."""
        first_B = np.cumsum(lengths_B) - lengths_B
        if len(lengths_B) and lengths_B.min() > 0 and len(lengths_B) * lengths_B.max() <= EVENTS_AT_ONCE:
            return self._together(lengths_B, first_B, vectors_NE)
        out_BD = np.zeros((len(lengths_B), self.dim), dtype=np.float32)
        order = np.argsort(-lengths_B, kind="stable")
        order = order[: np.count_nonzero(lengths_B)]
        start = 0
        while start < len(order):
            steps = int(lengths_B[order[start]])
            rows = order[start : start + max(1, EVENTS_AT_ONCE // steps)]
            out_BD[rows] = self._together(lengths_B[rows], first_B[rows], vectors_NE)
            start += len(rows)
        return out_BD

    def _together(self, lengths_B: np.ndarray, first_B: np.ndarray, vectors_NE: np.ndarray) -> np.ndarray:
        """float32 [B, D], of histories that begin at ``first_B`` and are not empty."""
        # Behind a history's end anything may stand: it is not read.
        place_TB = np.minimum(first_B + np.arange(lengths_B.max())[:, None], len(vectors_NE) - 1)
        feed = {"events": vectors_NE[place_TB], "lengths": lengths_B.astype(np.int32)}
        last_BD: np.ndarray = self._session.run(["last"], feed)[0][0]
        return last_BD


def _graph(layers: Sequence[Mapping[str, np.ndarray]]) -> bytes:
    """A GRU node for each layer; ours have their gates in the order reset, update, candidate, ONNX wants the second
    first. Lower layers hand on all states, the top one its last."""
    nodes, constants = [], {"direction": np.array([1], dtype=np.int64)}
    below = "events"
    for n, layer in enumerate(layers):
        constants |= {
            f"input{n}": _to_onnx_gate_order(layer["input"])[None],
            f"state{n}": _to_onnx_gate_order(layer["state"])[None],
        }
        constants[f"bias{n}"] = np.concatenate(
            [_to_onnx_gate_order(layer["input_bias"]), _to_onnx_gate_order(layer["state_bias"])]
        )[None]
        inputs = [below, f"input{n}", f"state{n}", f"bias{n}", "lengths"]
        sizes = [("hidden_size", layer["state"].shape[1]), ("linear_before_reset", 1)]
        if n == len(layers) - 1:
            nodes.append(Node("GRU", inputs, ["", "last"], sizes))
        else:
            nodes += [Node("GRU", inputs, f"all{n}", sizes), Node("Squeeze", [f"all{n}", "direction"], f"out{n}")]
            below = f"out{n}"
    enters, dim = layers[0]["input"].shape[1], layers[-1]["state"].shape[1]
    asked: Shapes = {
        "events": ("float32", ["T", "B", enters]),
        "lengths": ("int32", ["B"]),
    }
    return build_graph(nodes, constants, asked, {"last": ("float32", [1, "B", dim])})


def _to_onnx_gate_order(gates: np.ndarray) -> np.ndarray:
    reset, update, candidate = np.split(np.asarray(gates, dtype=np.float32), 3)
    return np.concatenate([update, reset, candidate])
