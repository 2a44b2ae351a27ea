"""Row of a leaderboard: a fit and its evaluation on the test cases of a split."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, get_args

import numpy as np

from segue.data.evaluation_cases import Split
from segue.evaluation.evaluate import Evaluation, evaluate
from segue.evaluation.ranks import TieRule
from segue.models.sparse_rows import item_counts
from segue.system import memory_usage
from segue.workflows.fit_model import fit_model
from segue.workflows.fit_result import FitResult
from segue.workflows.job import ProgressCallback, TrainJob

WITHOUT_HISTORY = ("popularity", "trend")
"""Models whose lists do not depend on a history."""
TARGET_TIME_NOTE = "; time-aware: the model receives the time of each target"
"""Suffix of the protocol of a time-aware result, which must not be compared with others."""


@dataclass(frozen=True)
class ModelResult:
    """One row of the leaderboard: a model's metrics, with the conditions that they hold under."""

    model: str
    seed: int
    protocol: str
    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    fit_s: float
    evaluate_s: float
    peak_rss_mb: float
    """Peak resident memory of the process during fit and evaluation, in 10**6 bytes."""
    test_cases: int
    tie_rule: str
    exclude_seen: bool
    time_aware: bool
    """True for a model that receives the time of each target: compare it with such models only."""
    refit: bool
    """True for a model trained on the validation events too, with settings chosen without them."""
    dropped: dict[str, int]
    settings: dict[str, Any]
    notes: dict[str, Any]
    data: str
    """Fingerprint of the split: rows with equal ones are comparable."""
    evaluation: Evaluation = field(repr=False, compare=False)
    """Rank of every case, for paired differences; in memory only."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON: all fields but ``evaluation``."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "evaluation"}


@dataclass(frozen=True)
class CompareOptions:
    """Seeds, cutoffs, tie rule and refit of a comparison."""

    seeds: int = 1
    """Number of seeds of each neural model, 0, 1, ...; at least 1. Classic models are fitted once."""
    ks: Sequence[int] = (5, 10, 20)
    """Cutoffs of the metrics, each at least 1."""
    ties: TieRule = "expected"
    """Rule for a target with equal scores: expected (the metric's mean over their orders), or one certain rank: half,
    conservative or optimistic."""
    refit: bool | None = None
    """Train again on training and validation events; None: yes, except under protocols that exclude seen items, whose
    published results do not."""
    without_cases: bool = False
    """Fit a model that needs no history although there is no test case; it is not evaluated then."""

    def refits(self, split: Split) -> bool:
        """Return whether models are trained again on training and validation events before the test."""
        return (not split.exclude_seen) if self.refit is None else self.refit

    def __post_init__(self) -> None:
        if self.ties not in get_args(TieRule):
            raise ValueError(f"There is no rule '{self.ties}' for ties. The rules: {', '.join(get_args(TieRule))}.")
        if self.seeds < 1:
            raise ValueError(f"seeds must be at least 1, got {self.seeds}.")
        if not self.ks or min(self.ks) < 1:
            raise ValueError(f"List lengths must be at least 1, got {list(self.ks)}.")


def fit_and_evaluate(
    split: Split,
    name: str,
    settings: Mapping[str, Any],
    job: "TrainJob",
    options: CompareOptions,
    progress: ProgressCallback | None,
    fit: Callable[..., FitResult] = fit_model,
) -> tuple[ModelResult, FitResult]:
    """Fit one model and evaluate it on the test cases.

    Args:
        split: events and evaluation cases.
        name: canonical name of the model.
        settings: settings of the model and of its training, by name.
        job: seed, device and checkpoints.
        options: cutoffs, ties and refit.
        progress: called with each stage and its state; None: no reports.
        fit: function with the parameters of ``fit_model``.

    Returns:
        (result, fitted model).

    Raises:
        ValueError: there is no test case, and the model needs one.
    """
    check_cases(name, split, options)
    refit = options.refits(split)
    report = progress or (lambda stage, state: None)
    report(f"training {name}", None)
    memory_usage.reset_peak()
    run = job.training_run(f"training {name}", progress)
    fitted = fit(name, split, settings, refit=refit, seed=job.seed, run=run)
    report(f"evaluating {name}", None)
    started = time.perf_counter()
    evaluation = evaluate_fitted(
        fitted, split, options, lambda done, total: report(f"evaluating {name}", (done, total))
    )
    result = ModelResult(
        model=name,
        seed=job.seed,
        protocol=split.protocol + (TARGET_TIME_NOTE if evaluation.time_aware else ""),
        metrics=evaluation.metrics,
        intervals=evaluation.intervals,
        fit_s=round(fitted.fit_s, 3),
        evaluate_s=round(time.perf_counter() - started, 3),
        peak_rss_mb=memory_usage.peak_mb(),
        test_cases=evaluation.cases,
        tie_rule=evaluation.tie_rule,
        exclude_seen=evaluation.exclude_seen,
        time_aware=evaluation.time_aware,
        refit=refit,
        dropped=evaluation.dropped,
        settings=fitted.settings,
        notes=fitted.notes,
        data=split.fingerprint,
        evaluation=evaluation,
    )
    return result, fitted


def check_cases(name: str, split: Split, options: CompareOptions) -> None:
    """Check that there is a test case, before a model is fitted that could not be evaluated.

    Args:
        name: canonical name of the model.
        split: events and evaluation cases.
        options: whether a model that needs no history is fitted without any case.

    Raises:
        ValueError: there is none, and the model needs histories.
    """
    if _has_cases(split) or (options.without_cases and name in WITHOUT_HISTORY):
        return
    raise ValueError(
        f"There is no case to evaluate; dropped: {split.test.dropped or 'none'}. A case is an event of the test with "
        f"an earlier event of its user. Without any, 'segue train' fits "
        f"{' and '.join(WITHOUT_HISTORY)}, which need no histories."
    )


def _has_cases(split: Split) -> bool:
    return len(split.test) + split.test.missed > 0


def evaluate_fitted(
    fitted: FitResult, split: Split, options: CompareOptions, progress: Callable[[int, int], None] | None = None
) -> Evaluation:
    """Evaluate a fitted model on the test cases.

    Args:
        fitted: the model.
        split: its test cases, and the events that coverage and novelty are counted from.
        options: cutoffs and ties.
        progress: called with (cases done, cases in all); None: no reports.
    """
    if not _has_cases(split):
        nothing, none = np.empty(0), np.empty(0, dtype=np.int64)
        return Evaluation({}, {}, nothing, none, none, options.ties, split.exclude_seen, split.test.dropped, 0)
    return evaluate(
        fitted.scorer,
        fitted.with_target_times(split.test),
        exclude_seen=split.exclude_seen,
        ks=options.ks,
        ties=options.ties,
        counts_V=item_counts(split.refit, split.catalog.size),
        progress=progress,
    )
