"""Comparison of models and pipelines on one split: fit and evaluate each, with intervals and paired differences."""

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from segue.data.evaluation_cases import Split
from segue.evaluation.bootstrap import paired_difference
from segue.models.zoo import canonical_name, is_neural
from segue.pipeline.config import PipelineConfig, read_pipeline
from segue.workflows.comparison.model_result import CompareOptions, ModelResult, fit_and_evaluate
from segue.workflows.fit_result import FitResult
from segue.workflows.job import ProgressCallback, TrainJob
from segue.workflows.pipelines.fit_sources import is_neural_source, with_side_data
from segue.workflows.train_pipeline import check_pipeline_data, fit_as_model

PIPELINE_SUFFIX = ".toml"
"""End of the name of a pipeline's file among the names of models."""


def metric_difference(first: ModelResult, second: ModelResult, metric: str = "ndcg@10") -> tuple[float, float, float]:
    """Return the paired difference of a metric of two results, with its 95 % interval.

    The interval is a bootstrap over users or sessions. It may exclude 0 while the results' own intervals overlap.

    Args:
        first: a result.
        second: another result on the same split.
        metric: name and cutoff, as ``ndcg@10``.

    Returns:
        (first minus second, lower end, upper end).

    Raises:
        ValueError: the results are of different splits.
    """
    if first.data != second.data:
        raise ValueError(f"{first.model} and {second.model} were evaluated on different data and cannot be compared.")
    name, _, k = metric.partition("@")
    values = []
    for evaluation in (first.evaluation, second.evaluation):
        values.append(np.concatenate([evaluation.values(name, int(k)), np.zeros(evaluation.missed)]))
    groups = np.concatenate([first.evaluation.groups, -1 - np.arange(first.evaluation.missed)])
    return paired_difference(values[0], values[1], groups, np.random.default_rng(0))


def compare(
    split: Split,
    models: Iterable[str],
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    options: CompareOptions | None = None,
    progress: ProgressCallback | None = None,
) -> list[ModelResult]:
    """Train and evaluate models and pipelines on one split.

    Every choice (epoch, weights, blend) is made on validation; the test cases are scored once, by the complete model.

    Args:
        split: events and evaluation cases, see ``split_log``.
        models: names of models, and paths of pipelines' files that end in .toml. Several names with "+" between them
            are an ensemble.
        settings: settings by model name, and ``features`` and ``contexts`` of a pipeline's networks by its path; None:
            the defaults.
        options: seeds, cutoffs, ties and refit; None: the defaults.
        progress: called with each stage and its state; None: no reports.

    Returns:
        One result for each model and seed, in the order of ``models``.

    Raises:
        ValueError: an unknown model, a wrong setting, or a setting that the split does not allow.
    """
    return [result for result, _ in iter_results(split, models, settings, options, progress)]


def iter_results(
    split: Split,
    models: Iterable[str],
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    options: CompareOptions | None = None,
    progress: ProgressCallback | None = None,
) -> Iterator[tuple[ModelResult, FitResult]]:
    """Yield each result of ``compare`` with its fitted model, as soon as it is evaluated.

    Args:
        split: see ``compare``.
        models: see ``compare``.
        settings: see ``compare``.
        options: see ``compare``.
        progress: see ``compare``.
    """
    resolved, names = options or CompareOptions(), list(models)
    settings = settings or {}
    configs = {
        name: with_side_data(read_pipeline(Path(name)), settings.get(name, {}))
        for name in names
        if is_pipeline_file(name)
    }
    for config in configs.values():  # before the first training
        check_pipeline_data(split, config)
    for name in names:
        if name in configs:
            yield from _pipeline_results(split, name, configs[name], resolved, progress)
            continue
        for seed in range(resolved.seeds if is_neural(name) else 1):
            own = settings.get(name, {})
            yield fit_and_evaluate(split, canonical_name(name), own, TrainJob(seed=seed), resolved, progress)


def is_pipeline_file(name: str) -> bool:
    """Return True for the path of a pipeline's settings instead of the name of a model."""
    return name.lower().endswith(PIPELINE_SUFFIX)


def _pipeline_results(
    split: Split, name: str, config: PipelineConfig, options: CompareOptions, progress: ProgressCallback | None
) -> Iterator[tuple[ModelResult, FitResult]]:
    """Yield the result of each seed; a pipeline without a network and a ranker has one."""
    is_random = config.rank.model is not None or any(is_neural_source(source) for source in config.source)
    for seed in range(options.seeds if is_random else 1):
        fit = partial(fit_as_model, config=config, progress=progress)
        yield fit_and_evaluate(split, name, {}, TrainJob(seed=seed), options, progress, fit)
