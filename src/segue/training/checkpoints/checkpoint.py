"""A training on disk: everything needed to go on bit for bit, whole or not at all.

One file (``state_file.py``), written beside, forced to disk and renamed over the old one, so that at any moment there
is a valid one; the one before is kept as well, in case the newest is damaged later.
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
    """The place of a training's states, and when to write the next one."""

    path: Path
    every_s: float = 20.0
    """At most so many seconds of work are lost by a crash."""
    stop: bool = False
    """Set from outside (Ctrl-C): the trainer saves behind the step it is in, and ends by KeyboardInterrupt."""
    _last_s: float = field(default_factory=time.monotonic)
    _newest_is_whole: bool = False
    """Whether this object wrote the newest state or has read it: nothing else may take the place of the one before."""

    @contextmanager
    def save_on_signal(self) -> Iterator[None]:
        """Inside, the first Ctrl-C asks the trainer to save and end; a second one ends at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def ask(number: int, frame: FrameType | None) -> None:
            self.stop = True
            signal.signal(signal.SIGINT, signal.default_int_handler)

        before = signal.signal(signal.SIGINT, ask)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    @property
    def due(self) -> bool:
        """Whether it is time to write again."""
        return self.stop or time.monotonic() - self._last_s >= self.every_s

    def save(self, state: TrainingState) -> None:
        """Replaces the newest state; a crash in here leaves the one before. ValueError where the disk refuses."""
        try:
            atomic_files.write(self.path, encode_state(state), keep=self._before if self._newest_is_whole else None)
        except OSError as error:
            raise ValueError(
                f"{self.path} cannot be written ({error.strerror}). The state before it is kept: mend that, and go on "
                "with --resume."
            ) from error
        self._newest_is_whole = True
        self._last_s = time.monotonic()

    def load(self) -> TrainingState | None:
        """The newest state that is whole; None where there is none yet.

        ValueError when there are files but none of them is whole.
        """
        found = [path for path in (self.path, self._before) if path.exists()]
        for path in found:
            state = read_state(path)
            if state is not None:
                self._newest_is_whole = path == self.path
                return state
        if found:
            raise ValueError(f"{self.path} is damaged, and so is the one before it: start the training anew.")
        return None

    @property
    def _before(self) -> Path:
        return self.path.with_suffix(".before")
