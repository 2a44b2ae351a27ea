"""What happens to items, told to a pipeline's ranker: an item's own sequence is as fresh as a person's."""

from bisect import bisect_left
from collections import deque
from collections.abc import Sequence

from segue.data.catalog import PAD
from segue.data.sequences import Sequences
from segue.serving.inference.served_model import ServedModel
from segue.serving.sessions.session_cache import SessionCache
from segue.serving.store.event_reader import StoredEventRow

MAX_MISSED_EVENTS = 50_000
"""So many of the newest events are told after a start; older ones are in the model's own log, or too old to matter."""

MAX_EVENTS_PER_BATCH = 1000
"""So many events are told before one answer; where a whole log is imported, answers do not wait for all of it."""


class ItemHistoryFeed:
    """Events on their way to the ranker, which is asked and told from one thread; without a ranker it does nothing.

    What the store holds from the time after the ranker's own newest event is told when the first answer is asked for.
    """

    def __init__(self, model: ServedModel, sessions: SessionCache) -> None:
        second = None if model.pipeline_service is None else model.pipeline_service.pipeline.second_stage
        remembers = second is not None and second.ranker.newest_us > 0
        self._ranker = second.ranker if second is not None and remembers else None
        self._catalog = model.catalog
        self._sessions = sessions
        self._heard: deque[StoredEventRow] = deque(maxlen=2 * MAX_MISSED_EVENTS)
        self._last_seq = -1

    def on_commit(self, stored: Sequence[StoredEventRow]) -> None:
        """What was committed; from the writer's thread."""
        if self._ranker is not None:
            self._heard.extend(stored)

    def catch_up(self) -> None:
        """Tells the ranker what has happened; from the thread that asks it."""
        if self._ranker is None:
            return
        if self._last_seq < 0:
            self._last_seq = 0
            missed = self._sessions.events_after(self._ranker.newest_us, 0, MAX_MISSED_EVENTS)
            self._heard.extendleft(reversed(missed))  # what was heard meanwhile is among them, and is told once
        for _ in range(min(len(self._heard), MAX_EVENTS_PER_BATCH)):
            self._tell(self._heard.popleft())

    def _tell(self, one: StoredEventRow) -> None:
        """One event, once. What else the person did at that very moment is not before it."""
        event, item = one.event, int(self._catalog.to_indices([one.event.item_id])[0])
        if one.seq <= self._last_seq:
            return
        self._last_seq = one.seq
        if item == PAD or self._ranker is None:
            return
        key = ("user_id", event.user_id) if event.user_id is not None else ("session_id", event.session_id or "")
        live = self._sessions.view(key)
        before = bisect_left(live.times, event.time_us)
        known = [(i, t) for i, t in zip(live.items[:before], live.times[:before], strict=True) if i != PAD]
        history = Sequences.from_lists([[i for i, _ in known]], [[t for _, t in known]])
        self._ranker.observe(history, item, event.time_us)
