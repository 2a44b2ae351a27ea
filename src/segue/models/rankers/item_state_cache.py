"""The states of items' own sequences, kept until the item's next event, so that ranking a list is a few products.

Shape letters: V catalog size with PAD, C candidates, S places for states, M interactions of an item, K state width.
"""

from dataclasses import replace

import numpy as np

from segue.data.sequences import Sequences
from segue.models.rankers.dual_gru import NumpyDualGRU
from segue.models.rankers.item_histories import ItemEvents
from segue.models.rankers.live_item_histories import LiveItemHistories
from segue.models.rankers.ranker_input import RankerInput, encode_candidates

MAX_ITEMS = 16384
"""Items whose states are kept; the ones computed longest ago give way."""


class ItemStateCache:
    """An item memory, and the net's states of what it holds."""

    def __init__(self, net: NumpyDualGRU, memory: LiveItemHistories, most: int = MAX_ITEMS) -> None:
        self.net = net
        self.memory = memory
        self._place_V = np.full(memory.size, -1, dtype=np.int64)
        self._owner_S = np.full(min(most, memory.size), -1, dtype=np.int64)
        self._states_SMK: np.ndarray | None = None
        self._next = 0

    def observe(self, history: Sequences, item: int, time: int) -> None:
        """Takes an event in; the item's states are computed anew when they are next asked for."""
        if self.memory.observe(history, item, time):
            self._place_V[item] = -1

    def log_odds(self, seen: RankerInput, now: int) -> np.ndarray:
        """[1, C] for the candidates of one request."""
        items_C = seen.candidates_BC[0]
        sides = self.memory.newest_events(items_C, now)
        beside = encode_candidates(sides, np.arange(len(items_C))[None], np.array([now]))
        return self.net.log_odds_from_states(replace(seen, beside=beside), self._states(items_C, sides))

    def _states(self, items_C: np.ndarray, sides: ItemEvents) -> np.ndarray:
        """[C, M, K]; states of a side that leaves out later events are computed and not kept."""
        whole_C = sides.lengths_S == self.memory.lengths_V[items_C]
        place_C = np.where(whole_C, self._place_V[items_C], -1)
        missing = np.flatnonzero(place_C < 0)
        if len(missing) == 0 and self._states_SMK is not None:
            return self._states_SMK[place_C]
        fresh = self.net.item_states(sides.take(missing))
        if self._states_SMK is None:
            self._states_SMK = np.zeros((len(self._owner_S), *fresh.shape[1:]), dtype=np.float32)
        out_CMK = self._states_SMK[place_C]
        out_CMK[missing] = fresh
        self._keep(items_C[missing], fresh, whole_C[missing])
        return out_CMK

    def _keep(self, items: np.ndarray, fresh: np.ndarray, whole: np.ndarray) -> None:
        assert self._states_SMK is not None
        for item, states_MK in zip(items[whole].tolist(), fresh[whole], strict=True):
            if self._owner_S[self._next] >= 0 and self._place_V[self._owner_S[self._next]] == self._next:
                self._place_V[self._owner_S[self._next]] = -1
            self._states_SMK[self._next] = states_MK
            self._place_V[item], self._owner_S[self._next] = self._next, item
            self._next = (self._next + 1) % len(self._owner_S)
