"""What all rankers are made of, in numpy: embedded histories, recurrences over them, the network that ends in log-odds.

Shape letters: B cases, C candidates, L events of a history, D width of item vectors, I input and H state width.
"""

from collections.abc import Mapping

import numpy as np

from segue.models.rankers.ranker_input import RankerInput

Weights = Mapping[str, np.ndarray]
"""A trained net's parameters by name."""
BUCKET_EMBEDDING_DIM = 8
"""Width of a fact's vector."""


def encode_history(weights: Weights, seen: RankerInput) -> np.ndarray:
    """[B, L, D]: each event's item, pause and age; zeros in padding."""
    x_BLD = weights["reader.table"][seen.items_BL]
    x_BLD = x_BLD + weights["reader.gap"][seen.gaps_BL] + weights["reader.age"][seen.ages_BL]
    embedded: np.ndarray = x_BLD * seen.inside[..., None]
    return embedded


def embed_buckets(tables_XKF: np.ndarray, buckets_: np.ndarray) -> np.ndarray:
    """[..., X F]: the vectors of X bucketed facts side by side."""
    found = tables_XKF[np.arange(len(tables_XKF)), buckets_]
    return found.reshape(*buckets_.shape[:-1], -1)


def linear(weights: Weights, name: str, x: np.ndarray) -> np.ndarray:
    """W x + b."""
    product: np.ndarray = x @ weights[f"{name}.weight"].T
    if f"{name}.bias" in weights:
        product += weights[f"{name}.bias"]
    return product


def head(weights: Weights, parts: list[np.ndarray]) -> np.ndarray:
    """Parts [B, C, any] side by side -> log-odds [B, C]: two layers of rectified units and a sum."""
    x = np.concatenate(parts, axis=2)
    for name in ("head.first", "head.second"):
        x = np.maximum(linear(weights, name, x), 0.0)
    log_odds: np.ndarray = linear(weights, "head.last", x)[..., 0]
    return log_odds


def gru_scan(weights: Weights, name: str, x_BTI: np.ndarray, attention_BT: np.ndarray | None = None) -> np.ndarray:
    """A GRU's states [B, T, H] from zero; see ``training.nets.recurrence`` for the equations.

    With ``attention_BT`` the update gate is scaled by each step's share: h' = (1 - a u) h + a u n, u = 1 - z (the
    AUGRU: Zhou et al. 2019, eqs. 15-16).
    """
    x_TBI = np.ascontiguousarray(x_BTI.transpose(1, 0, 2))
    entered_TBG = x_TBI @ weights[f"{name}.input"].T + weights[f"{name}.input_bias"]
    steps, batch, width = entered_TBG.shape
    dim = width // 3
    into, bias = np.ascontiguousarray(weights[f"{name}.state"].T), weights[f"{name}.state_bias"]
    state_BH = np.zeros((batch, dim), dtype=np.float32)
    out_TBH = np.empty((steps, batch, dim), dtype=np.float32)
    for t in range(steps):
        kept_BG = state_BH @ into + bias
        gates = sigmoid(entered_TBG[t, :, : 2 * dim] + kept_BG[:, : 2 * dim])
        fresh_BH = np.tanh(entered_TBG[t, :, 2 * dim :] + gates[:, :dim] * kept_BG[:, 2 * dim :])
        stays_BH = gates[:, dim:]
        if attention_BT is not None:
            stays_BH = 1.0 - attention_BT[:, t, None] * (1.0 - stays_BH)
        state_BH = out_TBH[t] = fresh_BH + stays_BH * (state_BH - fresh_BH)
    return out_TBH.transpose(1, 0, 2)


def bidirectional_gru(weights: Weights, name: str, x_BTI: np.ndarray, lengths_B: np.ndarray) -> np.ndarray:
    """[B, T, 2 H]: a GRU's states after each event, and another one's that comes from the newest event back (Schuster
    & Paliwal 1997); zeros in padding."""
    turn_BT = reversed_positions(lengths_B, x_BTI.shape[1])
    ahead_BTH = gru_scan(weights, f"{name}.ahead", x_BTI)
    row_B1 = np.arange(len(x_BTI))[:, None]
    back_BTH = gru_scan(weights, f"{name}.back", x_BTI[row_B1, turn_BT])[row_B1, turn_BT]
    inside_BT1 = (np.arange(x_BTI.shape[1]) < lengths_B[:, None])[..., None]
    both: np.ndarray = np.concatenate([ahead_BTH, back_BTH], axis=2) * inside_BT1
    return both


def reversed_positions(lengths_B: np.ndarray, width: int) -> np.ndarray:
    """int64 [B, T]: a left-aligned row read from its newest event back, its padding left in place.

    >>> reversed_places(np.array([3, 1]), 4).tolist()
    [[2, 1, 0, 3], [0, 1, 2, 3]]
    """
    column_T = np.arange(width)
    turned_BT: np.ndarray = np.where(column_T < lengths_B[:, None], lengths_B[:, None] - 1 - column_T, column_T)
    return turned_BT


def masked_softmax(scores: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Softmax over the last axis where ``inside``; all zeros where nothing is."""
    masked = np.where(inside, scores, -np.inf)
    highest = np.maximum(masked.max(axis=-1, keepdims=True), np.finfo(np.float32).min)
    weight = np.exp(masked - highest)
    divided: np.ndarray = weight / np.maximum(weight.sum(axis=-1, keepdims=True), np.float32(1e-30))
    return divided


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)), written with tanh, which cannot overflow."""
    return 0.5 * np.tanh(0.5 * x) + 0.5
