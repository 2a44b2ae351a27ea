"""The straight road: a log, a protocol, models -> an honest comparison, or a model put to work."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from segue import memory
from segue.data.cases import Split
from segue.data.items import ItemTable
from segue.data.split import split_log
from segue.evaluation.metrics import BY_RANK
from segue.evaluation.protocol import Evaluation, evaluate
from segue.evaluation.ranks import Ties
from segue.evaluation.significance import paired_difference
from segue.fitting import Fitted, fit, fit_all
from segue.models import artifact
from segue.models.rows import item_counts
from segue.models.zoo import find_name, learns
from segue.work import Work

if TYPE_CHECKING:
    from segue.data.events import EventLog
    from segue.training.standing import Progress
    from segue.training.team import Team

Told = Callable[[str, "Progress | tuple[int, int] | None"], None]
"""Called with what is being done and how far it is; None when it begins."""

TOLD = "; time-aware: the model is told the moment of each target"
"""Added to the protocol of a result that others without it must not be compared with."""


@dataclass(frozen=True)
class Result:
    """One model's row on the leaderboard, with everything that must be said beside its numbers."""

    model: str
    seed: int
    protocol: str
    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    fit_s: float
    evaluate_s: float
    peak_rss_mb: float
    """The process's largest resident memory while this model was fitted and evaluated."""
    test_cases: int
    tie_rule: str
    exclude_seen: bool
    time_aware: bool
    """Whether the model was told the moment of each question; it must be read apart from those that were not."""
    refit: bool
    """Whether the validation events were trained on before the test, with settings chosen without them."""
    dropped: dict[str, int]
    settings: dict[str, Any]
    notes: dict[str, Any]
    data: str
    """The split's fingerprint: rows with the same one are comparable."""
    judged: Evaluation = field(repr=False, compare=False)
    """Every rank, so that two rows can be compared case by case; kept in memory only."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON: all but the single ranks."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "judged"}


def lead(first: Result, second: Result, metric: str = "ndcg@10") -> tuple[float, float, float]:
    """(difference, lower end, upper end): how far the first is ahead of the second on the same cases, with the 95 %
    bootstrap interval over people or sessions. Two rows' own intervals may overlap while this one excludes 0."""
    if first.data != second.data:
        raise ValueError(f"{first.model} and {second.model} were judged on different data and cannot be compared.")
    name, _, k = metric.partition("@")
    values = []
    for judged in (first.judged, second.judged):
        ranks = np.concatenate([judged.ranks, np.full(judged.missed, np.inf)])
        values.append(BY_RANK[name](ranks, int(k)))
    groups = np.concatenate([first.judged.groups, -1 - np.arange(first.judged.missed)])
    return paired_difference(values[0], values[1], groups, np.random.default_rng(0))


@dataclass(frozen=True)
class Comparison:
    """How models are compared."""

    seeds: int = 1
    """Networks are trained once for each of the seeds 0, 1, ...; counting models have no seed."""
    ks: Sequence[int] = (5, 10, 20)
    """List lengths."""
    ties: Ties = "half"
    """The tie rule by name."""
    refit: bool | None = None
    """Train again on training and validation events; None: under every protocol but leave-last-out, whose published
    numbers do not."""

    def refits(self, split: Split) -> bool:
        """Whether a model learns again from training and validation events before the test."""
        return (not split.exclude_seen) if self.refit is None else self.refit

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise ValueError(f"seeds must be at least 1, got {self.seeds}.")
        if not self.ks or min(self.ks) < 1:
            raise ValueError(f"List lengths must be at least 1, got {list(self.ks)}.")


def compare(
    split: Split,
    models: Iterable[str],
    values: Mapping[str, Mapping[str, Any]] | None = None,
    options: Comparison | None = None,
    told: Told | None = None,
) -> list[Result]:
    """Trains and evaluates models side by side on one split; ``values`` are settings by model name.

    Rows come in the order asked for; nothing about the test cases is looked at before a model is complete.
    """
    return [result for result, _ in runs(split, models, values, options, told)]


def runs(
    split: Split,
    models: Iterable[str],
    values: Mapping[str, Mapping[str, Any]] | None = None,
    options: Comparison | None = None,
    told: Told | None = None,
) -> Iterator[tuple[Result, Fitted]]:
    """What ``compare`` lists, one by one as they end, each with its fitted model: whoever wants one can keep it."""
    chosen = options or Comparison()
    for name in models:
        for seed in range(chosen.seeds if learns(name) else 1):
            yield run_one(split, find_name(name), (values or {}).get(name, {}), Job(seed=seed), chosen, told)


def run_one(
    split: Split,
    name: str,
    values: Mapping[str, Any],
    job: "Job",
    options: Comparison,
    told: Told | None,
    fitter: Callable[..., Fitted] = fit,
) -> tuple[Result, Fitted]:
    """Fits one model as the job says and judges it on the test cases: (its row, the fitted model). ``fitter`` takes
    what ``fit`` takes."""
    refit = options.refits(split)
    say = told or (lambda what, how: None)
    say(f"training {name}", None)
    memory.reset_peak()
    fitted = fitter(name, split, values, refit=refit, seed=job.seed, work=job.work(f"training {name}", told))
    say(f"evaluating {name}", None)
    started = time.perf_counter()
    judged = judge(fitted, split, options, lambda done, of: say(f"evaluating {name}", (done, of)))
    result = Result(
        model=name,
        seed=job.seed,
        protocol=split.protocol + (TOLD if judged.time_aware else ""),
        metrics=judged.metrics,
        intervals=judged.intervals,
        fit_s=round(fitted.fit_s, 3),
        evaluate_s=round(time.perf_counter() - started, 3),
        peak_rss_mb=memory.peak_mb(),
        test_cases=judged.cases,
        tie_rule=judged.tie_rule,
        exclude_seen=judged.exclude_seen,
        time_aware=judged.time_aware,
        refit=refit,
        dropped=judged.dropped,
        settings=fitted.settings,
        notes=fitted.notes,
        data=split.fingerprint,
        judged=judged,
    )
    return result, fitted


def judge(
    fitted: Fitted, split: Split, options: Comparison, progress: Callable[[int, int], None] | None = None
) -> Evaluation:
    """A fitted model on the test cases."""
    return evaluate(
        fitted.scorer,
        fitted.asked(split.test),
        exclude_seen=split.exclude_seen,
        ks=options.ks,
        ties=options.ties,
        counts_V=item_counts(split.refit, split.catalog.size),
        progress=progress,
    )


@dataclass(frozen=True)
class Job:
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
    team: "Team | None" = None
    """The processes that train a network together; None: this one alone."""
    log_dir: Path | None = None
    """Where a network's curves for TensorBoard are written; None: nowhere."""

    def work(self, what: str, told: Told | None) -> Work:
        """How a training of this job goes about it; ``told`` hears its progress as ``what``."""
        progress = None if told is None else lambda p: told(what, p)
        return Work(progress, self.folder, self.device, self.team, self.log_dir)


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
