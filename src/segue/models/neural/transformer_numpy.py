"""Transformer layers in numpy, by the names that their torch twins have: a norm, attention, feed-forward, a stack.

Shape letters: B rows, T time step, Q asking steps, H heads, D hidden size, E = D / H.
"""

from collections.abc import Mapping

import numpy as np

Weights = Mapping[str, np.ndarray]
EPSILON = np.float32(1e-5)
"""What torch adds to a variance before its root."""


def linear(weights: Weights, name: str, x: np.ndarray) -> np.ndarray:
    """x W^T + b over the last axis."""
    product: np.ndarray = x @ weights[f"{name}.weight"].T
    return product + weights[f"{name}.bias"]


def layer_norm(weights: Weights, name: str, x: np.ndarray) -> np.ndarray:
    """Mean 0 and variance 1 over the last axis, then a gain and a shift for each column (Ba et al. 2016, eq. 4)."""
    centred = x - x.mean(axis=-1, keepdims=True)
    spread = np.sqrt((centred * centred).mean(axis=-1, keepdims=True) + EPSILON)
    scaled: np.ndarray = centred / spread * weights[f"{name}.weight"] + weights[f"{name}.bias"]
    return scaled


def feed_forward(weights: Weights, name: str, x: np.ndarray) -> np.ndarray:
    """narrow(gelu(widen(norm x))), with the gelu's tanh form (Hendrycks & Gimpel 2016, section 2)."""
    wide = linear(weights, f"{name}.widen", layer_norm(weights, f"{name}.norm_inner", x))
    cubed = np.float32(0.7978845608) * (wide + np.float32(0.044715) * wide * wide * wide)
    return linear(weights, f"{name}.narrow", 0.5 * wide * (1.0 + np.tanh(cubed)))


def split_heads(x_BTD: np.ndarray, heads: int) -> np.ndarray:
    """[B, H, T, E]."""
    batch, time, dim = x_BTD.shape
    return x_BTD.reshape(batch, time, heads, dim // heads).transpose(0, 2, 1, 3)


def attend(q_BHQE: np.ndarray, k_BHTE: np.ndarray, v_BHTE: np.ndarray, hidden: np.ndarray | None) -> np.ndarray:
    """float32 [B, Q, D]: scaled dot-product attention (Vaswani et al. 2017, eq. 1).

    ``hidden`` (bool, shaped to fit [B, H, Q, T]) is what a step must not look at.
    """
    score = (q_BHQE @ k_BHTE.transpose(0, 1, 3, 2)) * np.float32(q_BHQE.shape[-1] ** -0.5)
    if hidden is not None:
        np.putmask(score, np.broadcast_to(hidden, score.shape), -np.inf)
    mixed = softmax(score) @ v_BHTE
    batch, heads, asking, width = mixed.shape
    return mixed.transpose(0, 2, 1, 3).reshape(batch, asking, heads * width)


def softmax(score: np.ndarray) -> np.ndarray:
    """Over the last axis; each row needs a finite entry."""
    weight = np.exp(score - score.max(axis=-1, keepdims=True))
    weight /= weight.sum(axis=-1, keepdims=True)
    return weight


def causal_states(weights: Weights, layers: int, heads: int, x_BTD: np.ndarray) -> np.ndarray:
    """float32 [B, T, D]: a stack of pre-norm blocks in which no step sees a later one, positions added before."""
    time = x_BTD.shape[1]
    later_TT = np.triu(np.ones((time, time), dtype=bool), 1)
    x_BTD = x_BTD + weights["position"][:time]
    for i in range(layers):
        name = f"blocks.{i}"
        normed_BTD = layer_norm(weights, f"{name}.norm_attention", x_BTD)
        parts = np.split(linear(weights, f"{name}.attention.project", normed_BTD), 3, -1)
        q, k, v = (split_heads(part, heads) for part in parts)
        mixed_BTD = attend(q, k, v, later_TT)
        x_BTD = x_BTD + linear(weights, f"{name}.attention.merge", mixed_BTD)
        x_BTD = x_BTD + feed_forward(weights, name, x_BTD)
    return layer_norm(weights, "norm", x_BTD)
