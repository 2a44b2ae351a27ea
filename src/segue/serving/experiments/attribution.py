"""Attribution of clicks and purchases to recommended lists, kept in a SQLite file beside the events, for reports.

The newest rows may be lost in a power cut, and no request waits for them: lists and events go to a bounded
queue, and one thread writes them. Users are stored as keyed digests. The oldest lists are removed first.

An unusable file never fails a start or a request: it is set aside, or recording pauses until the file can be opened.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import apsw

from segue.config.purchase_events import is_event_of
from segue.serving.config import AttributionConfig
from segue.serving.experiments.attribution_file import (
    UNUSABLE,
    close_file,
    merge_log,
    must_merge,
    open_file,
    remove_files_set_aside,
    set_aside,
)
from segue.serving.experiments.attribution_queue import AttributionQueue, QueuedList
from segue.serving.experiments.attribution_rows import (
    attribute_event,
    count_rows,
    delete_erased,
    delete_oldest,
    delete_rows,
)
from segue.serving.observability.logs import log_event
from segue.serving.schemas.problems import unavailable
from segue.serving.schemas.requests import HistoryKey, RecommendResponse
from segue.serving.store.event import RECOMMENDATION, Event
from segue.serving.store.event_reader import StoredEventRow
from segue.serving.store.sqlite import transaction
from segue.serving.store.wal_check import unread_pages

_log = logging.getLogger("segue.serving")
_FLUSH_S = 0.05
"""Seconds between two writes. Short, because half a second of rows in one transaction would hold the interpreter while
requests wait for it."""
_REOPEN_S = 5.0
"""Seconds between two attempts to open a file that cannot be opened."""
_FORGET_US = 600_000_000
"""Time for which a list that was requested before an erasure may still arrive, in microseconds."""
_MAX_ROWS = 256
"""Rows of one transaction."""
_PAUSE_S = 0.001
"""Seconds between two transactions, in which an erasure takes its turn."""
_INSERT_LIST = "INSERT OR IGNORE INTO impressions VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


class AttributionRecorder:
    """Writer of recommended lists, clicks and purchases. Safe to use from several threads."""

    def __init__(
        self,
        path: Path,
        digest: Callable[[str, str], str],
        config: AttributionConfig | None = None,
        erased_until_us: Callable[[str], int | None] = lambda digest: None,
    ) -> None:
        """Start the thread, which opens or creates the file.

        Args:
            path: the SQLite file.
            digest: ("user_id" or "session_id", id) -> keyed digest that stands for the user or session in the file.
            config: event types, window and sizes; None: the defaults.
            erased_until_us: digest -> time of its erasure, UTC microseconds; None for a user who was not erased.
        """
        self.path = Path(path)
        self.notices: list[str] = []
        """Logged sentences about unusable files and unread rows."""
        self._config = config or AttributionConfig()
        self._digest = digest
        self._erased_until_us = erased_until_us
        self._forgotten_us: dict[str, int] = {}
        """Time of ``forget`` by digest: a list that was requested earlier was made from an erased history."""
        self._queue = AttributionQueue(self._config.queue_size)
        self._database: apsw.Connection | None = None
        self._reopen_s = 0.0
        self._failing = False
        self._since_pruned = 0
        self._closing = threading.Event()
        self._writing = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="segue-attribution", daemon=True)
        self._thread.start()

    def record_impression(
        self,
        response: RecommendResponse,
        placement: str | None,
        key: HistoryKey | None,
        experiment: str | None,
        time_us: int | None = None,
        conditions: str | None = None,
    ) -> None:
        """Record a list that is about to be sent. See ``RecommendationLog.record_impression``."""
        self.record_list(QueuedList.of(response, placement, key, experiment, time_us, conditions))

    def record_list(self, entry: QueuedList) -> None:
        """Record a list that a worker has sent."""
        self._queue.put(entry)

    def record_events(self, stored: Sequence[StoredEventRow]) -> None:
        """Record committed events that name a list, and purchases."""
        for row in stored:
            if f'"{RECOMMENDATION}"' in row.event.context or is_event_of(row.event.event, self._config.purchase_events):
                self._queue.put(row.event)

    @property
    def dropped(self) -> int:
        """Number of lists and events that were not recorded: the queue was full, or the disk refused them."""
        return self._queue.dropped

    @property
    def recording(self) -> bool:
        """Return whether the last write of the file succeeded."""
        return self._database is not None and not self._failing

    def flush(self) -> None:
        """Write the queue; the rows can be read on return, unless the file refuses them."""
        with self._writing:
            self._open()
        for number in range(0, len(self._queue), _MAX_ROWS):
            if number:
                time.sleep(_PAUSE_S)
            with self._writing:
                if not self._write_some():
                    return

    def _write_some(self) -> bool:
        """Write the oldest rows of the queue in one transaction; return False while the file cannot be opened."""
        database = self._open()
        if database is None:
            return False
        entries = self._queue.take(_MAX_ROWS)
        try:
            with transaction(database):
                self._write(database, entries)
            if must_merge(self.path):
                merge_log(self.path, database)
            self._failing = False
        except Exception as error:  # a damaged file raises many types, and the thread must outlive them
            self._queue.dropped += len(entries)
            self._failed(error)
        return True

    def _open(self) -> apsw.Connection | None:
        """Return the connection, opened first if necessary; None while the file cannot be opened."""
        if self._database is None and time.monotonic() >= self._reopen_s:
            lost = unread_pages(self.path)
            if lost:
                self._report(f"{lost} pages at the end of {self.path}-wal cannot be read: lists may be missing.")
            for _ in range(2):  # the second time after an unusable file was set aside
                try:
                    self._database, self._failing = open_file(self.path), False
                    delete_erased(self._database, self._erased_until_us)
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
                self._report(f"{self.path} cannot be written now: lists are not recorded, and requests go on.", name)
            return False
        database, self._database = self._database, None
        try:
            if database is not None:
                database.close()
            unusable = set_aside(self.path)
        except (apsw.Error, OSError):
            self._reopen_s = time.monotonic() + _REOPEN_S
            if is_first:
                self._report(f"{self.path} is unusable and cannot be renamed: lists are not recorded.", name)
            return False
        self._report(f"{self.path} is unusable ({error}): it is kept as {unusable.name}, a new file is begun.", name)
        return True

    def _report(self, message: str, failure: str = "") -> None:
        log_event(_log, logging.ERROR, message, **({"failure": failure} if failure else {}))
        self.notices = [*self.notices[-9:], message]

    def forget(self, keys: Sequence[HistoryKey]) -> int:
        """Delete the lists, clicks and purchases of users and sessions; see ``forget_digests``.

        Returns:
            Number of rows.
        """
        return self.forget_digests([[self._digest(*key) for key in keys]])[0]

    def forget_digests(self, groups: Sequence[Sequence[str]]) -> list[int]:
        """Delete the lists, clicks and purchases of users and sessions, and return the number of rows of each group.

        Files that were set aside are deleted as a whole. Lists that were requested before are not recorded any more.

        Args:
            groups: digests of users and sessions.

        Raises:
            Problem: 503 if the file cannot be written.
        """
        with self._writing:
            now_us = time.time_ns() // 1000
            self._forgotten_us = {user: us for user, us in self._forgotten_us.items() if us > now_us - _FORGET_US}
            self._forgotten_us |= {user: now_us for users in groups for user in users}
            queued = self._queue.count_lists(groups, self._digest)
            try:
                for _ in range(2):  # the second time after an unusable file was set aside
                    remove_files_set_aside(self.path)
                    database = self._open()
                    if database is None:
                        break
                    try:
                        counts = delete_rows(database, groups)
                        merge_log(self.path, database, with_digest=False)
                        return [sum(pair) for pair in zip(counts, queued, strict=True)]
                    except UNUSABLE as error:
                        self._failed(error)
            except (apsw.Error, OSError):
                pass
        raise unavailable(f"{self.path.name} cannot be written, and still holds rows: send the request again later.")

    def count_rows(self, groups: Sequence[Sequence[str]]) -> list[int]:
        """Return the number of rows of each group of users, with those that wait to be written.

        The rows of a file that cannot be read are left out.

        Args:
            groups: digests of users and sessions.
        """
        with self._writing:
            queued = self._queue.count_lists(groups, self._digest)
            try:
                database = self._open()
                counts = [] if database is None else count_rows(database, groups)
            except (apsw.Error, UnicodeDecodeError):
                counts = []
            return [sum(pair) for pair in zip(counts, queued, strict=True)] if counts else queued

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

    def _write(self, database: apsw.Connection, entries: list[QueuedList | Event]) -> None:
        """Write entries in the order of their arrival, and remove the oldest lists."""
        for is_list, group in groupby(entries, key=lambda entry: isinstance(entry, QueuedList)):
            if is_list:
                rows = (self._list_row(entry) for entry in group)
                database.executemany(_INSERT_LIST, (row for row in rows if row is not None))
            else:
                for event in group:
                    assert isinstance(event, Event)
                    attribute_event(database, event, self._digest, self._config)
        self._prune(database, len(entries))

    def _list_row(self, entry: Any) -> tuple[Any, ...] | None:
        """Return the row of a list; None for one that was requested before the erasure of its user."""
        user = None if entry.key is None else self._digest(*entry.key)
        if user is not None and entry.columns[1] <= self._forgotten_us.get(user, -1):
            return None
        return entry.row(user)

    def _prune(self, database: apsw.Connection, added: int) -> None:
        """Delete the oldest lists with their outcomes, each time a tenth of the maximum was added."""
        self._since_pruned += added
        if self._since_pruned < self._config.max_lists // 10:
            return
        self._since_pruned = 0
        delete_oldest(database, self._config.max_lists)
