"""Incremental states of a recurrent model: a new event advances the state of its user by one step.

A state covers *all* known events of a history. While these are at most the encoder's length, it equals the state that
the encoder computes from the whole history, whatever was stepped, evicted, reloaded or restarted in between. One
event more moves the encoder's window, and a state cannot drop its first event. From then on the window is encoded anew
for each request, so that the served list equals the evaluated one.

Shape letters: L layers, B histories, D hidden size.
"""

from collections.abc import Sequence

import numpy as np

from segue.data.catalog import PAD
from segue.data.sequences import Sequences
from segue.models.neural.gru_numpy import NumpyGRU
from segue.models.neural.neural_scorer import NeuralScorer
from segue.models.retrieval.retriever import Retriever
from segue.serving.sessions.cached_history import SessionView
from segue.serving.sessions.session_cache import SessionCache


class RecurrentStates:
    """Hidden states of histories, computed from the state that the session cache keeps with each."""

    def __init__(self, network: NeuralScorer, encoder: NumpyGRU, sessions: SessionCache) -> None:
        """Make the states of a network.

        Args:
            network: scorer with a recurrent encoder.
            encoder: its encoder.
            sessions: session cache that keeps the states.
        """
        self._network = network
        self._encoder = encoder
        self._sessions = sessions

    def hidden(self, histories: Sequence[SessionView | Sequence[int]]) -> np.ndarray:
        """Return the last hidden states, float32 [B, D]; zeros for a history without known items.

        Histories given as plain lists are encoded as a whole.
        """
        hidden_BD = np.zeros((len(histories), self._network.keys_VD.shape[1]), dtype=np.float32)
        stepped: list[tuple[int, SessionView]] = []
        scratch: list[tuple[int, list[int]]] = []
        for b, history in enumerate(histories):
            known = [item for item in (history.items if isinstance(history, SessionView) else history) if item != PAD]
            if isinstance(history, SessionView) and 0 < len(known) <= self._encoder.max_length:
                stepped.append((b, history))
            elif known:
                scratch.append((b, known))
        if scratch:
            newest = Sequences.from_lists(known[-self._encoder.max_length :] for _, known in scratch)
            encoded_BD = self._encoder.encode(newest, self._network.input_embeddings_VD[newest.items])
            if len(scratch) == len(histories):
                return encoded_BD
            hidden_BD[[b for b, _ in scratch]] = encoded_BD
        if stepped:
            hidden_BD[[b for b, _ in stepped]] = self._step([view for _, view in stepped])
        return hidden_BD

    def _step(self, views: Sequence[SessionView]) -> np.ndarray:
        """Return float32 [B, D] of histories that the state covers as a whole, and keep the new states.

        A state that is not finite is not kept: every later event would be scored from it.
        """
        new_events = Sequences.from_lists(
            [item for item in view.items[view.num_read :] if item != PAD] for view in views
        )
        state_LBD = self._advance(self._initial_states([view.state for view in views]), new_events)
        is_finite_B = np.isfinite(state_LBD).all(axis=(0, 2))
        for b, view in enumerate(views):
            if view.num_read < len(view.items) and is_finite_B[b]:
                self._sessions.save_state(view, state_LBD[:, b].copy())
        top_BD: np.ndarray = state_LBD[-1, :, : self._network.keys_VD.shape[1]]
        return top_BD

    def _initial_states(self, states: Sequence[np.ndarray | None]) -> np.ndarray:
        start_LBD = self._encoder.initial_state(len(states))
        for b, state in enumerate(states):
            if state is not None:
                start_LBD[:, b] = state
        return start_LBD

    def _advance(self, state_LBD: np.ndarray, new_events: Sequences) -> np.ndarray:
        """Return the states after the new events; rows step together, the one with the most events first."""
        newest, vectors_ND = self._network.encode(new_events)
        lengths = newest.lengths
        order = np.argsort(-lengths, kind="stable")
        offsets = (np.cumsum(lengths) - lengths)[order]
        moved_LBD = state_LBD[:, order]
        for t in range(int(lengths.max(initial=0))):
            count = int((lengths > t).sum())
            moved_LBD[:, :count] = self._encoder.step(moved_LBD[:, :count], vectors_ND[offsets[:count] + t])
        out_LBD = np.empty_like(moved_LBD)
        out_LBD[:, order] = moved_LBD
        return out_LBD


def recurrent_states(retrieval: Retriever, sessions: SessionCache) -> RecurrentStates | None:
    """Return the incremental states of a model.

    Args:
        retrieval: retrieval of the model.
        sessions: session cache that keeps the states.

    Returns:
        None for a model that encodes the whole history for each request: a model that is not recurrent, or that uses
        times or context features.
    """
    network = retrieval.network
    if network is not None and isinstance(network.encoder, NumpyGRU) and network.side_information.is_empty:
        return RecurrentStates(network, network.encoder, sessions)
    return None
