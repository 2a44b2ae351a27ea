"""The straight road: a log, a protocol, models -> an honest comparison, or a model put to work."""

from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segue.data.splits.split import split_log
from segue.models import artifact
from segue.models.zoo import find_name, learns
from segue.workflows.fit_model import Fitted, fit, fit_all

if TYPE_CHECKING:
    from segue.data.event_log import EventLog
from segue.workflows.compare_models import Comparison, Result, run_one
from segue.workflows.job import Job, Told


def train(
    log: "EventLog",
    model: str,
    out: Path,
    values: Mapping[str, Any] | None = None,
    job: Job | None = None,
    told: Told | None = None,
) -> tuple[Result, str]:
    """Trains a model, judges it on the log's last part, trains what was chosen once more on every event (``refit``),
    and saves it: (the judged run, the artifact's version).

    The metrics in the artifact are those of the run that was judged, before the last events were trained on.
    """
    job = job or Job()
    split = split_log(log, job.protocol)
    judged = run_one(split, find_name(model), values or {}, job, Comparison(), told)
    return judged[0], put_to_work(log, judged, out, job, told)


def follow(log: "EventLog", model: str, values: Mapping[str, Any] | None = None, job: Job | None = None) -> None:
    """What a process of a team does that does not lead it: its share of the trainings of ``train``; it judges and
    saves nothing."""
    job = job or Job()
    name, split = find_name(model), split_log(log, job.protocol)
    if not learns(name):
        return
    chosen = fit(name, split, values, refit=Comparison().refits(split), seed=job.seed, work=job.work("", None))
    if job.refit:
        catalog = log.catalog()
        sequences, _ = log.sequences(catalog, by=_rows_of(job))
        work, facts = job.work("", None), log.facts(catalog)
        fit_all(name, sequences, catalog.size, chosen, seed=job.seed, work=work, facts=facts)


def _rows_of(job: Job) -> str:
    """Whether a job's histories are people's or sessions'."""
    return "session" if job.protocol == "sessions" else "user"


def put_to_work(
    log: "EventLog",
    judged: tuple[Result, Fitted],
    out: Path,
    job: Job | None = None,
    told: Told | None = None,
    fitter: Callable[..., Fitted] = fit_all,
) -> str:
    """Trains what a judged run chose once more on every event (``refit``), saves it, and returns its version.
    ``fitter`` takes what ``fit_all`` takes."""
    job = job or Job()
    result, fitted = judged
    catalog = log.catalog()
    if job.refit:
        what, say = f"training {result.model} on every event", told or (lambda what, how: None)
        sequences, _ = log.sequences(catalog, by=_rows_of(job))
        say(what, None)
        work, facts = job.work(what, told), log.facts(catalog)
        fitted = fitter(result.model, sequences, catalog.size, fitted, seed=job.seed, work=work, facts=facts)
    else:
        catalog = split_log(log, job.protocol).catalog
    about = {key: value for key, value in result.to_dict().items() if key not in ("settings", "model", "refit")}
    about |= {"trained_on_everything": job.refit, "events": len(log), "segue": version("segue")}
    shown = {} if job.items is None else job.items.for_catalog(catalog)
    saved = artifact.Artifact(result.model, fitted.settings, catalog, fitted.scorer.arrays(), shown, about)
    return artifact.save(saved, out)
