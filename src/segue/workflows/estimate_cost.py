"""What a training would take, said before it starts: the forecast of a model on a log."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from segue.config.decode import decode_settings, split_by_config
from segue.data.features.encoding import FeatureConfig
from segue.models.zoo import ClassicEntry, find_model
from segue.training.config import TrainingConfig

if TYPE_CHECKING:
    from segue.data.event_log import EventLog


@dataclass(frozen=True)
class TrainingPlan:
    """A forecast in plain numbers."""

    model: str
    events: int
    users: int
    items: int
    steps: int
    events_per_s: float
    """Measured on this machine, on the first steps of this very training."""
    seconds: float
    """All epochs; validation and stopping early not counted. ``train`` runs them once to choose and once more on
    everything."""
    needed_gb: float
    available_gb: float | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def estimate_training_cost(log: "EventLog", model: str, settings: Mapping[str, Any] | None = None) -> TrainingPlan:
    """Times a few seconds of the training and counts its memory.

    ValueError for a classic model, which has no cost estimate, and where the memory will not do.
    """
    entry = find_model(model)
    if isinstance(entry, ClassicEntry):
        raise ValueError(f"{model} has no cost estimate: only neural models have one.")
    from segue.training.build_net import build_net
    from segue.training.cost_estimate import GB, estimate_cost
    from segue.training.trainer import Trainer

    kinds = {"model": entry.config, "training": TrainingConfig, "features": FeatureConfig}
    shares = split_by_config(settings or {}, kinds)
    # The spectral start takes seconds and changes neither the rate nor the memory of the steps that follow.
    config: Any = decode_settings(entry.config, {**shares["model"], "spectral_init": False})
    training = decode_settings(TrainingConfig, {**entry.training, **shares["training"]})
    catalog = log.catalog()
    sequences, users = log.sequences(catalog)
    estimate = estimate_cost(Trainer(build_net(config, sequences, catalog.size, 0), sequences, training, 0))
    free = None if estimate.available_bytes is None else round(estimate.available_bytes / GB, 2)
    return TrainingPlan(
        model=model,
        events=len(log),
        users=len(users),
        items=len(catalog),
        steps=estimate.steps,
        events_per_s=round(estimate.events_per_s),
        seconds=round(estimate.seconds, 1),
        needed_gb=round(estimate.needed_bytes / GB, 3),
        available_gb=free,
    )
