"""Compare models on one split: fit each, evaluate each, rank the results."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from segue.data.evaluation_cases import Split
from segue.evaluation.bootstrap import paired_difference
from segue.evaluation.evaluate import Evaluation, evaluate
from segue.evaluation.metrics import BY_RANK
from segue.evaluation.ranks import TieRule
from segue.models.sparse_rows import item_counts
from segue.models.zoo import canonical_name, is_neural
from segue.system import memory_usage
from segue.workflows.fit_model import FitResult, fit_model
from segue.workflows.job import ProgressCallback, TrainJob

TARGET_TIME_NOTE = "; time-aware: the model is told the moment of each target"
"""Added to the protocol of a result that others without it must not be compared with."""


@dataclass(frozen=True)
class ModelResult:
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


def metric_difference(first: ModelResult, second: ModelResult, metric: str = "ndcg@10") -> tuple[float, float, float]:
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
class CompareOptions:
    """How models are compared."""

    seeds: int = 1
    """Networks are trained once for each of the seeds 0, 1, ...; counting models have no seed."""
    ks: Sequence[int] = (5, 10, 20)
    """List lengths."""
    ties: TieRule = "half"
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
    options: CompareOptions | None = None,
    told: ProgressCallback | None = None,
) -> list[ModelResult]:
    """Trains and evaluates models side by side on one split; ``values`` are settings by model name.

    Rows come in the order asked for; nothing about the test cases is looked at before a model is complete.
    """
    return [result for result, _ in iter_results(split, models, values, options, told)]


def iter_results(
    split: Split,
    models: Iterable[str],
    values: Mapping[str, Mapping[str, Any]] | None = None,
    options: CompareOptions | None = None,
    told: ProgressCallback | None = None,
) -> Iterator[tuple[ModelResult, FitResult]]:
    """What ``compare`` lists, one by one as they end, each with its fitted model: whoever wants one can keep it."""
    chosen = options or CompareOptions()
    for name in models:
        for seed in range(chosen.seeds if is_neural(name) else 1):
            yield fit_and_evaluate(
                split, canonical_name(name), (values or {}).get(name, {}), TrainJob(seed=seed), chosen, told
            )


def fit_and_evaluate(
    split: Split,
    name: str,
    values: Mapping[str, Any],
    job: "TrainJob",
    options: CompareOptions,
    told: ProgressCallback | None,
    fitter: Callable[..., FitResult] = fit_model,
) -> tuple[ModelResult, FitResult]:
    """Fits one model as the job says and judges it on the test cases: (its row, the fitted model). ``fitter`` takes
    what ``fit`` takes."""
    refit = options.refits(split)
    say = told or (lambda what, how: None)
    say(f"training {name}", None)
    memory_usage.reset_peak()
    fitted = fitter(name, split, values, refit=refit, seed=job.seed, work=job.training_run(f"training {name}", told))
    say(f"evaluating {name}", None)
    started = time.perf_counter()
    judged = evaluate_fitted(fitted, split, options, lambda done, of: say(f"evaluating {name}", (done, of)))
    result = ModelResult(
        model=name,
        seed=job.seed,
        protocol=split.protocol + (TARGET_TIME_NOTE if judged.time_aware else ""),
        metrics=judged.metrics,
        intervals=judged.intervals,
        fit_s=round(fitted.fit_s, 3),
        evaluate_s=round(time.perf_counter() - started, 3),
        peak_rss_mb=memory_usage.peak_mb(),
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


def evaluate_fitted(
    fitted: FitResult, split: Split, options: CompareOptions, progress: Callable[[int, int], None] | None = None
) -> Evaluation:
    """A fitted model on the test cases."""
    return evaluate(
        fitted.scorer,
        fitted.with_target_times(split.test),
        exclude_seen=split.exclude_seen,
        ks=options.ks,
        ties=options.ties,
        counts_V=item_counts(split.refit, split.catalog.size),
        progress=progress,
    )
