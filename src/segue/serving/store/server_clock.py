"""Server time of events that carry none: never before an earlier one, also after a restart with a corrected clock."""

import logging
import threading
import time
from collections.abc import Callable

_log = logging.getLogger("segue.serving")
BEHIND_US = 5 * 60 * 1_000_000
"""Distance behind the newest server time above which the clock is reported, in microseconds."""


def system_time_us() -> int:
    """Return the system's time, UTC microseconds."""
    return time.time_ns() // 1000


class ServerClock:
    """Clock that stands still instead of going back. Safe to use from several threads.

    After the system's clock was ahead and is corrected, later events get the time of the newest one, and keep the order
    of their arrival. They would otherwise precede it in every history.
    """

    def __init__(self, newest_us: int = 0, now_us: Callable[[], int] = system_time_us) -> None:
        """Make a clock.

        Args:
            newest_us: server time of the newest stored event, UTC microseconds; 0 without one.
            now_us: the system's clock, UTC microseconds.
        """
        self._newest_us = newest_us
        self.now_us = now_us
        self._lock = threading.Lock()
        self._is_reported = False

    @property
    def behind_us(self) -> int:
        """Return the microseconds of the system's clock behind the newest server time; 0 for a clock that is not."""
        return max(0, self._newest_us - self.now_us())

    def stamp_us(self) -> int:
        """Return the time of an event that carries none, UTC microseconds."""
        now_us = self.now_us()
        with self._lock:
            behind_us = self._newest_us - now_us
            self._newest_us = max(self._newest_us, now_us)
            is_new = behind_us > BEHIND_US and not self._is_reported
            self._is_reported = behind_us > BEHIND_US
        if is_new:
            _log.warning(self.report(behind_us))
        return self._newest_us

    def advance(self, time_us: int) -> None:
        """Give no later event a time before this one, UTC microseconds."""
        with self._lock:
            self._newest_us = max(self._newest_us, time_us)

    @staticmethod
    def report(behind_us: int) -> str:
        """Return the sentence about a clock that is behind."""
        return (
            f"The clock is {behind_us // 1_000_000} s behind the newest event, whose time it gave: events without a "
            "timestamp get that time until the clock catches up."
        )
