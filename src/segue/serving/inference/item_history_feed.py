"""Feed of committed events to a pipeline's ranker, which keeps a history of each item."""

import contextlib
from bisect import bisect_left
from collections import deque
from collections.abc import Sequence

from segue.data.catalog import PAD
from segue.data.sequences import Sequences
from segue.serving.inference.served_model import ServedModel
from segue.serving.schemas.requests import HistoryKey
from segue.serving.sessions.session_cache import HistoryUnreadableError, SessionCache
from segue.serving.store.event_reader import StoredEventRow

MAX_MISSED_EVENTS = 50_000
"""Newest stored events that are fed after a start. Older ones are in the model's training log, or too old to matter."""

MAX_EVENTS_PER_BATCH = 1000
"""Events fed before one batch of requests, so that requests do not wait for the import of a whole log."""


class ItemHistoryFeed:
    """Queue of committed events for the ranker, which is fed and evaluated in one thread. Empty without a ranker.

    Before the first batch it is also fed with the stored events after the ranker's own newest event.
    """

    def __init__(self, model: ServedModel, sessions: SessionCache) -> None:
        """Make the feed of a model.

        Args:
            model: the model; only a pipeline with a ranker that keeps item histories is fed.
            sessions: histories of the users, and access to stored events.
        """
        second = None if model.pipeline_service is None else model.pipeline_service.pipeline.second_stage
        has_histories = second is not None and second.ranker.newest_us > 0
        self._ranker = second.ranker if second is not None and has_histories else None
        self._catalog = model.catalog
        self._sessions = sessions
        self._committed: deque[StoredEventRow] = deque(maxlen=2 * MAX_MISSED_EVENTS)
        self._last_seq = -1

    def on_commit(self, stored: Sequence[StoredEventRow]) -> None:
        """Queue newly committed events; called in the writer's thread."""
        if self._ranker is not None:
            self._committed.extend(row for row in stored if self._sessions.counts(row))

    def forget(self, key: HistoryKey) -> None:
        """Drop the waiting events of a user, or of a session without a user; called in the writer's thread.

        An event that is fed meanwhile is not fed again: ``_feed`` knows its sequence number.
        """
        if self._committed:
            id_type, id = key
            kept = [
                row
                for row in tuple(self._committed)
                if getattr(row.event, id_type) != id or (id_type == "session_id" and row.event.user_id is not None)
            ]
            self._committed = deque(kept, maxlen=self._committed.maxlen)

    def catch_up(self) -> None:
        """Feed queued events to the ranker; called in the thread that evaluates it.

        Events that the event store cannot read are left out.
        """
        if self._ranker is None:
            return
        if self._last_seq < 0:
            self._last_seq = 0
            with contextlib.suppress(HistoryUnreadableError):
                missed = self._sessions.events_after(self._ranker.newest_us, 0, MAX_MISSED_EVENTS)
                missed = [row for row in missed if self._sessions.counts(row)]
                self._committed.extendleft(reversed(missed))  # events committed meanwhile are in both, and are fed once
        for _ in range(min(len(self._committed), MAX_EVENTS_PER_BATCH)):
            with contextlib.suppress(HistoryUnreadableError):
                self._feed(self._committed.popleft())

    def _feed(self, row: StoredEventRow) -> None:
        """Feed an event once, with the user's earlier events; events of the same microsecond are not among them."""
        event, item = row.event, int(self._catalog.to_indices([row.event.item_id])[0])
        if row.seq <= self._last_seq:
            return
        self._last_seq = row.seq
        if self._ranker is None or not PAD < item < self._ranker.size:
            return
        key = ("user_id", event.user_id) if event.user_id is not None else ("session_id", event.session_id or "")
        view = self._sessions.view(key)
        earlier = bisect_left(view.times, event.time_us)
        events = zip(view.items[:earlier], view.times[:earlier], strict=True)
        known = [(i, t) for i, t in events if PAD < i < self._ranker.size]
        history = Sequences.from_lists([[i for i, _ in known]], [[t for _, t in known]])
        self._ranker.observe(history, item, event.time_us)
