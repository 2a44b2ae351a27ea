"""Elementary layers of exported networks in numpy: linear map, softmax, sigmoid, row normalization."""

from collections.abc import Collection, Mapping

import numpy as np

Weights = Mapping[str, np.ndarray]
"""Parameters of a trained network by name."""


def linear(weights: Weights, name: str, x: np.ndarray) -> np.ndarray:
    """Return W x + b over the last axis.

    Args:
        weights: parameters with ``{name}.weight`` [O, I] and, where the layer has one, ``{name}.bias`` [O].
        name: prefix of the layer's parameters.
        x: float32 [..., I].

    Returns:
        float32 [..., O].
    """
    product: np.ndarray = x @ weights[f"{name}.weight"].T
    if f"{name}.bias" in weights:
        product += weights[f"{name}.bias"]
    return product


def softmax(scores: np.ndarray) -> np.ndarray:
    """Return the softmax over the last axis; every row needs a finite score."""
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    return weights


def masked_softmax(scores: np.ndarray, is_valid: np.ndarray) -> np.ndarray:
    """Return the softmax over the valid entries of the last axis.

    Args:
        scores: float32, any shape.
        is_valid: bool, broadcast to the shape of ``scores``.

    Returns:
        float32 in the shape of ``scores``; 0 for invalid entries, also where no entry of a row is valid.
    """
    masked = np.where(is_valid, scores, -np.inf)
    highest = np.maximum(masked.max(axis=-1, keepdims=True), np.finfo(np.float32).min)
    weights = np.exp(masked - highest)
    normalized: np.ndarray = weights / np.maximum(weights.sum(axis=-1, keepdims=True), np.float32(1e-30))
    return normalized


def sigmoid(x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Return 1 / (1 + exp(-x)), computed with tanh, which cannot overflow.

    Args:
        x: float32 or float64, any shape.
        out: array for the result; may be ``x`` itself. None: a new array.
    """
    half = np.asarray(np.multiply(x, np.float32(0.5), out=out))
    np.tanh(half, out=half)
    half *= np.float32(0.5)
    half += np.float32(0.5)
    return half


def normalize_rows(rows_ND: np.ndarray) -> np.ndarray:
    """Return the rows divided by their Euclidean length; a row of zeros stays zero."""
    lengths_N1 = np.sqrt(np.einsum("nd,nd->n", rows_ND, rows_ND))[:, None]
    normalized: np.ndarray = rows_ND / np.maximum(lengths_N1, np.float32(1e-12))
    return normalized


def check_biases(weights: Weights, without: Collection[str] = ()) -> None:
    """Check that each matrix of a layer has its bias: ``linear`` takes a missing one for a layer without.

    Args:
        weights: parameters by name.
        without: layers that have no bias.

    Raises:
        ValueError: a bias is missing.
    """
    for name, value in weights.items():
        layer, _, kind = name.rpartition(".")
        if kind == "weight" and value.ndim == 2 and layer not in without and f"{layer}.bias" not in weights:
            raise ValueError(f"The tensor 'net.{layer}.bias' is missing.")
