"""Checkpoints: the state of a training on disk, from which it resumes to the same bits.

A checkpoint is one file (``state_file.py``): written under another name, forced to disk, then renamed over the old
one. So a valid file exists at any time. The previous file is kept, in case the newest is damaged later.
"""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from segue.system import atomic_files
from segue.training.checkpoints.state_file import TrainingState, encode_state, read_state


@dataclass
class Checkpoint:
    """File of a training's states, and the interval at which it is written."""

    path: Path
    every_s: float = 20.0
    """Seconds between two saves, which is the most work that a crash loses."""
    stop: bool = False
    """Request to stop (Ctrl-C): the trainer saves after the current step and raises KeyboardInterrupt."""
    _last_s: float = field(default_factory=time.monotonic)
    _newest_is_whole: bool = False
    """True if this object has written or read the newest file: only such a file may replace the previous one."""

    @contextmanager
    def save_on_signal(self) -> Iterator[None]:
        """Run the body so that the first Ctrl-C requests a save and a stop, and a second one interrupts at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def request_stop(number: int, frame: FrameType | None) -> None:
            self.stop = True
            signal.signal(signal.SIGINT, signal.default_int_handler)

        previous = signal.signal(signal.SIGINT, request_stop)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, previous)

    @property
    def due(self) -> bool:
        """Return True if a save is due: the interval is over, or a stop is requested."""
        return self.stop or time.monotonic() - self._last_s >= self.every_s

    def save(self, state: TrainingState) -> None:
        """Replace the newest state; a crash during the call leaves the previous one.

        Raises:
            ValueError: the file cannot be written.
        """
        try:
            atomic_files.write(self.path, encode_state(state), keep=self._previous if self._newest_is_whole else None)
        except OSError as error:
            raise ValueError(
                f"{self.path} cannot be written ({error.strerror}). The state before it is kept: mend that, and go on "
                "with --resume."
            ) from error
        self._newest_is_whole = True
        self._last_s = time.monotonic()

    def load(self) -> TrainingState | None:
        """Return the newest valid state; None if no state was saved.

        Raises:
            ValueError: files exist, and all of them are damaged.
        """
        existing = [path for path in (self.path, self._previous) if path.exists()]
        for path in existing:
            state = read_state(path)
            if state is not None:
                self._newest_is_whole = path == self.path
                return state
        if existing:
            raise ValueError(f"{self.path} is damaged, and so is the one before it: start the training anew.")
        return None

    @property
    def _previous(self) -> Path:
        return self.path.with_suffix(".before")
