"""Description of one training job and its progress callback."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from segue.data.item_table import ItemTable
from segue.workflows.training_run import TrainingRun

if TYPE_CHECKING:
    from segue.training.distributed import ProcessGroup
    from segue.training.progress import Progress


ProgressCallback = Callable[[str, "Progress | tuple[int, int] | None"], None]
"""Function of (stage, state). The state is None when a stage begins, a training's ``Progress``, or (done, total)."""


@dataclass(frozen=True)
class TrainJob:
    """Parameters of a training besides the log, the model and the folder of the result."""

    protocol: str = "time"
    """Protocol of the split, see ``split_log``."""
    refit: bool = True
    """Train the saved model once more on every event, those of the test included."""
    seed: int = 0
    """Random seed; equal seeds give equal models."""
    items: ItemTable | None = None
    """Items table kept in the artifact, with titles; None: none. Models are trained on ``log.with_items``."""
    folder: Path | None = None
    """Folder of the checkpoints, from which the same job continues after a crash; None: no checkpoints."""
    device: str = "auto"
    """Device of a neural model: cpu, cuda, or auto: a GPU where there is one."""
    process_group: "ProcessGroup | None" = None
    """Processes that train a neural model together; None: this one alone."""
    log_dir: Path | None = None
    """Folder of a neural model's curves for TensorBoard; None: no curves."""

    def training_run(self, stage: str, progress: ProgressCallback | None) -> TrainingRun:
        """Return the training run of this job.

        Args:
            stage: name of the stage in the reports.
            progress: called with ``stage`` and the training's progress; None: no reports.
        """
        callback = None if progress is None else lambda state: progress(stage, state)
        return TrainingRun(callback, self.folder, self.device, self.process_group, self.log_dir)
