"""The decoders of a Seq2Seq model in numpy: many lists a history, one step at a time, the history read once.

Shape letters: B histories, T time step, D hidden size, L layers, R lists, equally many for each history and side by
side, C lists of one history, K steps so far.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from segue.models.neural.gru_numpy import NumpyGRU
from segue.models.neural.transformer_numpy import attend, feed_forward, layer_norm, linear, softmax, split_heads


@dataclass(frozen=True)
class NumpyDecoderState:
    """How far R lists are written."""

    memory: Any
    """What the writer made of the B histories; the same at every step."""
    state: np.ndarray
    """What it keeps of each list: float32 [L, R, D], or [L, 2, R, K, D] keys and values of a transformer."""
    output_RD: np.ndarray
    """What it says comes next, to be compared with the items."""

    @property
    def lists(self) -> int:
        """R."""
        return len(self.output_RD)


class NumpyGRUDecoder:
    """A GRU with Luong's global attention; the equations stand at its torch twin."""

    def __init__(self, weights: Mapping[str, np.ndarray], layers: int) -> None:
        names = ("input", "state", "input_bias", "state_bias")
        self.gru = NumpyGRU([{n: weights[f"layers.{i}.{n}"] for n in names} for i in range(layers)], 1)
        self.weights = weights

    def begin(self, states_BTD: np.ndarray, lengths_B: np.ndarray, newest_BD: np.ndarray) -> NumpyDecoderState:
        """The first step, given each history's newest event; ``states_BTD`` up to ``lengths_B`` are to be looked at."""
        hidden_BT = np.arange(states_BTD.shape[1]) >= lengths_B[:, None]
        summary_BD = states_BTD[np.arange(len(states_BTD)), lengths_B - 1]
        memory = (states_BTD, states_BTD @ self.weights["match.weight"].T, hidden_BT, summary_BD)
        empty = NumpyDecoderState(memory, self.gru.initial_state(len(lengths_B)), newest_BD)
        return self.step(empty, np.arange(len(lengths_B)), newest_BD)

    def step(self, script: NumpyDecoderState, parents_R: np.ndarray, given_RD: np.ndarray) -> NumpyDecoderState:
        """Lists ``parents_R`` with one more event each."""
        states_BTD, keys_BTD, hidden_BT, summary_BD = script.memory
        count = len(parents_R) // len(states_BTD)
        entered = np.concatenate([given_RD, np.repeat(summary_BD, count, axis=0)], axis=1)
        state_LRD = self.gru.step(script.state[:, parents_R], entered)
        state_BCD = state_LRD[-1].reshape(len(states_BTD), count, -1)
        score_BCT = state_BCD @ keys_BTD.transpose(0, 2, 1)
        np.putmask(score_BCT, np.broadcast_to(hidden_BT[:, None], score_BCT.shape), -np.inf)
        context_RD = (softmax(score_BCT) @ states_BTD).reshape(len(parents_R), -1)
        said_RD = np.tanh(linear(self.weights, "merge", np.concatenate([context_RD, state_LRD[-1]], axis=1)))
        return replace(script, state=state_LRD, output_RD=said_RD)


class NumpyTransformerDecoder:
    """Causal self-attention over what was written, from kept keys and values, and cross-attention to the history."""

    def __init__(self, weights: Mapping[str, np.ndarray], layers: int, heads: int) -> None:
        self.weights = weights
        self.layers = layers
        self.heads = heads

    def begin(self, states_BTD: np.ndarray, lengths_B: np.ndarray, newest_BD: np.ndarray) -> NumpyDecoderState:
        """The first step, given each history's newest event; ``states_BTD`` up to ``lengths_B`` are to be looked at."""
        hidden = (np.arange(states_BTD.shape[1]) >= lengths_B[:, None])[:, None, None]
        crossed = []
        for i in range(self.layers):
            k, v = np.split(linear(self.weights, f"blocks.{i}.cross.project", states_BTD), 2, -1)
            crossed.append((split_heads(k, self.heads), split_heads(v, self.heads)))
        batch, dim = newest_BD.shape
        kept = np.zeros((self.layers, 2, batch, 0, dim), dtype=np.float32)
        return self.step(NumpyDecoderState((crossed, hidden), kept, newest_BD), np.arange(batch), newest_BD)

    def step(self, script: NumpyDecoderState, parents_R: np.ndarray, given_RD: np.ndarray) -> NumpyDecoderState:
        """Lists ``parents_R`` with one more event each; steps beyond the trained ones share the last one's vector."""
        crossed, hidden = script.memory
        weights, position_KD = self.weights, self.weights["position"]
        batch, dim = len(hidden), given_RD.shape[1]
        x_RD = given_RD + position_KD[min(script.state.shape[3], len(position_KD) - 1)]
        kept = []
        for i in range(self.layers):
            name = f"blocks.{i}"
            normed_RD = layer_norm(weights, f"{name}.norm_attention", x_RD)
            q, k, v = np.split(linear(weights, f"{name}.attention.project", normed_RD)[:, None], 3, -1)
            k, v = (np.concatenate([script.state[i, j, parents_R], new], 1) for j, new in enumerate((k, v)))
            kept.append((k, v))
            q, k, v = (split_heads(part, self.heads) for part in (q, k, v))
            mixed_RD = attend(q, k, v, None)[:, 0]
            x_RD = x_RD + linear(weights, f"{name}.attention.merge", mixed_RD)
            asked_RD = linear(weights, f"{name}.cross.ask", layer_norm(weights, f"{name}.norm_cross", x_RD))
            asked = split_heads(asked_RD.reshape(batch, -1, dim), self.heads)
            seen_RD = attend(asked, crossed[i][0], crossed[i][1], hidden).reshape(-1, dim)
            x_RD = x_RD + linear(weights, f"{name}.cross.merge", seen_RD)
            x_RD = x_RD + feed_forward(weights, name, x_RD)
        return replace(script, state=np.asarray(kept), output_RD=layer_norm(weights, "norm", x_RD))
