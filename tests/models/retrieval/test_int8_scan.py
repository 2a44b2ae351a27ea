"""Int8 scan: a graph that the onnx package accepts, and wider groups for larger catalogs."""

import numpy as np
import onnx

from segue.models.onnx_proto import Node, build_graph
from segue.models.retrieval.int8_scan import FloatScan, build_scan


def test_the_graph_is_a_valid_onnx_model():
    constants = {"keys": np.arange(12, dtype=np.int8).reshape(3, 4), "axis": np.array([1], dtype=np.int64)}
    nodes = [Node("MatMulInteger", ["q", "keys"], "s"), Node("ReduceMax", ["s", "axis"], "m", [("keepdims", 1)])]
    written = build_graph(nodes, constants, {"q": ("uint8", ["B", 3])}, {"m": ("int32", ["B", 1])})
    model = onnx.load_from_string(written)
    onnx.checker.check_model(model)
    read = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for name, value in constants.items():
        np.testing.assert_array_equal(read[name], value)
    assert [node.op_type for node in model.graph.node] == ["MatMulInteger", "ReduceMax"]
    assert model.graph.node[1].attribute[0].i == 1


def test_larger_catalogs_have_wider_groups(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    narrow, wide = (build_scan(np.ones((size, 1), np.float32), None) for size in (1000, 1 << 19))
    assert isinstance(narrow, FloatScan)
    assert (narrow.groups.width, wide.groups.width) == (16, 64)
