"""What a training would take, said before it starts: the forecast of a model on a log."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from segue.config.decode import decode, distribute
from segue.data.features.encoding import FeatureConfig
from segue.models.zoo import Counting, find
from segue.training.config import TrainingConfig

if TYPE_CHECKING:
    from segue.data.event_log import EventLog


@dataclass(frozen=True)
class Plan:
    """A forecast in plain numbers."""

    model: str
    events: int
    people: int
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


def plan(log: "EventLog", model: str, values: Mapping[str, Any] | None = None) -> Plan:
    """Times a few seconds of the training and counts its memory.

    ValueError for a counting model, which is fitted in one pass and needs no plan, and where the memory will not do.
    """
    entry = find(model)
    if isinstance(entry, Counting):
        raise ValueError(f"{model} is counted in one pass over the log, seconds for millions of events: just train it.")
    from segue.training.build_net import build_net
    from segue.training.cost_estimate import GB, forecast
    from segue.training.trainer import Trainer

    kinds = {"model": entry.config, "training": TrainingConfig, "features": FeatureConfig}
    shares = distribute(values or {}, kinds)
    # The spectral start takes seconds and changes neither the rate nor the memory of the steps that follow.
    config: Any = decode(entry.config, {**shares["model"], "spectral_start": False})
    training = decode(TrainingConfig, {**entry.training, **shares["training"]})
    catalog = log.catalog()
    sequences, people = log.sequences(catalog)
    found = forecast(Trainer(build_net(config, sequences, catalog.size, 0), sequences, training, 0))
    free = None if found.available_bytes is None else round(found.available_bytes / GB, 2)
    return Plan(
        model=model,
        events=len(log),
        people=len(people),
        items=len(catalog),
        steps=found.steps,
        events_per_s=round(found.events_per_s),
        seconds=round(found.seconds, 1),
        needed_gb=round(found.needed_bytes / GB, 3),
        available_gb=free,
    )
