"""Which lists were shown, and which clicks and purchases followed: kept beside the events, for reports.

Nothing here is promised to survive a power cut, and nothing a person waits for: answers and events go into a bounded
queue, one thread writes them soon after. People are keyed digests. The oldest lists make room.
"""

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol

import apsw
import msgspec

from segue.serving.schemas.requests import HistoryKey, RecommendResponse
from segue.serving.store.event import RECOMMENDATION
from segue.serving.store.event_reader import StoredEventRow

_FORMAT = 1
_TABLES = """
CREATE TABLE IF NOT EXISTS shown (id INTEGER PRIMARY KEY, list TEXT NOT NULL UNIQUE, time_us INTEGER NOT NULL,
    version TEXT NOT NULL, variant TEXT NOT NULL, propensity REAL NOT NULL, placement TEXT, person TEXT,
    experiment TEXT, items TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS outcomes (list TEXT NOT NULL, item TEXT NOT NULL, kind TEXT NOT NULL,
    position INTEGER NOT NULL, source TEXT, time_us INTEGER NOT NULL, person TEXT, value REAL,
    PRIMARY KEY (list, item, kind)) STRICT;
CREATE INDEX IF NOT EXISTS outcomes_of ON outcomes(person, item, time_us);
CREATE INDEX IF NOT EXISTS shown_to ON shown(person);
"""
_FLUSH_S = 0.05
"""Often, and little each time: half a second's notes, written in one go, take the interpreter from everybody who waits
for an answer just then."""
_AT_ONCE = 256
"""Notes of one transaction."""
_ROW = "INSERT OR IGNORE INTO shown VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


@dataclass(frozen=True)
class AttributionConfig:
    """What counts, and for how long it is kept."""

    click_events: tuple[str, ...] = ("view", "click_events")
    """Events that mean: somebody looked at the item."""
    purchase_events: tuple[str, ...] = ("purchase_events", "order", "buy", "transaction")
    """Events that mean: somebody took it. Without a list's id they count for the person's last click on the item."""
    window_s: float = 86_400.0
    """How long after the click a purchase still counts."""
    max_lists: int = 1_000_000
    """Lists that are kept; about 500 bytes each."""
    queue_size: int = 100_000
    """Lists and events that may wait to be written; what comes beyond is counted and left out."""

    def __post_init__(self) -> None:
        if self.max_lists < 1 or self.queue_size < 1 or not self.window_s > 0:
            raise ValueError(
                "max_lists, queue_size and window_s must be above 0, "
                f"got {self.max_lists}, {self.queue_size}, {self.window_s:g}."
            )


class RecommendationLog(Protocol):
    """Hears which lists were shown, and which events came."""

    def record_impression(
        self, response: RecommendResponse, placement: str | None, key: HistoryKey | None, experiment: str | None
    ) -> None: ...

    def record_events(self, stored: Sequence[StoredEventRow]) -> None: ...


class AttributionRecorder:
    """Writes what was shown and what came of it. Safe to use from several threads."""

    def __init__(self, path: Path, digest: Callable[[str, str], str], config: AttributionConfig | None = None) -> None:
        """``digest``: (kind, name) of a person -> what stands for them in the file."""
        self.path = Path(path)
        self.dropped = 0
        """Lists and events that were left out because too many waited, or because the disk refused."""
        self._config = config or AttributionConfig()
        self._digest = digest
        self._queue: deque[tuple[Any, ...]] = deque()
        self._database = _open(self.path)
        self._write = {"shown": self._write_shown, "event": self._write_events}
        self._since_pruned = 0
        self._end = threading.Event()
        self._turn = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="segue-attribution", daemon=True)
        self._thread.start()

    def record_impression(
        self, response: RecommendResponse, placement: str | None, key: HistoryKey | None, experiment: str | None
    ) -> None:
        """Notes a list that is about to be sent."""
        head = (response.recommendation_id, time.time_ns() // 1000, response.model_version, response.variant)
        self._put(("shown", (*head, response.propensity, placement), key, experiment, response.items))

    def record_events(self, stored: Sequence[StoredEventRow]) -> None:
        """Notes events that were just committed, where they may belong to a list."""
        wanted = (*self._config.click_events, *self._config.purchase_events)
        for one in stored:
            if (
                f'"{RECOMMENDATION}"' in one.event.context
                or one.event.event in wanted[len(self._config.click_events) :]
            ):
                self._put(("event", one.event))

    def _put(self, note: tuple[Any, ...]) -> None:
        if len(self._queue) < self._config.queue_size:
            self._queue.append(note)
        else:
            self.dropped += 1

    def flush(self) -> None:
        """Writes what waits; on return it can be read."""
        with self._turn:
            for _ in range(0, len(self._queue), _AT_ONCE):
                notes = [self._queue.popleft() for _ in range(min(_AT_ONCE, len(self._queue)))]
                try:
                    with self._database:
                        for kind, some in groupby(notes, key=lambda note: note[0]):
                            self._write[kind](note[1:] for note in some)
                        self._prune(len(notes))
                except apsw.Error:
                    self.dropped += len(notes)

    def forget(self, keys: Sequence[HistoryKey]) -> int:
        """Takes out what was shown to people and what they did with it; how many rows."""
        self.flush()
        with self._turn:
            count = 0
            for person in [self._digest(*key) for key in keys]:
                for table in ("shown", "outcomes"):
                    self._database.execute(f"DELETE FROM {table} WHERE person = ?", (person,))
                    count += self._database.changes()
            self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            return count

    def close(self) -> None:
        """Writes what waits and ends."""
        self._end.set()
        self._thread.join()
        self.flush()
        self._database.close()

    def _run(self) -> None:
        while not self._end.wait(_FLUSH_S):
            self.flush()

    def _write_shown(self, notes: Iterator[tuple[Any, ...]]) -> None:
        self._database.executemany(_ROW, map(self._row, notes))

    def _row(self, note: tuple[Any, ...]) -> tuple[Any, ...]:
        head, key, experiment, items = note
        person = None if key is None else self._digest(*key)
        told = [[one.id, one.source] if one.source else [one.id] for one in items]
        return (*head, person, experiment, msgspec.json.encode(told).decode())

    def _write_events(self, notes: Iterator[tuple[Any, ...]]) -> None:
        for (event,) in notes:
            self._write_event(event)

    def _write_event(self, event: Any) -> None:
        """An event that names a list counts for it, where the list has its item; a purchase that names none counts for
        the list of the person's last click on that item."""
        kind = "purchase" if event.event in self._config.purchase_events else "click"
        named = json.loads(event.context).get(RECOMMENDATION)
        if named is None:
            named = self._last_click(event)
        elif kind == "click" and event.event not in self._config.click_events:
            return
        row = self._database.execute("SELECT items, person FROM shown WHERE list = ?", (named,)).fetchone()
        if row is None:
            return
        found = {one[0]: (place, one[1] if len(one) > 1 else None) for place, one in enumerate(json.loads(row[0]), 1)}
        if event.item_id not in found:
            return
        self._database.execute(
            "INSERT OR IGNORE INTO outcomes VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (named, event.item_id, kind, *found[event.item_id], event.time_us, row[1], event.value),
        )

    def _last_click(self, event: Any) -> str | None:
        keys = [("user_id", event.user_id), ("session_id", event.session_id)]
        people = [self._digest(kind, name) for kind, name in keys if name is not None]
        earliest = event.time_us - round(self._config.window_s * 1e6)
        found = self._database.execute(
            "SELECT list FROM outcomes WHERE person IN (?, ?) AND item = ? AND kind = 'click' "
            "AND time_us BETWEEN ? AND ? ORDER BY time_us DESC LIMIT 1",
            (people[0], people[-1], event.item_id, earliest, event.time_us),
        ).fetchone()
        return None if found is None else found[0]

    def _prune(self, added: int) -> None:
        """Now and then the oldest lists go, with what came of them."""
        self._since_pruned += added
        if self._since_pruned < self._config.max_lists // 10:
            return
        self._since_pruned = 0
        newest = self._database.execute("SELECT max(id) FROM shown").get or 0
        oldest = newest - self._config.max_lists
        self._database.execute("DELETE FROM outcomes WHERE list IN (SELECT list FROM shown WHERE id <= ?)", (oldest,))
        self._database.execute("DELETE FROM shown WHERE id <= ?", (oldest,))


def _open(path: Path) -> apsw.Connection:
    """Measurements may be lost by a power cut, but never tear the file: a write-ahead log, synced now and then."""
    connection = apsw.Connection(str(path))
    connection.set_busy_timeout(2_000)
    connection.execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA secure_delete = ON")
    found = connection.execute("PRAGMA user_version").get
    if found not in (0, _FORMAT):
        raise ValueError(f"{path} has format {found}; this version of Segue reads format {_FORMAT}: update Segue.")
    connection.execute(_TABLES)
    connection.execute(f"PRAGMA user_version = {_FORMAT}")
    return connection
