"""End of a server by signals: the first SIGTERM or SIGINT stops it, a second one or the end of the grace ends it.

The server runs in a thread of its own. The main thread only waits for signals, so that each is answered at once, in
every phase: while a model is loaded, while requests are served, while the event store waits for a slow disk.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable

from segue.serving.exit_codes import GRACE_OVER, SECOND_SIGNAL, STOPPED

SIGNALS = (signal.SIGTERM, signal.SIGINT)
_POLL_S = 0.5
"""Interval at which the main thread checks whether the server has ended."""
_MESSAGE_S = 0.2
"""Longest wait for a message on standard error, which may be a full pipe."""


class Termination:
    """Signals of one server and the time until it must have ended."""

    def __init__(self, grace_s: float) -> None:
        """Make a termination; ``run`` handles the signals.

        Args:
            grace_s: time from the first signal to the end of the process, seconds.
        """
        self._grace_s = grace_s
        self._until_s: float | None = None
        self._error: BaseException | None = None
        self.on_stop: Callable[[float], None] | None = None
        """Function that begins the stop and must not wait; it receives the grace in seconds. None: nothing is served
        yet, and the process ends at the first signal."""
        self.kill_children: Callable[[], None] = lambda: None
        """Function that kills the worker processes, called before the process is ended."""

    def run(self, server: Callable[[], None]) -> None:
        """Run a server in a thread and return when it has ended; call it in the main thread.

        Args:
            server: function that serves until ``on_stop`` is called.

        Raises:
            Exception: the one that the server raised.
        """
        before = {number: signal.signal(number, self._handle) for number in SIGNALS}
        others = set(threading.enumerate())
        thread = threading.Thread(target=self._serve, args=(server,), name="segue-server", daemon=True)
        thread.start()
        while thread.is_alive():
            thread.join(max(0.0, min(_POLL_S, self.remaining_s())))
            if self.remaining_s() <= 0 and thread.is_alive():
                self._end(GRACE_OVER, f"The grace of {self._grace_s:g} s is over: the server is ended.")
        if self._error is not None:
            for number, handler in before.items():
                signal.signal(number, handler)
            raise self._error
        if any(not one.daemon and one.is_alive() for one in set(threading.enumerate()) - others):
            self._end(STOPPED, "")  # a handler left behind in its thread: the interpreter would wait for it
        for number, handler in before.items():
            signal.signal(number, handler)

    def remaining_s(self) -> float:
        """Return the seconds until the process must have ended; infinite before the first signal."""
        return float("inf") if self._until_s is None else self._until_s - time.monotonic()

    def _serve(self, server: Callable[[], None]) -> None:
        try:
            server()
        except BaseException as error:
            self._error = error

    def _handle(self, number: int, _: object) -> None:
        if self._until_s is not None:
            self._end(SECOND_SIGNAL + number, "A second signal: the server is ended at once.")
        self._until_s = time.monotonic() + self._grace_s
        if self.on_stop is None:
            self._end(STOPPED, "")
        else:
            self.on_stop(self._grace_s)

    def _end(self, code: int, message: str) -> None:
        """End the process without closing its parts, as kill -9 would: nothing acknowledged depends on them."""
        self.kill_children()
        if message:
            writer = threading.Thread(
                target=lambda: print(f"segue: {message}", file=sys.stderr, flush=True), daemon=True
            )
            writer.start()
            writer.join(_MESSAGE_S)
        os._exit(code)
