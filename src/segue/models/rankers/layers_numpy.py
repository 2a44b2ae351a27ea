"""Layers of the rankers in numpy: embedded histories, GRUs over them, output layers that end in log odds.

Shape letters: B examples, C candidates, L events of a history, D width of item embeddings, T steps, I input and H state
width, X features, F width of a feature's embedding.
"""

import numpy as np

from segue.models.numpy_layers import Weights, linear, sigmoid
from segue.models.rankers.ranker_input import RankerInput

BUCKET_EMBEDDING_DIM = 8
"""Width of the embedding of a bucketed feature."""


def embed_history(weights: Weights, features: RankerInput) -> np.ndarray:
    """Return the sum of the embeddings of each event's item, gap and age.

    Args:
        weights: parameters with ``reader.table``, ``reader.gap`` and ``reader.age``.
        features: input of the ranker.

    Returns:
        float32 [B, L, D]; zeros in padding.
    """
    x_BLD = weights["reader.table"][features.items_BL]
    x_BLD = x_BLD + weights["reader.gap"][features.gaps_BL] + weights["reader.age"][features.ages_BL]
    embedded: np.ndarray = x_BLD * features.is_event[..., None]
    return embedded


def embed_buckets(tables_XKF: np.ndarray, buckets: np.ndarray) -> np.ndarray:
    """Return the embeddings of X bucketed features side by side.

    Args:
        tables_XKF: float32, one table of bucket embeddings a feature.
        buckets: int [..., X].

    Returns:
        float32 [..., X * F].
    """
    embedded = tables_XKF[np.arange(len(tables_XKF)), buckets]
    return embedded.reshape(*buckets.shape[:-1], -1)


def output_layers(weights: Weights, parts: list[np.ndarray]) -> np.ndarray:
    """Return log odds: two layers of rectified units and a weighted sum.

    Args:
        weights: parameters with ``head.first``, ``head.second`` and ``head.last``.
        parts: inputs float32 [B, C, any width], which are concatenated.

    Returns:
        float32 [B, C].
    """
    x = np.concatenate(parts, axis=2)
    for name in ("head.first", "head.second"):
        x = np.maximum(linear(weights, name, x), 0.0)
    log_odds: np.ndarray = linear(weights, "head.last", x)[..., 0]
    return log_odds


def gru_scan(weights: Weights, name: str, x_BTI: np.ndarray, attention_BT: np.ndarray | None = None) -> np.ndarray:
    """Return the states of a GRU from a zero state on; equations: ``training.nets.layers.gru_autograd``.

    With attention, the update gate is scaled by it: h' = (1 - a u) h + a u n, u = 1 - z (the AUGRU of Zhou et al. 2019,
    eqs. 15-16).

    Args:
        weights: parameters ``{name}.input``, ``{name}.state`` and their biases.
        name: prefix of the GRU's parameters.
        x_BTI: float32 [B, T, I].
        attention_BT: float32 [B, T]; None: a plain GRU.

    Returns:
        float32 [B, T, H].
    """
    x_TBI = np.ascontiguousarray(x_BTI.transpose(1, 0, 2))
    gate_inputs_TBG = x_TBI @ weights[f"{name}.input"].T + weights[f"{name}.input_bias"]
    steps, batch, width = gate_inputs_TBG.shape
    dim = width // 3
    state_weights, bias = np.ascontiguousarray(weights[f"{name}.state"].T), weights[f"{name}.state_bias"]
    state_BH = np.zeros((batch, dim), dtype=np.float32)
    out_TBH = np.empty((steps, batch, dim), dtype=np.float32)
    for t in range(steps):
        gate_states_BG = state_BH @ state_weights + bias
        gates = sigmoid(gate_inputs_TBG[t, :, : 2 * dim] + gate_states_BG[:, : 2 * dim])
        proposal_BH = np.tanh(gate_inputs_TBG[t, :, 2 * dim :] + gates[:, :dim] * gate_states_BG[:, 2 * dim :])
        keep_BH = gates[:, dim:]
        if attention_BT is not None:
            keep_BH = 1.0 - attention_BT[:, t, None] * (1.0 - keep_BH)
        state_BH = out_TBH[t] = proposal_BH + keep_BH * (state_BH - proposal_BH)
    return out_TBH.transpose(1, 0, 2)


def bidirectional_gru(weights: Weights, name: str, x_BTI: np.ndarray, lengths_B: np.ndarray) -> np.ndarray:
    """Return the states of a forward and a backward GRU (Schuster & Paliwal 1997).

    Args:
        weights: parameters ``{name}.ahead.*`` and ``{name}.back.*``.
        name: prefix of the layer's parameters.
        x_BTI: float32 [B, T, I], left-aligned rows.
        lengths_B: int64 [B], length of each row.

    Returns:
        float32 [B, T, 2 H]; zeros in padding.
    """
    reversed_BT = reversed_positions(lengths_B, x_BTI.shape[1])
    forward_BTH = gru_scan(weights, f"{name}.ahead", x_BTI)
    row_B1 = np.arange(len(x_BTI))[:, None]
    backward_BTH = gru_scan(weights, f"{name}.back", x_BTI[row_B1, reversed_BT])[row_B1, reversed_BT]
    is_event_BT1 = (np.arange(x_BTI.shape[1]) < lengths_B[:, None])[..., None]
    states: np.ndarray = np.concatenate([forward_BTH, backward_BTH], axis=2) * is_event_BT1
    return states


def reversed_positions(lengths_B: np.ndarray, width: int) -> np.ndarray:
    """Return the positions of left-aligned rows from the newest event back; padding stays in place.

    >>> reversed_positions(np.array([3, 1]), 4).tolist()
    [[2, 1, 0, 3], [0, 1, 2, 3]]

    Args:
        lengths_B: int64 [B], length of each row.
        width: T.

    Returns:
        int64 [B, T].
    """
    column_T = np.arange(width)
    reversed_BT: np.ndarray = np.where(column_T < lengths_B[:, None], lengths_B[:, None] - 1 - column_T, column_T)
    return reversed_BT
