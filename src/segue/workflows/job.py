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
"""Called with what is being done and how far it is; None when it begins."""


@dataclass(frozen=True)
class TrainJob:
    """What ``train`` is to do, besides the log, the model and the place."""

    protocol: str = "time"
    """How the log is cut to choose and to judge."""
    refit: bool = True
    """Whether the saved model learns once more from every event, those that judged it included."""
    seed: int = 0
    """Equal seeds give equal models."""
    items: ItemTable | None = None
    """What people see of the items, kept in the artifact; models learn from ``log.with_items``."""
    folder: Path | None = None
    """Where the training keeps its states, so that the same job can go on after a crash."""
    device: str = "auto"
    """Where a network is trained: cpu, cuda, or auto: on a GPU where there is one."""
    process_group: "ProcessGroup | None" = None
    """The processes that train a network together; None: this one alone."""
    log_dir: Path | None = None
    """Where a network's curves for TensorBoard are written; None: nowhere."""

    def training_run(self, what: str, told: ProgressCallback | None) -> TrainingRun:
        """How a training of this job goes about it; ``told`` hears its progress as ``what``."""
        progress = None if told is None else lambda p: told(what, p)
        return TrainingRun(progress, self.folder, self.device, self.process_group, self.log_dir)
