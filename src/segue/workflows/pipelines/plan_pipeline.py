"""Estimate of the time and memory of a pipeline's training: the sum over the networks among its sources."""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from segue.config.names import normalize_name
from segue.models.rankers.ranker import RANKERS
from segue.models.zoo import ZOO, ClassicEntry
from segue.pipeline.config import PipelineConfig, SourceConfig
from segue.workflows.estimate_cost import TrainingPlan, estimate_training_cost
from segue.workflows.pipelines.fit_sources import is_neural_source, model_key, with_canonical_names

if TYPE_CHECKING:
    from segue.data.event_log import EventLog


@dataclass(frozen=True)
class SourcePlan:
    """Estimated cost of one source or of the ranker."""

    source: str
    """Name of the source, or of the ranker."""
    plan: TrainingPlan | None
    """Estimate; None: there is none."""
    note: str = ""
    """Reason for no estimate."""


@dataclass(frozen=True)
class PipelinePlan:
    """Estimated cost of a pipeline's training: each network once."""

    sources: tuple[SourcePlan, ...]
    """Each source in order, then the ranker."""
    seconds: float
    """Sum of the networks' seconds. ``train_pipeline`` trains each network for the validation, for the test and on
    every event, with fewer epochs after the first time where validation stops it earlier."""
    needed_gb: float
    """Largest memory of one network: they are trained one after the other."""
    available_gb: float | None
    """Free memory; None: unknown."""

    @property
    def without_estimate(self) -> tuple[str, ...]:
        """Names of the sources and of the ranker that the sum leaves out."""
        return tuple(source.source for source in self.sources if source.plan is None and source.note != SHARED)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {**asdict(self), "without_estimate": list(self.without_estimate)}


SHARED = "shares the model of an earlier source"
"""Note of a source whose model is trained for another source already."""


def estimate_pipeline_cost(log: "EventLog", config: PipelineConfig) -> PipelinePlan:
    """Time a few seconds of the training of each network among the sources, and count its memory.

    Args:
        log: the events to train on, with the items table and the contexts that the sources need.
        config: settings of the pipeline.

    Raises:
        ValueError: an unknown model or setting, or too little memory for a network.
    """
    config = with_canonical_names(config)
    plans: list[SourcePlan] = []
    keys: set[str] = set()
    for source in config.source:
        key = model_key(source)
        plans.append(SourcePlan(source.display_name, None, SHARED) if key in keys else _plan_source(log, source))
        keys.add(key)
    if config.rank.model is not None:
        name = normalize_name(config.rank.model)
        note = "ranker: no estimate" if name in RANKERS else "ranker: trained already"
        plans.append(SourcePlan(config.rank.model, None, note))
    estimates = [plan.plan for plan in plans if plan.plan is not None]
    return PipelinePlan(
        tuple(plans),
        round(sum(plan.seconds for plan in estimates), 1),
        max((plan.needed_gb for plan in estimates), default=0.0),
        estimates[0].available_gb if estimates else None,
    )


def _plan_source(log: "EventLog", source: SourceConfig) -> SourcePlan:
    if not is_neural_source(source):
        entry = ZOO.get(source.model)
        passes = "trained in several passes" if isinstance(entry, ClassicEntry) and entry.iterative else "one pass"
        return SourcePlan(source.display_name, None, f"{passes} over the log: no estimate")
    try:
        return SourcePlan(source.display_name, estimate_training_cost(log, source.model, source.settings))
    except ValueError as error:
        raise ValueError(f"The source {source.display_name}: {error}") from None
