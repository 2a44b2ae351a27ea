"""ONNX graphs: the graph of an architecture is traced once, and weights that are put in give what a new trace gives."""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from segue.data.sequences import Sequences
from segue.models.neural.configs.bert4rec import BERT4RecConfig
from segue.models.neural.configs.caser import CaserConfig
from segue.models.neural.configs.hstu import HSTUConfig
from segue.models.neural.configs.lrurec import LRURecConfig
from segue.models.neural.configs.nextitnet import NextItNetConfig
from segue.models.neural.configs.sasrec import SASRecConfig
from segue.training import onnx_graph as onnx_graphs
from segue.training.build_net import build_net
from segue.training.nets.encoders.tied_embedding import TiedEmbeddingNet
from segue.training.onnx_graph import architecture_key, onnx_graph

V = 9
SMALL: dict[str, Any] = {"embedding_dim": 4, "max_length": 4, "num_layers": 1}
CONFIGS: dict[str, Any] = {
    "sasrec": SASRecConfig(**SMALL),
    "sasrec-reversed": SASRecConfig(**SMALL, position_encoding="reversed"),
    "sasrec-rotary": SASRecConfig(**SMALL, position_encoding="rotary"),
    "sasrec-ligr": SASRecConfig(**SMALL, position_encoding="none", block_type="ligr"),
    "bert4rec": BERT4RecConfig(**SMALL),
    "hstu": HSTUConfig(**SMALL),
    "hstu-target-time": HSTUConfig(**SMALL, target_time=True),
    "lrurec": LRURecConfig(**SMALL, time_inputs=("gap",)),
    "caser": CaserConfig(embedding_dim=4, max_length=4, window=2),
    "nextitnet": NextItNetConfig(embedding_dim=4, max_length=4, dilations=(1,)),
    "one event": SASRecConfig(embedding_dim=4, max_length=1, num_layers=1),
}
OTHERS: dict[str, Any] = {
    "embedding_dim": replace(CONFIGS["sasrec"], embedding_dim=8),
    "max_length": replace(CONFIGS["sasrec"], max_length=5),
    "num_layers": replace(CONFIGS["sasrec"], num_layers=2),
    "num_heads": replace(CONFIGS["sasrec"], num_heads=4),
    "dilations": replace(CONFIGS["nextitnet"], dilations=(2,)),
    "kernel_size": replace(CONFIGS["nextitnet"], kernel_size=2),
    "window": replace(CONFIGS["caser"], window=3),
    "horizontal filters": replace(CONFIGS["caser"], num_horizontal_filters=3),
    "expansion": replace(CONFIGS["lrurec"], expansion=2),
    "heads of BERT4Rec": BERT4RecConfig(**SMALL, num_heads=1),
}
"""Nets that must not share a graph with any other."""


@pytest.fixture(autouse=True)
def no_graphs(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every test begins with no traced graph."""
    monkeypatch.setattr(onnx_graphs, "_traced", type(onnx_graphs._traced)())
    yield


@pytest.fixture
def traces(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The encoders that were traced, in order."""
    traced, trace = [], onnx_graphs._trace

    def counted(encoder: Any, dim: int, length: int) -> Any:
        traced.append(encoder)
        return trace(encoder, dim, length)

    monkeypatch.setattr(onnx_graphs, "_trace", counted)
    return traced


def make_net(config: Any, seed: int) -> TiedEmbeddingNet:
    """A net with random weights; with seed 0 many parameters are equal, all zeros or all ones."""
    rng = np.random.default_rng(0)
    log = Sequences.from_lists([rng.integers(1, V, 6).tolist() for _ in range(20)])
    net = build_net(config, log, V, seed).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.encoder.parameters() if seed else ():
            parameter.add_(torch.randn(parameter.shape, generator=generator))
    return net


def export(net: TiedEmbeddingNet) -> bytes:
    return onnx_graph(net.encoder, net.dim, net.length)


def key(config: Any) -> Any:
    net = make_net(config, 0)
    return architecture_key(net.encoder, net.dim, net.length)


def hidden_states(graph: bytes, net: TiedEmbeddingNet) -> tuple[np.ndarray, np.ndarray]:
    """float32 [4, D] of the graph and of the net, for full rows."""
    rng = np.random.default_rng(5)
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    vectors = rng.normal(size=(4, net.length, net.dim)).astype(np.float32)
    feed = {"vectors": vectors, "last": np.full(4, net.length - 1)}
    if net.encoder.timed:
        feed["times"] = np.cumsum(rng.integers(1, 10**11, (4, net.length + 1)), axis=1)
    with torch.no_grad():
        wanted = net.encoder.last_state(*(torch.from_numpy(array) for array in feed.values()))
    return session.run(None, feed)[0], wanted.numpy()


@pytest.mark.parametrize("name", ["sasrec", "bert4rec", "hstu-target-time", "lrurec", "caser", "nextitnet"])
def test_weights_in_a_traced_graph_equal_a_new_trace(name: str, traces: list[object]) -> None:
    """Byte for byte, whichever net was traced, also where parameters of the first net are equal to each other. The
    options of each net are in ``test_nets.py``, which compares outputs of graphs that are shared like these."""
    first, second = (make_net(CONFIGS[name], seed) for seed in (0, 1))
    graphs = [export(first), export(second), export(first)]
    assert len(traces) == 1
    onnx_graphs._traced.clear()
    assert export(second) == graphs[1]
    assert len(traces) == 2
    assert graphs[2] == graphs[0] != graphs[1]
    np.testing.assert_allclose(*hidden_states(graphs[1], second), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["bert4rec", "hstu-target-time", "lrurec"])
def test_outputs_equal_those_of_the_exporter_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bit for bit at every length, for weights put into the graph of another net; ``lrurec`` has time inputs."""
    first, second = (make_net(CONFIGS[name], seed) for seed in (0, 1))
    export(first)
    cached, exporter = export(second), torch.onnx.export
    optimized = {"optimize": True}
    monkeypatch.setattr(torch.onnx, "export", lambda *args, **options: exporter(*args, **(options | optimized)))
    alone = onnx_graphs._trace(second.encoder, second.dim, second.length).SerializeToString()
    sessions = [onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"]) for graph in (cached, alone)]
    rng = np.random.default_rng(3)
    for rows, length in itertools.product((1, 5), range(1, second.length + 1)):
        vectors = rng.normal(size=(rows, length, second.dim)).astype(np.float32)
        feed = {"vectors": vectors, "last": rng.integers(0, length, rows)}
        if second.encoder.timed:
            feed["times"] = np.cumsum(rng.integers(1, 10**11, (rows, length + 1)), axis=1)
        outputs = [session.run(None, feed)[0] for session in sessions]
        np.testing.assert_array_equal(*outputs)


def test_each_architecture_has_its_own_key() -> None:
    keys = [key(config) for config in (CONFIGS | OTHERS).values()]
    assert None not in keys
    assert len(set(keys)) == len(keys)


def test_settings_outside_the_graph_share_it() -> None:
    config = CONFIGS["sasrec"]
    others = [{"dropout": 0.5}, {"temperature": None}, {"spectral_init": False}, {"time_inputs": ("gap",)}]
    assert {key(replace(config, **other)) for other in others} == {key(config)}


def test_an_attribute_that_cannot_be_compared_is_never_shared(traces: list[object]) -> None:
    net = make_net(CONFIGS["nextitnet"], 0)
    net.encoder.shape_rule = [1, 2]  # type: ignore[assignment]
    assert architecture_key(net.encoder, net.dim, net.length) is None
    assert export(net) == export(net)
    assert len(traces) == 2
    assert not onnx_graphs._traced


def test_kept_graphs_are_bounded_and_hold_no_weights(monkeypatch: pytest.MonkeyPatch, traces: list[object]) -> None:
    monkeypatch.setattr(onnx_graphs, "MAX_TRACED_GRAPHS", 1)
    first = make_net(CONFIGS["nextitnet"], 0)
    second = make_net(OTHERS["dilations"], 0)
    for net in (first, first, second, first):
        export(net)
    assert traces == [first.encoder, second.encoder, first.encoder]
    (graph,) = onnx_graphs._traced.values()
    assert not any(tensor.raw_data for tensor in graph.graph.initializer if tensor.name.startswith("encoder."))


def test_a_graph_names_no_file_of_this_machine() -> None:
    assert b".py" not in export(make_net(CONFIGS["nextitnet"], 0))
