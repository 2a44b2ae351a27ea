"""Estimate of the time and memory of a neural model's training, before it starts."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from segue.config.decode import decode_settings, split_by_config
from segue.data.features.encoding import FeatureConfig
from segue.models.zoo import ClassicEntry, find_model
from segue.training.config import TrainingConfig
from segue.workflows.fit_neural import make_side_data

if TYPE_CHECKING:
    from segue.data.event_log import EventLog


@dataclass(frozen=True)
class TrainingPlan:
    """Estimated cost of one training."""

    model: str
    events: int
    users: int
    items: int
    steps: int
    events_per_s: float
    """Rate of the first steps of this training, measured on this machine."""
    seconds: float
    """Duration of all epochs, without validation and early stopping. ``train_model`` runs them once to choose the epoch
    and once more on every event."""
    needed_gb: float
    available_gb: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


def estimate_training_cost(log: "EventLog", model: str, settings: Mapping[str, Any] | None = None) -> TrainingPlan:
    """Time a few seconds of a training and count its memory.

    Args:
        log: the events to train on, with the items table and the contexts that the settings name.
        model: name of a neural model.
        settings: settings of the model and of its training, by name; None: the defaults.

    Raises:
        ValueError: a classic model, which has no cost estimate, or too little memory.
    """
    entry = find_model(model)
    if isinstance(entry, ClassicEntry):
        raise ValueError(f"{model} has no cost estimate: only neural models have one.")
    from segue.training.build_net import build_net
    from segue.training.cost_estimate import GB, estimate_cost
    from segue.training.trainer import Trainer

    kinds = {"model": entry.config, "training": TrainingConfig, "features": FeatureConfig}
    shares = split_by_config(settings or {}, kinds)
    # The spectral initialization takes seconds; it changes neither the rate nor the memory of the steps.
    config: Any = decode_settings(entry.config, {**shares["model"], "spectral_init": False})
    training = decode_settings(TrainingConfig, {**entry.training, **shares["training"]})
    catalog = log.catalog()
    sequences, users = log.sequences(catalog)
    features = decode_settings(FeatureConfig, shares["features"])
    side_data = make_side_data(features, log.item_features(catalog), sequences)
    estimate = estimate_cost(Trainer(build_net(config, sequences, catalog.size, 0, side_data), sequences, training, 0))
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
