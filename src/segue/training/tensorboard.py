"""TensorBoard log of a training: loss, learning rate, events per second and validation.

A training that resumes after a crash repeats steps that are already in the log, to the same bits. It writes only the
steps after the last one, so that no step is logged twice. Each training has its own folder, named by its identity.
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
"""Approximate largest number of points of a curve, about the width of a screen in pixels."""
FLUSH_S = 1.0
"""Seconds between two flushes, which is the most that a kill loses; a flush per step would cost more than the step."""


class TensorBoardLog:
    """Writer of a trainer's progress to event files."""

    def __init__(self, folder: Path, trainer: "Trainer") -> None:
        """Open a log, and continue it if the folder holds one.

        Args:
            folder: folder of the event files.
            trainer: the trainer to log.

        Raises:
            ValueError: tensorboardX is not installed.
        """
        try:
            from tensorboardX import SummaryWriter
        except ImportError:
            raise ValueError("A log for TensorBoard needs tensorboardX: pip install 'segue[track]'.") from None
        self._trainer = trainer
        self._last = last_steps(folder)
        self._validations = 0
        # Files are named by the second: a file created within the same second must not replace the previous one.
        suffix = f".{sum(1 for _ in folder.glob('events.*'))}"
        self._writer: Any = SummaryWriter(str(folder), filename_suffix=suffix)
        self._flushed_s = time.monotonic()

    def step(self, progress: "Progress") -> None:
        """Log the progress after one step."""
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
        """Log the validations of a finished training; that of the last epoch was reported by no step."""
        for epoch, value in enumerate(validations, start=1):
            self._validated(epoch, value)

    def close(self) -> None:
        """Write all points to disk and close the file."""
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
    """Yield a log in ``log_dir/STAGE-IDENTITY``; None without a folder, and outside the primary process.

    Args:
        log_dir: folder of all logs; None: no log.
        stage: name of the training stage.
        trainer: the trainer to log.
    """
    if log_dir is None or not trainer.process_group.is_main:
        yield None
        return
    log = TensorBoardLog(Path(log_dir) / f"{stage}-{trainer.state().numbers['is'][:8]}", trainer)
    try:
        yield log
    finally:
        log.close()


def last_steps(folder: Path) -> dict[str, int]:
    """Return the last step of each curve in a folder's event files, by tag."""
    from tensorboardX.proto.event_pb2 import Event

    last: dict[str, int] = {}
    for path in sorted(folder.glob("events.*")):
        for record in read_records(path):
            event = Event.FromString(record)
            for value in event.summary.value:
                last[value.tag] = max(event.step, last.get(value.tag, -1))
    return last


def read_records(path: Path) -> Iterator[bytes]:
    """Yield the records of an event file (TFRecord: length, its checksum, bytes, their checksum).

    A last record cut off by a crash is left out, as TensorBoard does.
    """
    with path.open("rb") as file:
        while len(head := file.read(12)) == 12:
            size = struct.unpack("<Q", head[:8])[0]
            body = file.read(size + 4)
            if len(body) < size + 4:
                return
            yield body[:-4]
