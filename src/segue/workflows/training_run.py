"""How a training goes about it: where its states and curves go, on which device, in which team, who hears of it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segue.data.features.encoding import FeatureConfig, ItemFeatures
from segue.data.sequences import Sequences
from segue.training.config import TrainingConfig
from segue.training.tensorboard import tensorboard_log

if TYPE_CHECKING:
    from segue.training.distributed import ProcessGroup
    from segue.training.progress import Progress, TrainingResult
    from segue.training.trainer import Trainer


@dataclass(frozen=True)
class TrainingRun:
    """How a training goes about it; but for rounding, none of it changes what comes out."""

    progress: "Callable[[Progress], None] | None" = None
    """Hears of every step."""
    folder: Path | None = None
    """Where the training keeps its states, so that it can go on after a crash to the same bits; None: nowhere."""
    device: str = "auto"
    """Where the net is trained: cpu, cuda, or auto: on a GPU where there is one."""
    process_group: "ProcessGroup | None" = None
    """The processes that train together; None: this one alone."""
    log_dir: Path | None = None
    """Where curves for TensorBoard are written, each training in a folder of its own; None: nowhere."""

    def member(self, place: int) -> "TrainingRun":
        """The same for one of several models that are trained one after the other."""
        own = [None if path is None else path / str(place) for path in (self.folder, self.log_dir)]
        return replace(self, folder=own[0], log_dir=own[1])

    def trainer(
        self,
        config: Any,
        training: TrainingConfig,
        data: tuple[Sequences, int],
        seed: int,
        known: tuple[FeatureConfig, ItemFeatures | None] | None = None,
    ) -> "Trainer":
        """An untrained net of these settings on the log ``data`` (sequences, catalog size V), ready to be trained;
        ``known``: what it learns from as well, and the facts about items.
        ValueError where it will not fit the memory: better now than a kill in the middle."""
        from segue.training.build_net import build_net
        from segue.training.cost_estimate import check_memory
        from segue.training.devices import resolve_device
        from segue.training.trainer import Trainer

        net = build_net(config, *data, seed, known).to(resolve_device(self.device))
        trainer = Trainer(net, data[0], training, seed, self.process_group)
        check_memory(trainer)
        return trainer

    def train(self, trainer: "Trainer", stage: str, **how: Any) -> "TrainingResult":
        """Runs a trainer, from its saved state if there is one; Ctrl-C saves and ends."""
        with tensorboard_log(self.log_dir, stage, trainer) as track:
            hears = [hear for hear in (self.progress, None if track is None else track.step) if hear is not None]

            def told(progress: "Progress") -> None:
                for hear in hears:
                    hear(progress)

            outcome = self._run(trainer, stage, told if hears else None, how)
            if track is not None:
                track.log_epoch(outcome.validations)
            return outcome

    def _run(
        self, trainer: "Trainer", stage: str, told: "Callable[[Progress], None] | None", how: dict[str, Any]
    ) -> "TrainingResult":
        if self.folder is None:
            return trainer.run(progress=told, **how)
        from segue.training.checkpoints.checkpoint import Checkpoint

        checkpoint = Checkpoint(self.folder / f"{stage}.checkpoint")
        with checkpoint.save_on_signal():
            return trainer.run(progress=told, checkpoint=checkpoint, **how)
