"""Complete check of a long event log in a thread, while the server runs."""

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import apsw

from segue.serving.store.event_reader import EventReader
from segue.serving.store.log_check import is_sound

_log = logging.getLogger("segue.serving")
INTERVAL_S = 86_400.0
"""Seconds between two checks: a page that decays on the disk is found within a day."""
FIRST_S = 600.0
"""Seconds until the first check of a log whose start has compared it with its digest."""
_CHUNK_ROWS = 500
_PAUSE_S = 0.02
"""Pause after each chunk, in seconds: the check takes a tenth of one core at most."""


class BackgroundCheck:
    """Thread that checks the pages, indexes and row checksums of an event log, and requests a repair."""

    def __init__(
        self, path: Path, repair: Callable[[], None], *, at_once: bool, interval_s: float = INTERVAL_S
    ) -> None:
        """Start the thread.

        Args:
            path: the event log.
            repair: called when damage is found.
            at_once: begin with a check; otherwise the first one follows after ``FIRST_S``.
            interval_s: seconds between two checks.
        """
        self._path = path
        self._repair = repair
        self._interval_s = interval_s
        self._closing = threading.Event()
        self._connection: apsw.Connection | None = None
        self.num_checks = 0
        """Completed checks."""
        self._thread = threading.Thread(target=self._run, args=(at_once,), name="segue-log-check", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the check and the thread."""
        self._closing.set()
        connection = self._connection
        if connection is not None:
            with suppress(apsw.ConnectionClosedError):
                connection.interrupt()
        self._thread.join()

    def _run(self, at_once: bool) -> None:
        if not at_once:
            self._closing.wait(FIRST_S)
        while not self._closing.is_set():
            try:
                if not self._check() and not self._closing.is_set():
                    self._repair()
                    _log.error("%s was damaged: its indexes were built again from the sound rows.", self._path)
                self.num_checks += 1
            except Exception as error:  # a server goes on without this check
                if not self._closing.is_set():
                    _log.error("The check of %s failed with %s: %s", self._path, type(error).__name__, error)
            self._closing.wait(self._interval_s)

    def _check(self) -> bool:
        """Return whether the log is sound, or was sound until the thread had to end."""
        reader = EventReader(self._path)
        try:
            self._connection = reader.connection
            if not is_sound(reader.connection, complete=True):
                return False
            last = 0
            while (until := reader.seq_after(last, _CHUNK_ROWS)) is not None and not self._closing.wait(_PAUSE_S):
                reader.events_between(last, until)
                last = until
            return reader.num_left_out == 0
        finally:
            self._connection = None
            reader.close()
