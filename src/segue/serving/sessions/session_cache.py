"""The newest events of each person and each session, in memory; what is forgotten is read again from the store."""

import threading
from array import array
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from segue.data.catalog import Catalog
from segue.serving.config import SessionsConfig
from segue.serving.schemas.requests import HistoryKey
from segue.serving.sessions.event_context import NO_CONTEXT, ContextValues, EventContextReader
from segue.serving.store.event_reader import EventReader, StoredEventRow


class _Recent:
    """One key's newest events in the order of (time, arrival), 20 bytes an event, and what a model made of them.

    ``told`` has their circumstances, for a model that learned from such: 8 bytes more, and the rows are shared.

    ``state`` has read the first ``read`` events. It only ever grows at the end: an event that is put in between, or
    one that falls out in front, drops it, and ``revision`` tells whoever was just making a new one.
    """

    __slots__ = ("items", "read", "revision", "seqs", "state", "times", "told")

    def __init__(self, *, told: bool) -> None:
        self.times, self.seqs, self.items = array("q"), array("q"), array("i")
        self.told: list[ContextValues] | None = [] if told else None
        self.state: np.ndarray | None = None
        self.read = 0
        self.revision = 0

    def add(self, time_us: int, seq: int, item: int, told: ContextValues, length: int) -> None:
        """Puts an event in its place; one that is there already, or too old to be kept, changes nothing."""
        place = len(self.times)
        if place and (self.times[-1], self.seqs[-1]) >= (time_us, seq):
            place = bisect_left(range(place), (time_us, seq), key=lambda i: (self.times[i], self.seqs[i]))
            if self.seqs[place] == seq:
                return
            self._drop_state()
        self.times.insert(place, time_us)
        self.seqs.insert(place, seq)
        self.items.insert(place, item)
        if self.told is not None:
            self.told.insert(place, told)
        if len(self.times) > length:
            del self.times[0], self.seqs[0], self.items[0]
            if self.told is not None:
                del self.told[0]
            self._drop_state()

    def _drop_state(self) -> None:
        self.state, self.read = None, 0
        self.revision += 1


@dataclass(frozen=True, slots=True)
class SessionView:
    """A history at one moment, and the state that a model has made of its first ``read`` events."""

    items: list[int]
    state: np.ndarray | None
    num_read: int
    revision: int
    recent: _Recent
    times: list[int]
    """When each of the items was, UTC microseconds."""
    contexts: list[ContextValues] | None
    """Under which circumstances, where the model learned from such."""


class SessionCache:
    """Histories as item indices (PAD where the catalog does not know an item), for one catalog.

    Safe to use from several threads: the writer adds, anyone asks. A key that is not in memory is not added to; it
    is read from the store, which already holds the event, as soon as somebody asks for it.
    """

    def __init__(
        self,
        store: EventReader,
        catalog: Catalog,
        config: SessionsConfig | None = None,
        *,
        context_reader: EventContextReader | None = None,
    ) -> None:
        """``circumstances`` are those of the model that is to answer (``Model.circumstances``)."""
        self._store = store
        self._circumstances = context_reader
        self._catalog = catalog
        self._config = config or SessionsConfig()
        self._recent: OrderedDict[HistoryKey, _Recent] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._recent)

    def add(self, stored: Sequence[StoredEventRow]) -> None:
        """Takes up what was just committed."""
        items = self._catalog.to_indices(one.event.item_id for one in stored).tolist()
        with self._lock:
            for one, item in zip(stored, items, strict=True):
                told = None
                for key in (("user_id", one.event.user_id), ("session_id", one.event.session_id)):
                    recent = self._recent.get(key) if key[1] is not None else None  # type: ignore[arg-type]
                    if recent is not None:
                        told = self._told(one) if told is None else told
                        recent.add(one.event.time_us, one.seq, item, told, self._config.max_length)

    def history(self, key: HistoryKey) -> list[int]:
        """The newest events of a key, oldest first; empty for somebody unknown."""
        return self.view(key).items

    def view(self, key: HistoryKey) -> SessionView:
        """The newest events of a key, and what ``keep`` kept of them."""
        # The store is read under the lock: an event that is committed meanwhile is either read, or added after.
        with self._lock:
            recent = self._recent.get(key)
            if recent is None:
                recent = self._load(key)
            if recent.times:
                self._recent[key] = recent
                self._recent.move_to_end(key)
                while len(self._recent) > self._config.max_histories:
                    self._recent.popitem(last=False)
            items, times = recent.items.tolist(), recent.times.tolist()
            told = None if recent.told is None else recent.told.copy()
            return SessionView(items, recent.state, recent.read, recent.revision, recent, times, told)

    def events_after(self, time_us: int, seq: int, limit: int) -> list[StoredEventRow]:
        """See ``Store.later``."""
        return self._store.events_after(time_us, seq, limit)

    def cached(self, key: HistoryKey) -> list[int]:
        """The history of a key if it is in memory; nothing else is looked at."""
        with self._lock:
            recent = self._recent.get(key)
            return [] if recent is None else recent.items.tolist()

    def save_state(self, live: SessionView, state: np.ndarray) -> None:
        """Keeps the state of a whole history, unless the history has changed in the middle meanwhile. It is
        forgotten with the history."""
        with self._lock:
            if live.recent.revision == live.revision:
                live.recent.state, live.recent.read = state, len(live.items)

    def forget(self, key: HistoryKey) -> None:
        """Drops a key; whoever asks for it next finds what the store still has."""
        with self._lock:
            self._recent.pop(key, None)

    def _load(self, key: HistoryKey) -> _Recent:
        recent = _Recent(told=self._circumstances is not None)
        stored = self._store.newest(*key, self._config.max_length)
        items = self._catalog.to_indices(one.event.item_id for one in stored).tolist()
        for one, item in zip(stored, items, strict=True):
            recent.add(one.event.time_us, one.seq, item, self._told(one), self._config.max_length)
        return recent

    def _told(self, one: StoredEventRow) -> ContextValues:
        return NO_CONTEXT if self._circumstances is None else self._circumstances.from_stored(one.event)
