"""Attribution of clicks and purchases to recommended lists, kept in a SQLite file beside the events, for reports.

The newest rows may be lost in a power cut, and no request waits for them: lists and events go to a bounded
queue, and one thread writes them. Users are stored as keyed digests. The oldest lists are removed first.

An unusable file never fails a start or a request: it is set aside, or recording pauses until the file can be opened.
"""

import json
import logging
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
from segue.serving.experiments.attribution_file import (
    UNUSABLE,
    UnusableFileError,
    close_file,
    open_file,
    remove_files_set_aside,
    set_aside,
)
from segue.serving.observability.logs import log_event
from segue.serving.schemas.problems import unavailable
from segue.serving.schemas.requests import HistoryKey, Recommendation, RecommendResponse
from segue.serving.store.event import RECOMMENDATION, Event
from segue.serving.store.event_reader import StoredEventRow
from segue.serving.store.sqlite import transaction

_log = logging.getLogger("segue.serving")
_FLUSH_S = 0.05
"""Seconds between two writes. Short, because half a second of rows in one transaction would hold the interpreter while
requests wait for it."""
_REOPEN_S = 5.0
"""Seconds between two attempts to open a file that cannot be opened."""
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
        """Start the thread, which opens or creates the file.

        Args:
            path: the SQLite file.
            digest: ("user_id" or "session_id", id) -> keyed digest that stands for the user or session in the file.
            config: event types, window and sizes; None: the defaults.
        """
        self.path = Path(path)
        self.dropped = 0
        """Lists and events that were not recorded, because the queue was full or the disk refused them."""
        self._config = config or AttributionConfig()
        self._digest = digest
        self._queue: deque[_QueuedList | Event] = deque()
        self._database: apsw.Connection | None = None
        self._reopen_s = 0.0
        self._failing = False
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

    @property
    def recording(self) -> bool:
        """Return whether the last write of the file succeeded."""
        return self._database is not None and not self._failing

    def flush(self) -> None:
        """Write the queue; the rows can be read on return, unless the file refuses them."""
        with self._writing:
            database = self._open()
            for _ in range(0, len(self._queue), _MAX_ROWS):
                if database is None:
                    return
                entries = [self._queue.popleft() for _ in range(min(_MAX_ROWS, len(self._queue)))]
                try:
                    with transaction(database):
                        self._write(database, entries)
                    self._failing = False
                except Exception as error:  # a damaged file raises many types, and the thread must outlive them
                    self.dropped += len(entries)
                    self._failed(error)
                    database = self._database

    def _open(self) -> apsw.Connection | None:
        """Return the connection, opened first if necessary; None while the file cannot be opened."""
        if self._database is None and time.monotonic() >= self._reopen_s:
            for _ in range(2):  # the second time after an unusable file was set aside
                try:
                    self._database, self._failing = open_file(self.path), False
                    break
                except Exception as error:
                    if not self._failed(error):
                        break
        return self._database

    def _failed(self, error: Exception) -> bool:
        """Log a failure, and set the file aside unless the error may pass. Return whether it was set aside."""
        is_first, self._failing = not self._failing, True
        name = type(error).__name__
        if not isinstance(error, UNUSABLE):
            self._reopen_s = time.monotonic() + _REOPEN_S
            if is_first:
                message = f"{self.path} cannot be written now: lists are not recorded, and requests go on."
                log_event(_log, logging.ERROR, message, failure=name)
            return False
        database, self._database = self._database, None
        try:
            if database is not None:
                database.close()
            unusable = set_aside(self.path)
        except (apsw.Error, OSError):
            self._reopen_s = time.monotonic() + _REOPEN_S
            if is_first:
                message = f"{self.path} is unusable and cannot be renamed: lists are not recorded, and requests go on."
                log_event(_log, logging.ERROR, message, failure=name)
            return False
        message = f"{self.path} is unusable ({error}): it is kept as {unusable.name}, and an empty file replaces it."
        log_event(_log, logging.ERROR, message, failure=name)
        return True

    def forget(self, keys: Sequence[HistoryKey]) -> int:
        """Delete the lists, clicks and purchases of users and sessions, and return the number of rows.

        Files that were set aside are deleted as a whole.

        Raises:
            Problem: 503 if the file cannot be written.
        """
        self.flush()
        with self._writing:
            try:
                for _ in range(2):  # the second time after an unusable file was set aside
                    remove_files_set_aside(self.path)
                    database = self._open()
                    if database is None:
                        break
                    try:
                        return self._delete(database, [self._digest(*key) for key in keys])
                    except UNUSABLE as error:
                        self._failed(error)
            except (apsw.Error, OSError):
                pass
        raise unavailable(f"{self.path.name} cannot be written, and still holds rows: send the request again later.")

    def _delete(self, database: apsw.Connection, users: list[str]) -> int:
        """Delete the rows of users, without a byte left in the file, and return their number."""
        count = 0
        with transaction(database):
            for user in users:
                for table in ("impressions", "outcomes"):
                    database.execute(f"DELETE FROM {table} WHERE user = ?", (user,))
                    count += database.changes()
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return count

    def close(self) -> None:
        """Write the queue, end the thread and close the file."""
        self._closing.set()
        self._thread.join()
        self.flush()
        with self._writing:
            if self._database is not None:
                close_file(self.path, self._database)
                self._database = None
                self._reopen_s = float("inf")

    def _run(self) -> None:
        while not self._closing.wait(_FLUSH_S):
            self.flush()

    def _write(self, database: apsw.Connection, entries: list[_QueuedList | Event]) -> None:
        """Write entries in the order of their arrival, and remove the oldest lists."""
        for is_list, group in groupby(entries, key=lambda entry: isinstance(entry, _QueuedList)):
            if is_list:
                database.executemany(_INSERT_LIST, (self._list_row(entry) for entry in group))
            else:
                for event in group:
                    self._write_event(database, event)
        self._prune(database, len(entries))

    def _list_row(self, entry: Any) -> tuple[Any, ...]:
        user = None if entry.key is None else self._digest(*entry.key)
        items = [[item.id, item.source] if item.source else [item.id] for item in entry.items]
        return (*entry.columns, user, entry.experiment, msgspec.json.encode(items).decode())

    def _write_event(self, database: apsw.Connection, event: Any) -> None:
        """Attribute an event to the list that it names, if the item is in that list.

        A purchase without a list is attributed to the list of the user's last click on the item.
        """
        outcome = "purchase" if event.event in self._config.purchase_events else "click"
        list_id = json.loads(event.context).get(RECOMMENDATION)
        if list_id is None:
            list_id = self._last_click(database, event)
        elif outcome == "click" and event.event not in self._config.click_events:
            return
        if not isinstance(list_id, str):  # a context may hold any value under that key
            return
        row = database.execute("SELECT items, user FROM impressions WHERE list = ?", (list_id,)).fetchone()
        if row is None:
            return
        try:
            items = enumerate(msgspec.json.decode(row[0], type=list[list[str]]), 1)
        except (msgspec.DecodeError, UnicodeError):
            raise UnusableFileError("a recorded list is damaged") from None
        by_id = {item[0]: (position, item[1] if len(item) > 1 else None) for position, item in items if item}
        if event.item_id not in by_id:
            return
        database.execute(
            "INSERT OR IGNORE INTO outcomes VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (list_id, event.item_id, outcome, *by_id[event.item_id], event.time_us, row[1], event.value),
        )

    def _last_click(self, database: apsw.Connection, event: Any) -> str | None:
        keys = [("user_id", event.user_id), ("session_id", event.session_id)]
        users = [self._digest(kind, name) for kind, name in keys if name is not None]
        earliest_us = event.time_us - round(self._config.window_s * 1e6)
        row = database.execute(
            "SELECT list FROM outcomes WHERE user IN (?, ?) AND item = ? AND outcome = 'click' "
            "AND time_us BETWEEN ? AND ? ORDER BY time_us DESC LIMIT 1",
            (users[0], users[-1], event.item_id, earliest_us, event.time_us),
        ).fetchone()
        return None if row is None else row[0]

    def _prune(self, database: apsw.Connection, added: int) -> None:
        """Delete the oldest lists with their outcomes, each time a tenth of the maximum was added."""
        self._since_pruned += added
        if self._since_pruned < self._config.max_lists // 10:
            return
        self._since_pruned = 0
        newest = database.execute("SELECT max(id) FROM impressions").get or 0
        last = newest - self._config.max_lists
        old_lists = "SELECT list FROM impressions WHERE id <= ?"
        database.execute(f"DELETE FROM outcomes WHERE list IN ({old_lists})", (last,))
        database.execute("DELETE FROM impressions WHERE id <= ?", (last,))
