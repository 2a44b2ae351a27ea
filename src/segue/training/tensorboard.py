"""A training's curves as a TensorBoard log: loss, learning rate, events a second, validation.

A training that goes on after a crash takes steps again whose values are already in the log, to the same bits; it writes
only what lies behind the last one, so that no step is there twice. Each training has a folder of its own, named after
what it is: another one never mixes with it.
"""

import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from segue.training.progress import Progress
    from segue.training.trainer import Trainer

POINTS = 1000
"""At most about so many points a curve: as fine as a screen."""
FLUSH_S = 1.0
"""A kill loses the points of so long at most; forcing each one to disk would cost more than the step it tells of."""


class TensorBoardLog:
    """Hears a trainer's progress and writes it down."""

    def __init__(self, folder: Path, trainer: "Trainer") -> None:
        """Goes on with the log in ``folder``. ValueError where tensorboardX is not installed."""
        try:
            from tensorboardX import SummaryWriter
        except ImportError:
            raise ValueError("A log for TensorBoard needs tensorboardX: pip install 'segue[track]'.") from None
        self._trainer = trainer
        self._last = last_steps(folder)
        self._validations = 0
        # Files are named by the second: one that is begun within the same second must not replace the one before.
        suffix = f".{sum(1 for _ in folder.glob('events.*'))}"
        self._writer: Any = SummaryWriter(str(folder), filename_suffix=suffix)
        self._flushed_s = time.monotonic()

    def step(self, progress: "Progress") -> None:
        """One step is done."""
        if progress.validation is not None and progress.epoch > self._validations:
            self._validated(progress.epoch, progress.validation)
        if progress.step % max(1, progress.steps // POINTS) and progress.step != progress.steps:
            return
        self._write("train/loss", progress.loss, progress.step)
        self._write("train/learning_rate", self._trainer.encoder_optimizer.param_groups[0]["lr"], progress.step)
        self._write("train/events_per_s", progress.events_per_s, progress.step)
        if time.monotonic() - self._flushed_s > FLUSH_S:
            self._writer.flush()
            self._flushed_s = time.monotonic()

    def log_epoch(self, validations: tuple[float, ...]) -> None:
        """The training is over: what no step told of is the last epoch's validation."""
        for epoch, value in enumerate(validations, start=1):
            self._validated(epoch, value)

    def close(self) -> None:
        """Forces everything to disk."""
        self._writer.close()

    def _validated(self, epoch: int, value: float) -> None:
        self._validations = epoch
        self._write("validation/ndcg_at_10", value, self._trainer.batches.steps(epoch))

    def _write(self, tag: str, value: float, step: int) -> None:
        if step > self._last.get(tag, -1):
            self._writer.add_scalar(tag, value, step)
            self._last[tag] = step


@contextmanager
def tensorboard_log(log_dir: Path | None, stage: str, trainer: "Trainer") -> Iterator[TensorBoardLog | None]:
    """A track in ``log_dir/STAGE-IDENTITY``; None without a folder, and in a process that does not lead its team."""
    if log_dir is None or not trainer.process_group.is_main:
        yield None
        return
    track = TensorBoardLog(Path(log_dir) / f"{stage}-{trainer.state().numbers['is'][:8]}", trainer)
    try:
        yield track
    finally:
        track.close()


def last_steps(folder: Path) -> dict[str, int]:
    """The last step of each curve in a folder's event files."""
    from tensorboardX.proto.event_pb2 import Event

    last: dict[str, int] = {}
    for path in sorted(folder.glob("events.*")):
        for record in read_records(path):
            event = Event.FromString(record)
            for value in event.summary.value:
                last[value.tag] = max(event.step, last.get(value.tag, -1))
    return last


def read_records(path: Path) -> Iterator[bytes]:
    """The records of an event file (TFRecord: length, its checksum, bytes, their checksum); a last one that a crash
    tore is left out, as TensorBoard does."""
    with path.open("rb") as file:
        while len(head := file.read(12)) == 12:
            size = struct.unpack("<Q", head[:8])[0]
            body = file.read(size + 4)
            if len(body) < size + 4:
                return
            yield body[:-4]
