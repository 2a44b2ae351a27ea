"""Transformer layers in numpy: layer norm, attention, feed-forward layer, causal stack.

Parameter names are those of the torch modules. Shape letters: B rows, T time step, Q query steps, H heads, D hidden
size, E = D / H.
"""

import numpy as np

from segue.models.numpy_layers import Weights, linear, softmax

EPSILON = np.float32(1e-5)
"""Constant that torch adds to a variance before its root."""


def layer_norm(weights: Weights, name: str, x: np.ndarray) -> np.ndarray:
    """Normalize the last axis to mean 0 and variance 1, then scale and shift it (Ba et al. 2016, eq. 4).

    Args:
        weights: parameters with ``{name}.weight`` [D] and ``{name}.bias`` [D].
        name: prefix of the layer's parameters.
        x: float32 [..., D].

    Returns:
        float32 [..., D].
    """
    centered = x - x.mean(axis=-1, keepdims=True)
    deviation = np.sqrt((centered * centered).mean(axis=-1, keepdims=True) + EPSILON)
    scaled: np.ndarray = centered / deviation * weights[f"{name}.weight"] + weights[f"{name}.bias"]
    return scaled


def feed_forward(weights: Weights, name: str, x: np.ndarray) -> np.ndarray:
    """Return narrow(gelu(widen(norm x))), with the tanh form of gelu (Hendrycks & Gimpel 2016, section 2).

    Args:
        weights: parameters of the block.
        name: prefix of the block's parameters.
        x: float32 [..., D].

    Returns:
        float32 [..., D].
    """
    wide = linear(weights, f"{name}.widen", layer_norm(weights, f"{name}.norm_inner", x))
    inner = np.float32(0.7978845608) * (wide + np.float32(0.044715) * wide * wide * wide)
    return linear(weights, f"{name}.narrow", 0.5 * wide * (1.0 + np.tanh(inner)))


def split_heads(x_BTD: np.ndarray, num_heads: int) -> np.ndarray:
    """Return a view [B, H, T, E] of hidden states.

    Args:
        x_BTD: float32 [B, T, D].
        num_heads: H, a divisor of D.
    """
    batch, time, dim = x_BTD.shape
    return x_BTD.reshape(batch, time, num_heads, dim // num_heads).transpose(0, 2, 1, 3)


def attend(
    query_BHQE: np.ndarray, key_BHTE: np.ndarray, value_BHTE: np.ndarray, is_masked: np.ndarray | None
) -> np.ndarray:
    """Compute scaled dot-product attention (Vaswani et al. 2017, eq. 1) and merge the heads.

    Args:
        query_BHQE: float32 [B, H, Q, E].
        key_BHTE: float32 [B, H, T, E].
        value_BHTE: float32 [B, H, T, E].
        is_masked: bool, broadcast to [B, H, Q, T]: steps without attention. None: all steps are attended to.

    Returns:
        float32 [B, Q, D].
    """
    scores = (query_BHQE @ key_BHTE.transpose(0, 1, 3, 2)) * np.float32(query_BHQE.shape[-1] ** -0.5)
    if is_masked is not None:
        np.putmask(scores, np.broadcast_to(is_masked, scores.shape), -np.inf)
    mixed = softmax(scores) @ value_BHTE
    batch, num_heads, steps, width = mixed.shape
    return mixed.transpose(0, 2, 1, 3).reshape(batch, steps, num_heads * width)


def causal_states(weights: Weights, num_layers: int, num_heads: int, x_BTD: np.ndarray) -> np.ndarray:
    """Run a causal stack of pre-norm transformer blocks with learned positions.

    Args:
        weights: parameters with ``position`` [T, D], ``blocks.{i}.*`` and ``norm.*``.
        num_layers: number of blocks.
        num_heads: number of attention heads, a divisor of D.
        x_BTD: float32 [B, T, D] embedded events, oldest first.

    Returns:
        float32 [B, T, D]: the hidden state after each event; no state depends on a later event.
    """
    time = x_BTD.shape[1]
    is_later_TT = np.triu(np.ones((time, time), dtype=bool), 1)
    x_BTD = x_BTD + weights["position"][:time]
    for i in range(num_layers):
        name = f"blocks.{i}"
        normed_BTD = layer_norm(weights, f"{name}.norm_attention", x_BTD)
        parts = np.split(linear(weights, f"{name}.attention.project", normed_BTD), 3, -1)
        query, key, value = (split_heads(part, num_heads) for part in parts)
        mixed_BTD = attend(query, key, value, is_later_TT)
        x_BTD = x_BTD + linear(weights, f"{name}.attention.merge", mixed_BTD)
        x_BTD = x_BTD + feed_forward(weights, name, x_BTD)
    return layer_norm(weights, "norm", x_BTD)
