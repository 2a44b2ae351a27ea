"""ONNX graphs of foreign models: each fault has its own sentence, before any library reads the graph."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from segue.models.neural.onnx_checks import check_graph

onnx = pytest.importorskip("onnx")


def graph(change: Callable[[Any], None] = lambda model: None, constant: np.ndarray | None = None) -> bytes:
    """Return a graph that adds a constant to its input, after a change."""
    values = np.array([1.0, 2.0], dtype=np.float32) if constant is None else constant
    node = onnx.helper.make_node("Add", ["x", "c"], ["y"])
    ends = [onnx.helper.make_tensor_value_info(name, 1, [2]) for name in ("x", "y")]
    body = onnx.helper.make_graph([node], "g", ends[:1], ends[1:], [onnx.numpy_helper.from_array(values, "c")])
    model = onnx.helper.make_model(body, opset_imports=[onnx.helper.make_opsetid("", 17)])
    change(model)
    content: bytes = model.SerializeToString()
    return content


def external(model: Any) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = 1
    tensor.external_data.add(key="location", value="weights.bin")


def test_a_plain_graph_passes() -> None:
    check_graph(graph())


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (external, "a constant is in another file"),
        (lambda model: model.graph.initializer[0].external_data.add(key="location", value="w"), "in another file"),
        (
            lambda model: setattr(model.graph.node[0], "op_type", "RandomUniform"),
            "its operator RandomUniform is random",
        ),
        (lambda model: setattr(model.graph.node[0], "domain", "other"), "operators that are not of ONNX itself"),
        (lambda model: model.functions.add(name="f", domain="f"), "functions or training information"),
    ],
)
def test_a_fault_is_named(change: Callable[[Any], None], fault: str) -> None:
    with pytest.raises(ValueError, match=f"^The ONNX graph of the encoder is refused: .*{fault}"):
        check_graph(graph(change))


def test_nan_in_a_constant_is_named() -> None:
    with pytest.raises(ValueError, match="a constant holds NaN"):
        check_graph(graph(constant=np.array([1.0, np.nan], dtype=np.float32)))
