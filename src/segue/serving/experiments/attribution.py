"""Attribution of clicks and purchases to recommended lists, kept in a SQLite file beside the events, for reports.

The newest rows may be lost in a power cut, and no request waits for them: lists and events go to a bounded
queue, and one thread writes them. Users are stored as keyed digests. The oldest lists are removed first.
"""

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import apsw
import msgspec

from segue.serving.config import AttributionConfig
from segue.serving.schemas.requests import HistoryKey, Recommendation, RecommendResponse
from segue.serving.store.event import RECOMMENDATION, Event
from segue.serving.store.event_reader import StoredEventRow

_FORMAT = 1
_TABLES = """
CREATE TABLE IF NOT EXISTS impressions (id INTEGER PRIMARY KEY, list TEXT NOT NULL UNIQUE, time_us INTEGER NOT NULL,
    version TEXT NOT NULL, variant TEXT NOT NULL, propensity REAL NOT NULL, placement TEXT, user TEXT,
    experiment TEXT, items TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS outcomes (list TEXT NOT NULL, item TEXT NOT NULL, outcome TEXT NOT NULL,
    position INTEGER NOT NULL, source TEXT, time_us INTEGER NOT NULL, user TEXT, value REAL,
    PRIMARY KEY (list, item, outcome)) STRICT;
CREATE INDEX IF NOT EXISTS outcomes_by_user ON outcomes(user, item, time_us);
CREATE INDEX IF NOT EXISTS impressions_by_user ON impressions(user);
"""
_FLUSH_S = 0.05
"""Seconds between two writes. Short, because half a second of rows in one transaction would hold the interpreter while
requests wait for it."""
_MAX_ROWS = 256
"""Rows of one transaction."""
_INSERT_LIST = "INSERT OR IGNORE INTO impressions VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


class _QueuedList(NamedTuple):
    """A recommended list that waits to be written."""

    columns: tuple[Any, ...]
    key: HistoryKey | None
    experiment: str | None
    items: list[Recommendation]


class RecommendationLog(Protocol):
    """Receiver of recommended lists and committed events."""

    def record_impression(
        self, response: RecommendResponse, placement: str | None, key: HistoryKey | None, experiment: str | None
    ) -> None:
        """Record a list that is about to be sent.

        Args:
            response: the list.
            placement: placement of the request.
            key: user or session; None for a request without one.
            experiment: name of the running experiment; None without one.
        """

    def record_events(self, stored: Sequence[StoredEventRow]) -> None:
        """Record committed events that may be attributed to a list."""


class AttributionRecorder:
    """Writer of recommended lists, clicks and purchases. Safe to use from several threads."""

    def __init__(self, path: Path, digest: Callable[[str, str], str], config: AttributionConfig | None = None) -> None:
        """Open or create the file and start the thread.

        Args:
            path: the SQLite file.
            digest: ("user_id" or "session_id", id) -> keyed digest that stands for the user or session in the file.
            config: event types, window and sizes; None: the defaults.

        Raises:
            ValueError: the file has another format.
        """
        self.path = Path(path)
        self.dropped = 0
        """Lists and events that were not recorded, because the queue was full or the disk refused them."""
        self._config = config or AttributionConfig()
        self._digest = digest
        self._queue: deque[_QueuedList | Event] = deque()
        self._database = _open(self.path)
        self._since_pruned = 0
        self._closing = threading.Event()
        self._writing = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="segue-attribution", daemon=True)
        self._thread.start()

    def record_impression(
        self, response: RecommendResponse, placement: str | None, key: HistoryKey | None, experiment: str | None
    ) -> None:
        """Record a list that is about to be sent. See ``RecommendationLog.record_impression``."""
        head = (response.recommendation_id, time.time_ns() // 1000, response.model_version, response.variant)
        self._put(_QueuedList((*head, response.propensity, placement), key, experiment, response.items))

    def record_events(self, stored: Sequence[StoredEventRow]) -> None:
        """Record committed events that name a list, and purchases."""
        for row in stored:
            if f'"{RECOMMENDATION}"' in row.event.context or row.event.event in self._config.purchase_events:
                self._put(row.event)

    def _put(self, entry: _QueuedList | Event) -> None:
        if len(self._queue) < self._config.queue_size:
            self._queue.append(entry)
        else:
            self.dropped += 1

    def flush(self) -> None:
        """Write the queue; the rows can be read on return."""
        with self._writing:
            for _ in range(0, len(self._queue), _MAX_ROWS):
                entries = [self._queue.popleft() for _ in range(min(_MAX_ROWS, len(self._queue)))]
                try:
                    with self._database:
                        for is_list, group in groupby(entries, key=lambda entry: isinstance(entry, _QueuedList)):
                            if is_list:
                                self._database.executemany(_INSERT_LIST, (self._list_row(entry) for entry in group))
                            else:
                                for event in group:
                                    self._write_event(event)
                        self._prune(len(entries))
                except apsw.Error:
                    self.dropped += len(entries)

    def forget(self, keys: Sequence[HistoryKey]) -> int:
        """Delete the lists, clicks and purchases of users and sessions, and return the number of rows."""
        self.flush()
        with self._writing:
            count = 0
            for user in [self._digest(*key) for key in keys]:
                for table in ("impressions", "outcomes"):
                    self._database.execute(f"DELETE FROM {table} WHERE user = ?", (user,))
                    count += self._database.changes()
            self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            return count

    def close(self) -> None:
        """Write the queue, end the thread and close the file."""
        self._closing.set()
        self._thread.join()
        self.flush()
        self._database.close()

    def _run(self) -> None:
        while not self._closing.wait(_FLUSH_S):
            self.flush()

    def _list_row(self, entry: Any) -> tuple[Any, ...]:
        user = None if entry.key is None else self._digest(*entry.key)
        items = [[item.id, item.source] if item.source else [item.id] for item in entry.items]
        return (*entry.columns, user, entry.experiment, msgspec.json.encode(items).decode())

    def _write_event(self, event: Any) -> None:
        """Attribute an event to the list that it names, if the item is in that list.

        A purchase without a list is attributed to the list of the user's last click on the item.
        """
        outcome = "purchase" if event.event in self._config.purchase_events else "click"
        list_id = json.loads(event.context).get(RECOMMENDATION)
        if list_id is None:
            list_id = self._last_click(event)
        elif outcome == "click" and event.event not in self._config.click_events:
            return
        row = self._database.execute("SELECT items, user FROM impressions WHERE list = ?", (list_id,)).fetchone()
        if row is None:
            return
        items = enumerate(json.loads(row[0]), 1)
        by_id = {item[0]: (position, item[1] if len(item) > 1 else None) for position, item in items}
        if event.item_id not in by_id:
            return
        self._database.execute(
            "INSERT OR IGNORE INTO outcomes VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (list_id, event.item_id, outcome, *by_id[event.item_id], event.time_us, row[1], event.value),
        )

    def _last_click(self, event: Any) -> str | None:
        keys = [("user_id", event.user_id), ("session_id", event.session_id)]
        users = [self._digest(kind, name) for kind, name in keys if name is not None]
        earliest_us = event.time_us - round(self._config.window_s * 1e6)
        row = self._database.execute(
            "SELECT list FROM outcomes WHERE user IN (?, ?) AND item = ? AND outcome = 'click' "
            "AND time_us BETWEEN ? AND ? ORDER BY time_us DESC LIMIT 1",
            (users[0], users[-1], event.item_id, earliest_us, event.time_us),
        ).fetchone()
        return None if row is None else row[0]

    def _prune(self, added: int) -> None:
        """Delete the oldest lists with their outcomes, each time a tenth of the maximum was added."""
        self._since_pruned += added
        if self._since_pruned < self._config.max_lists // 10:
            return
        self._since_pruned = 0
        newest = self._database.execute("SELECT max(id) FROM impressions").get or 0
        last = newest - self._config.max_lists
        old_lists = "SELECT list FROM impressions WHERE id <= ?"
        self._database.execute(f"DELETE FROM outcomes WHERE list IN ({old_lists})", (last,))
        self._database.execute("DELETE FROM impressions WHERE id <= ?", (last,))


def _open(path: Path) -> apsw.Connection:
    """Open the file with a write-ahead log that is synced at checkpoints: a power cut loses rows, but damages none."""
    connection = apsw.Connection(str(path))
    connection.set_busy_timeout(2_000)
    connection.execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA secure_delete = ON")
    stored_format = connection.execute("PRAGMA user_version").get
    if stored_format not in (0, _FORMAT):
        raise ValueError(
            f"{path} has format {stored_format}; this version of Segue reads format {_FORMAT}: update Segue."
        )
    connection.execute(_TABLES)
    connection.execute(f"PRAGMA user_version = {_FORMAT}")
    return connection
