"""Recurrent states of live histories: an event steps its person's state, and nothing is read twice.

A stepped state is the state of *all* known events of a history. While these are no more than the encoder reads, that is
what the encoder makes of the history from scratch, whatever was stepped, evicted, reloaded or restarted in between. The
event that makes them one more moves the encoder's window, and a state cannot forget its first event: from then on the
window is read anew at each answer, so that the server still says what an evaluation says.

Shape letters: L layers, B histories, D hidden size.
"""

from collections.abc import Sequence

import numpy as np

from segue.data.catalog import PAD
from segue.data.sequences import Sequences
from segue.models.neural.gru_numpy import NumpyGRU
from segue.models.neural.neural_scorer import NeuralScorer
from segue.models.retrieval.retriever import Retriever
from segue.serving.sessions.session_cache import SessionCache, SessionView


class RecurrentStates:
    """The encoder's states for histories, from what is kept with each of them."""

    def __init__(self, network: NeuralScorer, encoder: NumpyGRU, sessions: SessionCache) -> None:
        self._network = network
        self._encoder = encoder
        self._sessions = sessions

    def hidden(self, histories: Sequence[SessionView | Sequence[int]]) -> np.ndarray:
        """float32 [B, D]; zeros where nothing known has happened. Plain lists are read from scratch."""
        hidden_BD = np.zeros((len(histories), self._network.keys_VD.shape[1]), dtype=np.float32)
        stepped: list[tuple[int, SessionView]] = []
        scratch: list[tuple[int, list[int]]] = []
        for b, one in enumerate(histories):
            known = [item for item in (one.items if isinstance(one, SessionView) else one) if item != PAD]
            if isinstance(one, SessionView) and 0 < len(known) <= self._encoder.length:
                stepped.append((b, one))
            elif known:
                scratch.append((b, known))
        if scratch:
            newest = Sequences.from_lists(known[-self._encoder.length :] for _, known in scratch)
            read_BD = self._encoder.encode(newest, self._network.vectors_VD[newest.items])
            if len(scratch) == len(histories):
                return read_BD
            hidden_BD[[b for b, _ in scratch]] = read_BD
        if stepped:
            hidden_BD[[b for b, _ in stepped]] = self._step([live for _, live in stepped])
        return hidden_BD

    def _step(self, lives: Sequence[SessionView]) -> np.ndarray:
        """float32 [B, D] of histories whose every known event is in the state, and the states kept."""
        news = Sequences.from_lists([item for item in live.items[live.num_read :] if item != PAD] for live in lives)
        state_LBD = self._advance(self._starts([live.state for live in lives]), news)
        for b, live in enumerate(lives):
            if live.num_read < len(live.items):
                self._sessions.save_state(live, state_LBD[:, b].copy())
        top_BD: np.ndarray = state_LBD[-1, :, : self._network.keys_VD.shape[1]]
        return top_BD

    def _starts(self, states: Sequence[np.ndarray | None]) -> np.ndarray:
        start_LBD = self._encoder.initial_state(len(states))
        for b, state in enumerate(states):
            if state is not None:
                start_LBD[:, b] = state
        return start_LBD

    def _advance(self, state_LBD: np.ndarray, news: Sequences) -> np.ndarray:
        """The states after some more events each; rows step together, the one with the most first."""
        newest, vectors_ND = self._network.encode(news)
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
    """For a model whose state steps; None for one that reads its newest events anew each time, as one does that looks
    at their times or contexts."""
    network = retrieval.network
    if network is not None and isinstance(network.encoder, NumpyGRU) and network.sides.is_empty:
        return RecurrentStates(network, network.encoder, sessions)
    return None
