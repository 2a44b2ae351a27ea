"""Decoders of Seq2SeqRec in numpy: many lists for each history, one step at a time, the history encoded once.

Shape letters: B histories, T time step, D hidden size, L layers, R lists, equally many for each history and side by
side, C lists of one history, K steps so far.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from segue.models.neural.gru_numpy import NumpyGRU
from segue.models.neural.transformer_numpy import attend, feed_forward, layer_norm, split_heads
from segue.models.numpy_layers import linear, softmax


@dataclass(frozen=True)
class NumpyDecoderState:
    """Decoder state of R lists."""

    memory: Any
    """The decoder's view of the B encoded histories, the same at every step."""
    state: np.ndarray
    """State of each list: float32 [L, R, D] of a GRU, keys and values [L, 2, R, K, D] of a transformer."""
    output_RD: np.ndarray
    """float32 [R, D], to be compared with the item embeddings."""

    @property
    def num_lists(self) -> int:
        """R."""
        return len(self.output_RD)


class NumpyGRUDecoder:
    """GRU with Luong's global attention; the equations are at the torch module."""

    def __init__(self, weights: Mapping[str, np.ndarray], num_layers: int) -> None:
        names = ("input", "state", "input_bias", "state_bias")
        self.gru = NumpyGRU([{n: weights[f"layers.{i}.{n}"] for n in names} for i in range(num_layers)], 1)
        self.weights = weights

    def begin(self, states_BTD: np.ndarray, lengths_B: np.ndarray, newest_BD: np.ndarray) -> NumpyDecoderState:
        """Take the first step.

        Args:
            states_BTD: float32 [B, T, D], encoder states; those from ``lengths_B`` on are masked.
            lengths_B: int64 [B], at least 1.
            newest_BD: float32 [B, D], input embedding of each history's newest event.
        """
        is_masked_BT = np.arange(states_BTD.shape[1]) >= lengths_B[:, None]
        summary_BD = states_BTD[np.arange(len(states_BTD)), lengths_B - 1]
        memory = (states_BTD, states_BTD @ self.weights["match.weight"].T, is_masked_BT, summary_BD)
        empty = NumpyDecoderState(memory, self.gru.initial_state(len(lengths_B)), newest_BD)
        return self.step(empty, np.arange(len(lengths_B)), newest_BD)

    def step(self, state: NumpyDecoderState, parents_R: np.ndarray, inputs_RD: np.ndarray) -> NumpyDecoderState:
        """Extend lists by one event each.

        Args:
            state: state of the lists so far, not changed.
            parents_R: int [R], the list that each new list extends.
            inputs_RD: float32 [R, D], input embeddings of the new events.
        """
        states_BTD, keys_BTD, is_masked_BT, summary_BD = state.memory
        count = len(parents_R) // len(states_BTD)
        gru_inputs = np.concatenate([inputs_RD, np.repeat(summary_BD, count, axis=0)], axis=1)
        state_LRD = self.gru.step(state.state[:, parents_R], gru_inputs)
        state_BCD = state_LRD[-1].reshape(len(states_BTD), count, -1)
        score_BCT = state_BCD @ keys_BTD.transpose(0, 2, 1)
        np.putmask(score_BCT, np.broadcast_to(is_masked_BT[:, None], score_BCT.shape), -np.inf)
        context_RD = (softmax(score_BCT) @ states_BTD).reshape(len(parents_R), -1)
        output_RD = np.tanh(linear(self.weights, "merge", np.concatenate([context_RD, state_LRD[-1]], axis=1)))
        return replace(state, state=state_LRD, output_RD=output_RD)


class NumpyTransformerDecoder:
    """Causal self-attention over generated items with cached keys and values, cross-attention to the history."""

    def __init__(self, weights: Mapping[str, np.ndarray], num_layers: int, num_heads: int) -> None:
        self.weights = weights
        self.num_layers = num_layers
        self.num_heads = num_heads

    def begin(self, states_BTD: np.ndarray, lengths_B: np.ndarray, newest_BD: np.ndarray) -> NumpyDecoderState:
        """Take the first step. See ``NumpyGRUDecoder.begin``."""
        is_masked = (np.arange(states_BTD.shape[1]) >= lengths_B[:, None])[:, None, None]
        cross = []
        for i in range(self.num_layers):
            key, value = np.split(linear(self.weights, f"blocks.{i}.cross.project", states_BTD), 2, -1)
            cross.append((split_heads(key, self.num_heads), split_heads(value, self.num_heads)))
        batch, dim = newest_BD.shape
        cache = np.zeros((self.num_layers, 2, batch, 0, dim), dtype=np.float32)
        return self.step(NumpyDecoderState((cross, is_masked), cache, newest_BD), np.arange(batch), newest_BD)

    def step(self, state: NumpyDecoderState, parents_R: np.ndarray, inputs_RD: np.ndarray) -> NumpyDecoderState:
        """Extend lists by one event each. See ``NumpyGRUDecoder.step``.

        Steps beyond the trained number share the last position's embedding.
        """
        cross, is_masked = state.memory
        weights, position_KD = self.weights, self.weights["position"]
        batch, dim = len(is_masked), inputs_RD.shape[1]
        x_RD = inputs_RD + position_KD[min(state.state.shape[3], len(position_KD) - 1)]
        cache = []
        for i in range(self.num_layers):
            name = f"blocks.{i}"
            normed_RD = layer_norm(weights, f"{name}.norm_attention", x_RD)
            q, k, v = np.split(linear(weights, f"{name}.attention.project", normed_RD)[:, None], 3, -1)
            k, v = (np.concatenate([state.state[i, j, parents_R], new], 1) for j, new in enumerate((k, v)))
            cache.append((k, v))
            q, k, v = (split_heads(part, self.num_heads) for part in (q, k, v))
            mixed_RD = attend(q, k, v, None)[:, 0]
            x_RD = x_RD + linear(weights, f"{name}.attention.merge", mixed_RD)
            query_RD = linear(weights, f"{name}.cross.query", layer_norm(weights, f"{name}.norm_cross", x_RD))
            query = split_heads(query_RD.reshape(batch, -1, dim), self.num_heads)
            context_RD = attend(query, cross[i][0], cross[i][1], is_masked).reshape(-1, dim)
            x_RD = x_RD + linear(weights, f"{name}.cross.merge", context_RD)
            x_RD = x_RD + feed_forward(weights, name, x_RD)
        return replace(state, state=np.asarray(cache), output_RD=layer_norm(weights, "norm", x_RD))
