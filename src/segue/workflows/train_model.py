"""Training of one model, from an event log to a saved model. Here the whole library reads as one pipeline::

split_log  ->  fit_model  ->  evaluate  ->  refit_on_all_events  ->  artifact.save
train,         epoch and      test cases,   the same settings on     a folder that
validation,    weights by     no event of   every event, those of    ``segue serve``
test           validation     them trained  the test included        and ``load`` read
"""

from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segue.config.names import normalize_name
from segue.data.splits.split import split_log
from segue.models import artifact
from segue.models.zoo import ZOO, ClassicEntry, canonical_name, is_neural
from segue.workflows.comparison.model_result import CompareOptions, ModelResult, fit_and_evaluate
from segue.workflows.fit_model import calibrated, fit_model, refit_on_all_events
from segue.workflows.fit_result import FitResult
from segue.workflows.job import ProgressCallback, TrainJob

if TYPE_CHECKING:
    from segue.data.catalog import Catalog
    from segue.data.event_log import EventLog


def train_model(
    log: "EventLog",
    model: str,
    out: Path,
    settings: Mapping[str, Any] | None = None,
    job: TrainJob | None = None,
    progress: ProgressCallback | None = None,
) -> tuple[ModelResult, str]:
    """Train a model, evaluate it on the test cases, train it again on every event (``refit``), and save it.

    Args:
        log: the events.
        model: name of a model, or several names with "+" between them for an ensemble.
        out: folder of the saved model.
        settings: settings of the model and of its training, by name; None: the defaults.
        job: protocol, seed and the rest; None: the defaults.
        progress: called with each stage and its state; None: no reports.

    Returns:
        (result of the evaluated model, version of the saved one). A model that needs no history is saved without
        metrics if the log has no test case. The saved metrics are those of the evaluated model,
        which was not trained on the test events.
    """
    job = job or TrainJob()
    split = split_log(log, job.protocol)
    result, fitted = fit_and_evaluate(
        split, canonical_name(model), settings or {}, job, CompareOptions(without_cases=True), progress
    )
    return result, refit_and_save(log, result, fitted, out, job, progress)


def refit_and_save(
    log: "EventLog",
    result: ModelResult,
    fitted: FitResult,
    out: Path,
    job: TrainJob | None = None,
    progress: ProgressCallback | None = None,
    refit: Callable[..., FitResult] = refit_on_all_events,
) -> str:
    """Train an evaluated model again on every event (``job.refit``), save it, and return the version.

    Args:
        log: every event.
        result: row of the evaluated model; its metrics are saved.
        fitted: the evaluated model.
        out: folder of the saved model.
        job: refit, seed and items table; None: the defaults.
        progress: called with the stage and its state; None: no reports.
        refit: function with the parameters of ``refit_on_all_events``.
    """
    job = job or TrainJob()
    is_classic = isinstance(ZOO.get(result.model), ClassicEntry)
    split = split_log(log, job.protocol) if is_classic or not job.refit else None
    if is_classic and split is not None:
        fitted = calibrated(fitted, result.model, split)
    if split is None or job.refit:
        catalog = log.catalog()
        stage = f"training {result.model} on every event"
        if progress is not None:
            progress(stage, None)
        fitted = _refit(log, catalog, result.model, fitted, job, (stage, progress), refit)
    else:
        catalog = split.catalog
    about = {key: value for key, value in result.to_dict().items() if key not in ("settings", "model", "refit")}
    about |= {"trained_on_everything": job.refit, "events": len(log), "segue": version("segue")}
    about |= {"log": log.description.to_dict(), "sequences_by": _sequence_key(job)}
    about |= {"newest_event_us": int(log.frame["timestamp"].to_numpy().max())} if log.has_times and len(log) else {}
    about["notes"] = fitted.notes
    items = {} if job.items is None else job.items.for_catalog(catalog)
    about |= {} if job.items is None else {"item_columns": dict(job.items.column_types)}
    saved = artifact.Artifact(result.model, fitted.settings, catalog, fitted.scorer.arrays(), items, about)
    return artifact.save(saved, out)


def train_as_worker(
    log: "EventLog", model: str, settings: Mapping[str, Any] | None = None, job: TrainJob | None = None
) -> None:
    """Run the trainings of ``train_model`` in a process of a group that is not its main one.

    It evaluates and saves nothing. A classic model has no training to share.

    Args:
        log: the events, the same in every process.
        model: as in ``train_model``.
        settings: as in ``train_model``.
        job: as in ``train_model``, with the process group.
    """
    job = job or TrainJob()
    name, split = canonical_name(model), split_log(log, job.protocol)
    if not is_neural(name):
        return
    run = job.training_run("", None)
    fitted = fit_model(name, split, settings, refit=CompareOptions().refits(split), seed=job.seed, run=run)
    if job.refit:
        _refit(log, log.catalog(), name, fitted, job, ("", None), refit_on_all_events)


def _refit(
    log: "EventLog",
    catalog: "Catalog",
    model: str,
    fitted: FitResult,
    job: TrainJob,
    reported: tuple[str, ProgressCallback | None],
    refit: Callable[..., FitResult],
) -> FitResult:
    """Train the model again on every event; ``reported``: the stage and its callback."""
    sequences, _ = log.sequences(catalog, by=_sequence_key(job))
    run, features = job.training_run(*reported), log.item_features(catalog)
    return refit(model, sequences, catalog.size, fitted, seed=job.seed, run=run, item_features=features)


def _sequence_key(job: TrainJob) -> str:
    return "session" if normalize_name(job.protocol) == "sessions" else "user"
