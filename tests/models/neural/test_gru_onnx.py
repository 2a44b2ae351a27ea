"""GRU layers as an ONNX graph: equal to numpy steps, and the same bits of a row in every batch."""

import sys

import numpy as np
import pytest

from segue.data.sequences import Sequences
from segue.models.neural.gru_numpy import NumpyGRU
from segue.models.neural.gru_onnx import OnnxGRU


def layers(count: int, dim: int = 12, input_size: int = 7) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(2)

    def draw(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32) * 0.4

    sizes = [input_size] + [dim] * (count - 1)
    return [
        {
            "input": draw(3 * dim, size),
            "input_bias": draw(3 * dim),
            "state": draw(3 * dim, dim),
            "state_bias": draw(3 * dim),
        }
        for size in sizes
    ]


def rows(lengths: list[int], input_size: int = 7) -> tuple[Sequences, np.ndarray]:
    vectors = np.random.default_rng(3).standard_normal((sum(lengths), input_size)).astype(np.float32)
    return Sequences.from_lists([[1] * length for length in lengths]), vectors


@pytest.mark.parametrize("count", [1, 3])
def test_states_equal_those_of_numpy_steps(count):
    gru = NumpyGRU(layers(count), 50)
    histories, vectors = rows([4, 1, 9, 9, 2, 30])
    states = gru.encode(histories, vectors)
    assert gru._onnx is not None
    np.testing.assert_allclose(states, gru._encode_in_numpy(histories.lengths, vectors), atol=2e-6)
    state_LBS = gru.initial_state(1)
    for vector in vectors[:4]:
        state_LBS = gru.step(state_LBS, vector[None])
    np.testing.assert_allclose(states[:1], gru.hidden(state_LBS), atol=2e-6)


def test_a_rows_bits_do_not_depend_on_the_others(monkeypatch):
    graph = OnnxGRU(layers(2))
    lengths = np.random.default_rng(4).integers(1, 25, 70)
    _, vectors = rows(lengths.tolist())
    whole = graph.encode(lengths, vectors)
    starts = np.cumsum(lengths) - lengths
    for b in range(0, 70, 7):
        alone = graph.encode(lengths[b : b + 1], vectors[starts[b] : starts[b] + lengths[b]])
        np.testing.assert_array_equal(alone[0], whole[b])
    monkeypatch.setattr("segue.models.neural.gru_onnx.MAX_BATCH_EVENTS", 60)
    np.testing.assert_array_equal(graph.encode(lengths, vectors), whole)


def test_empty_histories_have_zero_states():
    graph = OnnxGRU(layers(1))
    histories, vectors = rows([0, 3, 0])
    states = graph.encode(histories.lengths, vectors)
    assert (states[[0, 2]] == 0).all() and (states[1] != 0).any()
    assert graph.encode(np.array([], dtype=np.int64), vectors[:0]).shape == (0, 12)


def test_without_onnxruntime_numpy_steps(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    gru = NumpyGRU(layers(1), 50)
    histories, vectors = rows([4, 2])
    np.testing.assert_array_equal(gru.encode(histories, vectors), gru._encode_in_numpy(histories.lengths, vectors))


@pytest.mark.parametrize("cell", ["lstm", "rnn"])
def test_other_cells_step(cell):
    gates = {"lstm": 4, "rnn": 1}[cell]
    rng = np.random.default_rng(0)
    shapes = {"input": (gates * 6, 7), "input_bias": (gates * 6,), "state": (gates * 6, 6), "state_bias": (gates * 6,)}
    gru = NumpyGRU([{name: rng.standard_normal(s).astype(np.float32) for name, s in shapes.items()}], 50, cell)
    gru.encode(*rows([3, 5]))
    assert gru._onnx is None
