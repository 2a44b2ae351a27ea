"""Fit, evaluation and save of a pipeline: its sources on training events, then its blend on validation cases.

The blend is not fitted on events that a source was fitted on. Only after it are the sources fitted again on more
events.
"""

import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segue.data.catalog import Catalog
from segue.data.evaluation_cases import Split
from segue.data.sequences import Sequences
from segue.data.splits.split import split_log
from segue.pipeline.candidates.builtin_sources import SourceData
from segue.pipeline.config import PipelineConfig
from segue.pipeline.item_statistics import ItemStatistics
from segue.pipeline.persistence import saved_settings
from segue.pipeline.pipeline import Pipeline, distinct_sources
from segue.pipeline.placements.check_placements import check_placements
from segue.workflows.comparison.model_result import CompareOptions, ModelResult, fit_and_evaluate
from segue.workflows.fit_blend import fit_blend, sample_cases
from segue.workflows.fit_model import refit_on_all_events
from segue.workflows.fit_result import FitResult
from segue.workflows.fit_second_stage import fit_second_stage, load_saved_ranker, refit_second_stage
from segue.workflows.job import ProgressCallback, TrainJob
from segue.workflows.pipelines.fit_sources import (
    RefitModel,
    ReportProgress,
    build_sources,
    check_item_columns,
    fit_models,
    is_neural_source,
    model_key,
    refit_models,
    with_canonical_names,
    with_side_columns,
)
from segue.workflows.probabilities.fit_without_history import fit_without_history
from segue.workflows.train_model import refit_and_save
from segue.workflows.training_run import TrainingRun

if TYPE_CHECKING:
    from segue.data.event_log import EventLog


def fit_pipeline(
    split: Split,
    config: PipelineConfig,
    *,
    refit: bool = False,
    seed: int = 0,
    run: TrainingRun | None = None,
    report: ReportProgress = lambda stage: None,
) -> FitResult:
    """Fit the sources on the training events, and blend, trees and ranker on validation.

    Args:
        split: training events and validation cases.
        config: settings of the pipeline.
        refit: fit the sources again on training and validation events.
        seed: random seed; equal arguments give equal pipelines.
        run: device, checkpoints and progress of the neural models; None: the defaults.
        report: called with the name of each stage.

    Raises:
        ValueError: an unknown source, ranker or setting.
    """
    started = time.perf_counter()
    config = with_canonical_names(config)
    check_pipeline_data(split, config)
    models = fit_models(split, config, seed, run, report)
    item_statistics = ItemStatistics.fit(split.train, split.catalog)
    sources, recalls = build_sources(models, config, split.validation.histories)
    report("fitting the blend")
    scoring, notes = fit_blend(sources, item_statistics, split, config, seed)
    second = None
    if config.rank.model is not None:
        first_stage = Pipeline(sources, scoring, item_statistics, config, exclude_seen=split.exclude_seen)
        two_stage, notes["ranker"] = fit_second_stage(first_stage, split, seed, report)
        scoring, second = two_stage.scoring, two_stage.second_stage
    evaluated = Pipeline(
        sources, scoring, item_statistics, config, exclude_seen=split.exclude_seen, second_stage=second
    )
    cases = sample_cases(split.validation, split.exclude_seen, config.rank.max_cases, seed)
    scoring = fit_without_history(evaluated, cases)
    if refit:
        models = refit_models(SourceData(split.refit, split.catalog, split.item_features), models, seed, run, report)
        sources, recalls = build_sources(models, config, split.validation.histories)
        item_statistics = ItemStatistics.fit(split.refit, split.catalog)
    pipeline = Pipeline(sources, scoring, item_statistics, config, exclude_seen=split.exclude_seen, second_stage=second)
    notes |= {"models": {key: model.notes for key, model in models.items()}}
    if recalls:
        notes["approximate_recall"] = recalls
    return _fit_result(pipeline, models, notes, time.perf_counter() - started)


def check_pipeline_data(split: Split, config: PipelineConfig) -> None:
    """Check that a split has the item columns of the sources, and that a ranker from a folder belongs to it.

    Args:
        split: training events and item features.
        config: settings of the pipeline.

    Raises:
        ValueError: a column is missing, or the ranker was trained on other events.
    """
    check_item_columns(config, None if split.item_features is None else split.item_features.column_types)
    load_saved_ranker(config.rank, split)


def refit_pipeline(
    data: SourceData,
    fitted: FitResult,
    *,
    old_catalog: Catalog | None = None,
    seed: int = 0,
    run: TrainingRun | None = None,
    report: ReportProgress = lambda stage: None,
    refit: RefitModel = refit_on_all_events,
) -> FitResult:
    """Fit the sources of a pipeline again on every event; its blend stays.

    Args:
        data: every event, its catalog and item features.
        fitted: result of ``fit_pipeline``.
        old_catalog: catalog of ``fitted``; None: that of ``data``.
        seed: random seed.
        run: as in ``fit_pipeline``.
        report: called with the name of each stage.
        refit: fits a model of the zoo again.
    """
    started, sequences, catalog = time.perf_counter(), data.sequences, data.catalog
    old_pipeline = fitted.scorer
    assert isinstance(old_pipeline, Pipeline)
    notes: Mapping[str, Any] = fitted.notes.get("models", {})
    models = {
        model_key(one): FitResult(
            source.scorer, dict(_settings_of_source(fitted, s)), dict(notes.get(model_key(one), {})), 0.0
        )
        for s, (one, source) in enumerate(zip(old_pipeline.config.source, old_pipeline.sources, strict=True))
    }
    models = refit_models(data, models, seed, run, report, refit)
    sources, _ = build_sources(models, old_pipeline.config, sequences)
    item_statistics = ItemStatistics.fit(sequences, catalog)
    second = (
        None
        if old_pipeline.second_stage is None
        else refit_second_stage(old_pipeline.second_stage, old_catalog or catalog, sequences, catalog)
    )
    pipeline = Pipeline(
        sources,
        old_pipeline.scoring,
        item_statistics,
        old_pipeline.config,
        exclude_seen=old_pipeline.exclude_seen,
        second_stage=second,
    )
    return _fit_result(pipeline, models, fitted.notes, time.perf_counter() - started)


def fit_as_model(
    name: str,
    split: Split,
    settings: Mapping[str, Any],
    *,
    config: PipelineConfig,
    progress: ProgressCallback | None = None,
    **options: Any,
) -> FitResult:
    """Fit a pipeline by a function with the parameters of ``fit_model``.

    Args:
        name: name in reports.
        split: see ``fit_pipeline``.
        settings: none; the settings of the sources stand in ``config``.
        config: settings of the pipeline.
        progress: called with each stage; None: no reports.
        options: ``refit``, ``seed`` and ``run`` of ``fit_pipeline``.
    """
    return fit_pipeline(split, config, report=stage_reporter(progress), **options)


def stage_reporter(progress: ProgressCallback | None) -> ReportProgress:
    """Return a function that reports the name of a stage."""
    return lambda stage: None if progress is None else progress(stage, None)


def train_pipeline(
    log: "EventLog",
    config: PipelineConfig,
    out: Path,
    job: TrainJob | None = None,
    progress: ProgressCallback | None = None,
) -> tuple[ModelResult, str]:
    """Fit a pipeline, evaluate it on the test cases, fit its sources again on every event (``refit``), and save it.

    The rules of its placements are checked first, see ``check_rules``.

    Args:
        log: the events.
        config: settings of the pipeline.
        out: folder of the saved pipeline.
        job: protocol, seed and the rest; None: the defaults.
        progress: called with each stage and its state; None: no reports.

    Returns:
        (result of the evaluated pipeline, version of the saved one).

    Raises:
        ValueError: a rule of a placement with an unknown column or a wrong filter, before the training.
    """
    job = job or TrainJob()
    log = with_side_columns(log, config, job.items)
    check_rules(log, config, job)

    def refit(
        name: str, sequences: Sequences, size: int, fitted: FitResult, *, item_features: Any, **options: Any
    ) -> FitResult:
        data = SourceData(sequences, log.catalog(), item_features)
        return refit_pipeline(data, fitted, old_catalog=split.catalog, report=stage_reporter(progress), **options)

    split = split_log(log, job.protocol)
    fit = partial(fit_as_model, config=config, progress=progress)
    result, fitted = fit_and_evaluate(split, Pipeline.name, {}, job, CompareOptions(), progress, fit)
    return result, refit_and_save(log, result, fitted, out, job, progress, refit)


def check_rules(log: "EventLog", config: PipelineConfig, job: TrainJob) -> list[str]:
    """Check the rules of all placements before the training, and return sentences about suspicious ones.

    Args:
        log: the events.
        config: settings of the pipeline.
        job: items table.

    Raises:
        ValueError: a rule with an unknown column or a wrong filter.
    """
    catalog, frame = log.catalog(), log.frame
    rows = {} if job.items is None else job.items.for_catalog(catalog)
    types = frame["event"].drop_nulls().unique().to_list() if "event" in frame.columns else None
    networks = any(is_neural_source(source) for source in config.source)
    return check_placements(config.placement, catalog, rows, types, has_embeddings=networks)


def _settings_of_source(chosen: FitResult, source: int) -> Mapping[str, Any]:
    models: list[dict[str, Any]] = chosen.settings["models"]
    own: dict[str, Any] = models[chosen.settings["model_of_source"][source]]["settings"]
    return own


def _fit_result(pipeline: Pipeline, models: Mapping[str, FitResult], notes: dict[str, Any], fit_s: float) -> FitResult:
    scorers, _ = distinct_sources(pipeline)
    owners = {id(model.scorer): model for model in models.values()}
    own = {m: owners[id(scorer)].settings for m, scorer in enumerate(scorers)}
    return FitResult(pipeline, saved_settings(pipeline, own), notes, fit_s)
