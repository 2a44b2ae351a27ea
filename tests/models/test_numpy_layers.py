"""Numpy layers, by hand."""

import numpy as np

from segue.models.numpy_layers import linear, masked_softmax, normalize_rows, sigmoid, softmax


def test_a_linear_layer_with_and_without_bias():
    weights = {"a.weight": np.array([[1.0, 2.0]]), "a.bias": np.array([0.5]), "b.weight": np.array([[1.0, 2.0]])}
    x = np.array([[3.0, 4.0]])
    assert linear(weights, "a", x).tolist() == [[11.5]]
    assert linear(weights, "b", x).tolist() == [[11.0]]


def test_softmax_of_large_scores_is_finite():
    np.testing.assert_allclose(softmax(np.array([[1e4, 1e4, -np.inf]])), [[0.5, 0.5, 0.0]])


def test_masked_entries_have_no_weight():
    scores, is_valid = np.zeros((2, 3), np.float32), np.array([[True, True, False], [False] * 3])
    assert masked_softmax(scores, is_valid).tolist() == [[0.5, 0.5, 0.0], [0.0, 0.0, 0.0]]


def test_sigmoid_does_not_overflow_and_writes_in_place():
    x = np.array([-1e4, 0.0, 1e4], dtype=np.float32)
    assert sigmoid(x).tolist() == [0.0, 0.5, 1.0] and x[0] == -1e4
    assert sigmoid(x, out=x) is not None and x.tolist() == [0.0, 0.5, 1.0]
    assert sigmoid(np.float64(0.0)) == 0.5


def test_a_zero_row_stays_zero():
    assert normalize_rows(np.array([[3.0, 4.0], [0.0, 0.0]])).tolist() == [[0.6, 0.8], [0.0, 0.0]]
