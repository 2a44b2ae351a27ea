"""The straight road: a log, a protocol, models -> an honest comparison, or a model put to work."""

from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segue.data.splits.split import split_log
from segue.models import artifact
from segue.models.zoo import canonical_name, is_neural
from segue.workflows.fit_model import FitResult, fit_model, refit_on_all_events

if TYPE_CHECKING:
    from segue.data.event_log import EventLog
from segue.workflows.compare_models import CompareOptions, ModelResult, fit_and_evaluate
from segue.workflows.job import ProgressCallback, TrainJob


def train_model(
    log: "EventLog",
    model: str,
    out: Path,
    values: Mapping[str, Any] | None = None,
    job: TrainJob | None = None,
    told: ProgressCallback | None = None,
) -> tuple[ModelResult, str]:
    """Trains a model, judges it on the log's last part, trains what was chosen once more on every event (``refit``),
    and saves it: (the judged run, the artifact's version).

    The metrics in the artifact are those of the run that was judged, before the last events were trained on.
    """
    job = job or TrainJob()
    split = split_log(log, job.protocol)
    judged = fit_and_evaluate(split, canonical_name(model), values or {}, job, CompareOptions(), told)
    return judged[0], refit_and_save(log, judged, out, job, told)


def train_as_worker(
    log: "EventLog", model: str, values: Mapping[str, Any] | None = None, job: TrainJob | None = None
) -> None:
    """What a process of a team does that does not lead it: its share of the trainings of ``train``; it judges and
    saves nothing."""
    job = job or TrainJob()
    name, split = canonical_name(model), split_log(log, job.protocol)
    if not is_neural(name):
        return
    chosen = fit_model(
        name, split, values, refit=CompareOptions().refits(split), seed=job.seed, work=job.training_run("", None)
    )
    if job.refit:
        catalog = log.catalog()
        sequences, _ = log.sequences(catalog, by=_rows_of(job))
        work, facts = job.training_run("", None), log.item_features(catalog)
        refit_on_all_events(name, sequences, catalog.size, chosen, seed=job.seed, work=work, facts=facts)


def _rows_of(job: TrainJob) -> str:
    """Whether a job's histories are people's or sessions'."""
    return "session" if job.protocol == "sessions" else "user"


def refit_and_save(
    log: "EventLog",
    judged: tuple[ModelResult, FitResult],
    out: Path,
    job: TrainJob | None = None,
    told: ProgressCallback | None = None,
    fitter: Callable[..., FitResult] = refit_on_all_events,
) -> str:
    """Trains what a judged run chose once more on every event (``refit``), saves it, and returns its version.
    ``fitter`` takes what ``fit_all`` takes."""
    job = job or TrainJob()
    result, fitted = judged
    catalog = log.catalog()
    if job.refit:
        what, say = f"training {result.model} on every event", told or (lambda what, how: None)
        sequences, _ = log.sequences(catalog, by=_rows_of(job))
        say(what, None)
        work, facts = job.training_run(what, told), log.item_features(catalog)
        fitted = fitter(result.model, sequences, catalog.size, fitted, seed=job.seed, work=work, facts=facts)
    else:
        catalog = split_log(log, job.protocol).catalog
    about = {key: value for key, value in result.to_dict().items() if key not in ("settings", "model", "refit")}
    about |= {"trained_on_everything": job.refit, "events": len(log), "segue": version("segue")}
    shown = {} if job.items is None else job.items.for_catalog(catalog)
    saved = artifact.Artifact(result.model, fitted.settings, catalog, fitted.scorer.arrays(), shown, about)
    return artifact.save(saved, out)
