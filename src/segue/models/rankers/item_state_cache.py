"""Cache of the states of item histories, each until the item's next event, so that ranking needs few products.

Shape letters: V catalog size with PAD, C candidates, S slots of the cache, M interactions of an item, K state width.
"""

from dataclasses import replace

import numpy as np

from segue.data.sequences import Sequences
from segue.models.rankers.dual_gru import NumpyDualGRU
from segue.models.rankers.item_histories import ItemEvents
from segue.models.rankers.live_item_histories import LiveItemHistories
from segue.models.rankers.ranker_input import RankerInput, encode_candidates

MAX_ITEMS = 16384
"""Number of items whose states are cached; the oldest entry is replaced first."""


class ItemStateCache:
    """Live item histories, and cached states of a dual GRU for them."""

    def __init__(self, net: NumpyDualGRU, live_histories: LiveItemHistories, max_items: int = MAX_ITEMS) -> None:
        self.net = net
        self.live_histories = live_histories
        self._slot_V = np.full(live_histories.size, -1, dtype=np.int64)
        self._item_S = np.full(min(max_items, live_histories.size), -1, dtype=np.int64)
        self._states_SMK: np.ndarray | None = None
        self._next_slot = 0

    def observe(self, history: Sequences, item: int, time: int) -> None:
        """Add one interaction. See ``LiveItemHistories.observe``; the item's cached states are dropped."""
        if self.live_histories.observe(history, item, time):
            self._slot_V[item] = -1

    def log_odds(self, features: RankerInput, now: int) -> np.ndarray:
        """Return the log odds of the candidates of one request, before calibration.

        Args:
            features: input of the ranker for one history, without item histories.
            now: time of the request, UTC microseconds.

        Returns:
            float32 [1, C].
        """
        items_C = features.candidates_BC[0]
        item_events = self.live_histories.newest_events(items_C, now)
        candidate_histories = encode_candidates(item_events, np.arange(len(items_C))[None], np.array([now]))
        complete = replace(features, candidate_histories=candidate_histories)
        return self.net.log_odds_from_states(complete, self._states(items_C, item_events))

    def _states(self, items_C: np.ndarray, item_events: ItemEvents) -> np.ndarray:
        """Return the states [C, M, K]; those of an item history without its later events are not cached."""
        is_complete_C = item_events.lengths_S == self.live_histories.lengths_V[items_C]
        slot_C = np.where(is_complete_C, self._slot_V[items_C], -1)
        missing = np.flatnonzero(slot_C < 0)
        if len(missing) == 0 and self._states_SMK is not None:
            return self._states_SMK[slot_C]
        new_states = self.net.item_states(item_events.take(missing))
        if self._states_SMK is None:
            self._states_SMK = np.zeros((len(self._item_S), *new_states.shape[1:]), dtype=np.float32)
        out_CMK = self._states_SMK[slot_C]
        out_CMK[missing] = new_states
        self._insert(items_C[missing], new_states, is_complete_C[missing])
        return out_CMK

    def _insert(self, items: np.ndarray, new_states: np.ndarray, is_complete: np.ndarray) -> None:
        assert self._states_SMK is not None
        for item, states_MK in zip(items[is_complete].tolist(), new_states[is_complete], strict=True):
            replaced = self._item_S[self._next_slot]
            if replaced >= 0 and self._slot_V[replaced] == self._next_slot:
                self._slot_V[replaced] = -1
            self._states_SMK[self._next_slot] = states_MK
            self._slot_V[item], self._item_S[self._next_slot] = self._next_slot, item
            self._next_slot = (self._next_slot + 1) % len(self._item_S)
