"""A training on disk: everything needed to go on bit for bit, whole or not at all.

One file: a line with the SHA-256 of the rest, then tensors and numbers as safetensors. It is written beside, forced to
disk and renamed over the old one, so that at any moment there is a valid one; the one before is kept as well, in case
the newest is damaged later.
"""

import hashlib
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from safetensors.torch import load, save
from torch import Tensor

MAGIC = b"segue checkpoint 1 "


@dataclass
class State:
    """Where a training stands: ``tensors`` by name, ``numbers`` as plain JSON values."""

    tensors: dict[str, Tensor]
    numbers: dict[str, Any]


@dataclass
class Checkpoint:
    """The place of a training's states, and when to write the next one."""

    path: Path
    every_s: float = 20.0
    """At most so many seconds of work are lost by a crash."""
    stop: bool = False
    """Set from outside (Ctrl-C): the trainer saves behind the step it is in, and ends by KeyboardInterrupt."""
    _last_s: float = field(default_factory=time.monotonic)

    @contextmanager
    def listening(self) -> Iterator[None]:
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

    def save(self, state: State) -> None:
        """Replaces the newest state; a crash in here leaves the one before."""
        payload = save(state.tensors, metadata={"numbers": json.dumps(state.numbers)})
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.path.with_suffix(".writing")
        with fresh.open("wb") as file:
            file.write(MAGIC + hashlib.sha256(payload).hexdigest().encode() + b"\n")
            file.write(payload)
            file.flush()
            os.fsync(file.fileno())
        if self.path.exists():
            os.replace(self.path, self._before)
        os.replace(fresh, self.path)
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        self._last_s = time.monotonic()

    def load(self) -> State | None:
        """The newest state that is whole; None where there is none yet.

        ValueError when there are files but none of them is whole.
        """
        found = [path for path in (self.path, self._before) if path.exists()]
        for path in found:
            state = _read(path)
            if state is not None:
                return state
        if found:
            raise ValueError(f"{self.path} is damaged, and so is the one before it: start the training anew.")
        return None

    @property
    def _before(self) -> Path:
        return self.path.with_suffix(".before")


def _read(path: Path) -> State | None:
    raw = path.read_bytes()
    head, newline, payload = raw.partition(b"\n")
    if not newline or head != MAGIC + hashlib.sha256(payload).hexdigest().encode():
        return None
    size = int.from_bytes(payload[:8], "little")
    header = json.loads(payload[8 : 8 + size])
    return State(load(payload), json.loads(header["__metadata__"]["numbers"]))
