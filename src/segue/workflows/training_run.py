"""Environment of a training: checkpoints, curves, device, process group and progress callback."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segue.data.training_data import SideData, TrainingData
from segue.training.config import TrainingConfig
from segue.training.tensorboard import tensorboard_log

if TYPE_CHECKING:
    from segue.training.distributed import ProcessGroup
    from segue.training.progress import Progress, TrainingResult
    from segue.training.trainer import Trainer


@dataclass(frozen=True)
class TrainingRun:
    """Environment of a training; but for rounding, none of it changes the result."""

    progress: "Callable[[Progress], None] | None" = None
    """Called after every step; None: no reports."""
    folder: Path | None = None
    """Folder of the checkpoints: a stopped training continues to the same bits; None: no checkpoints."""
    device: str = "auto"
    """Device of the net: cpu, cuda, or auto: a GPU where there is one."""
    process_group: "ProcessGroup | None" = None
    """Processes that train together; None: this one alone."""
    log_dir: Path | None = None
    """Folder of the curves for TensorBoard, one sub-folder for each training; None: no curves."""

    def member(self, position: int) -> "TrainingRun":
        """Return the run of one ensemble member, with folders of its own."""
        own = [None if path is None else path / str(position) for path in (self.folder, self.log_dir)]
        return replace(self, folder=own[0], log_dir=own[1])

    def trainer(
        self,
        config: Any,
        training: TrainingConfig,
        data: TrainingData,
        seed: int,
        side_data: SideData | None = None,
    ) -> "Trainer":
        """Build an untrained net and its trainer.

        Args:
            config: settings of the model.
            training: settings of the training.
            data: training events and the size of their catalog.
            seed: random seed.
            side_data: settings of features and contexts, with the item features; None: events only.

        Raises:
            ValueError: the training does not fit into memory.
        """
        from segue.training.build_net import build_net
        from segue.training.cost_estimate import check_memory
        from segue.training.devices import resolve_device
        from segue.training.trainer import Trainer

        net = build_net(config, *data, seed, side_data).to(resolve_device(self.device))
        trainer = Trainer(net, data.sequences, training, seed, self.process_group)
        check_memory(trainer)
        return trainer

    def train(self, trainer: "Trainer", stage: str, **options: Any) -> "TrainingResult":
        """Run a trainer, from its checkpoint if there is one; Ctrl-C saves a checkpoint and ends.

        Args:
            trainer: the trainer.
            stage: name of the checkpoint and of the curves.
            options: those of ``Trainer.run``.
        """
        with tensorboard_log(self.log_dir, stage, trainer) as curves:
            callbacks = [
                callback
                for callback in (self.progress, None if curves is None else curves.step)
                if callback is not None
            ]

            def report(state: "Progress") -> None:
                for callback in callbacks:
                    callback(state)

            result = self._run(trainer, stage, report if callbacks else None, options)
            if curves is not None:
                curves.log_epoch(result.validations)
            return result

    def _run(
        self, trainer: "Trainer", stage: str, report: "Callable[[Progress], None] | None", options: dict[str, Any]
    ) -> "TrainingResult":
        if self.folder is None:
            return trainer.run(progress=report, **options)
        from segue.training.checkpoints.checkpoint import Checkpoint

        checkpoint = Checkpoint(self.folder / f"{stage}.checkpoint")
        with checkpoint.save_on_signal():
            return trainer.run(progress=report, checkpoint=checkpoint, **options)
