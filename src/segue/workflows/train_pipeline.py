"""Fit, evaluation and save of a pipeline: its sources on training events, then its blend on validation cases.

The blend is not fitted on events that a source was fitted on. Only after it are the sources fitted again on more
events.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segue.config.decode import decode_settings
from segue.config.names import normalize_name
from segue.data.catalog import Catalog
from segue.data.evaluation_cases import Split
from segue.data.sequences import Sequences
from segue.data.splits.split import split_log
from segue.models.knn.content_knn import ContentKNN
from segue.models.scorer import Scorer
from segue.models.zoo import ZOO, NeuralEntry, canonical_name
from segue.pipeline.candidates.builtin_sources import BUILTIN_SOURCES, SourceData
from segue.pipeline.candidates.source import CandidateSource, as_vector_scorer
from segue.pipeline.candidates.vector_index import HNSWIndex, approximate_if_good
from segue.pipeline.config import PipelineConfig, SourceConfig
from segue.pipeline.item_statistics import ItemStatistics
from segue.pipeline.persistence import saved_settings
from segue.pipeline.pipeline import Pipeline, distinct_sources
from segue.pipeline.placements.check_placements import check_placements
from segue.workflows.compare_models import CompareOptions, ModelResult, fit_and_evaluate
from segue.workflows.fit_blend import fit_blend, sample_cases
from segue.workflows.fit_model import fit_model, refit_on_all_events
from segue.workflows.fit_result import FitResult
from segue.workflows.fit_second_stage import fit_second_stage, load_saved_ranker, refit_second_stage
from segue.workflows.job import ProgressCallback, TrainJob
from segue.workflows.probabilities.fit_without_history import fit_without_history
from segue.workflows.train_model import refit_and_save
from segue.workflows.training_run import TrainingRun

if TYPE_CHECKING:
    from segue.data.event_log import EventLog

NUM_INDEX_QUERIES = 200
"""Number of histories that measure the recall of an approximate index."""

ReportProgress = Callable[[str], None]


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
    load_saved_ranker(config.rank, split)
    models = _fit_models(split, config, seed, run, report)
    item_statistics = ItemStatistics.fit(split.train, split.catalog)
    sources, recalls = _sources(models, config, split.validation.histories)
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
        models = _refit_models(SourceData(split.refit, split.catalog, split.item_features), models, seed, run, report)
        sources, recalls = _sources(models, config, split.validation.histories)
        item_statistics = ItemStatistics.fit(split.refit, split.catalog)
    pipeline = Pipeline(sources, scoring, item_statistics, config, exclude_seen=split.exclude_seen, second_stage=second)
    notes |= {"models": {key: model.notes for key, model in models.items()}}
    if recalls:
        notes["approximate_recall"] = recalls
    return _fit_result(pipeline, models, notes, time.perf_counter() - started)


def refit_pipeline(
    data: SourceData,
    fitted: FitResult,
    *,
    old_catalog: Catalog | None = None,
    seed: int = 0,
    run: TrainingRun | None = None,
    report: ReportProgress = lambda stage: None,
) -> FitResult:
    """Fit the sources of a pipeline again on every event; its blend stays.

    Args:
        data: every event, its catalog and item features.
        fitted: result of ``fit_pipeline``.
        old_catalog: catalog of ``fitted``; None: that of ``data``.
        seed: random seed.
        run: as in ``fit_pipeline``.
        report: called with the name of each stage.
    """
    started, sequences, catalog = time.perf_counter(), data.sequences, data.catalog
    old_pipeline = fitted.scorer
    assert isinstance(old_pipeline, Pipeline)
    models = {
        _model_key(one): FitResult(
            source.scorer, dict(_settings_of_source(fitted, s)), dict(fitted.notes["models"][_model_key(one)]), 0.0
        )
        for s, (one, source) in enumerate(zip(old_pipeline.config.source, old_pipeline.sources, strict=True))
    }
    models = _refit_models(data, models, seed, run, report)
    sources, _ = _sources(models, old_pipeline.config, sequences)
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
    if job.items is not None and any(_needs_item_features(source) for source in config.source):
        log = log.with_items(job.items)
    check_rules(log, config, job)

    def fit(name: str, split: Split, settings: Any, *, refit: bool, seed: int, run: TrainingRun) -> FitResult:
        return fit_pipeline(split, config, refit=refit, seed=seed, run=run, report=report)

    def refit(
        name: str, sequences: Sequences, size: int, fitted: FitResult, *, item_features: Any, **options: Any
    ) -> FitResult:
        data = SourceData(sequences, log.catalog(), item_features)
        return refit_pipeline(data, fitted, old_catalog=split.catalog, report=report, **options)

    def report(stage: str) -> None:
        if progress is not None:
            progress(stage, None)

    split = split_log(log, job.protocol)
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
    networks = any(isinstance(ZOO.get(normalize_name(source.model)), NeuralEntry) for source in config.source)
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


def with_canonical_names(config: PipelineConfig) -> PipelineConfig:
    """Return the settings with canonical model names. ValueError for an unknown model."""
    sources = []
    for source in config.source:
        name = normalize_name(source.model)
        if name not in BUILTIN_SOURCES and name not in ZOO:
            known = ", ".join([*BUILTIN_SOURCES, *ZOO])
            raise ValueError(f"There is no model '{source.model}' for a source. Known models: {known}.")
        sources.append(replace(source, model=name))
    return replace(config, source=tuple(sources))


def _needs_item_features(source: SourceConfig) -> bool:
    """Return whether a source is fitted on item features."""
    return normalize_name(source.model) == ContentKNN.name or bool(source.settings.get("features"))


def _model_key(source: SourceConfig) -> str:
    """Return a key that is equal for sources with one model and equal settings."""
    return f"{source.model} {json.dumps(source.settings, sort_keys=True)}" if source.settings else source.model


def _fit_models(
    split: Split, config: PipelineConfig, seed: int, run: TrainingRun | None, report: ReportProgress
) -> dict[str, FitResult]:
    """Fit each distinct model on the training events."""
    models: dict[str, FitResult] = {}
    data = SourceData(split.train, split.catalog, split.item_features)
    for source in config.source:
        if (key := _model_key(source)) in models:
            continue
        report(f"training {key}")
        if source.model in BUILTIN_SOURCES:
            entry = BUILTIN_SOURCES[source.model]
            own: Any = decode_settings(entry.config, source.settings, f"{source.display_name}.")
            models[key] = FitResult(entry.fit(data, own), asdict(own), {}, 0.0)
        else:
            models[key] = fit_model(canonical_name(source.model), split, source.settings, seed=seed, run=run)
    return models


def _refit_models(
    data: SourceData, models: Mapping[str, FitResult], seed: int, run: TrainingRun | None, report: ReportProgress
) -> dict[str, FitResult]:
    """Fit each model again on other events, with its chosen settings."""
    refitted: dict[str, FitResult] = {}
    for key, model in models.items():
        report(f"training {key} again")
        name = model.scorer.name
        if name in BUILTIN_SOURCES:
            own: Any = decode_settings(BUILTIN_SOURCES[name].config, model.settings)
            refitted[key] = replace(model, scorer=BUILTIN_SOURCES[name].fit(data, own))
        else:
            refitted[key] = refit_on_all_events(
                name, data.sequences, data.catalog.size, model, seed=seed, run=run, item_features=data.item_features
            )
    return refitted


def _sources(
    models: Mapping[str, FitResult], config: PipelineConfig, histories: Sequences
) -> tuple[list[CandidateSource], dict[str, float]]:
    """Return (sources, recall of each approximate index on the last of ``histories``)."""
    recalls: dict[str, float] = {}
    sources = []
    for source in config.source:
        scorer: Scorer = models[_model_key(source)].scorer
        index: HNSWIndex | None = None
        if source.index == "approximate":
            net = as_vector_scorer(scorer)
            query_BD, keys_VD = net.queries(histories.take(slice(-NUM_INDEX_QUERIES, None)))
            index, recalls[source.display_name] = approximate_if_good(keys_VD, query_BD, source.num_candidates)
        sources.append(CandidateSource(scorer, source, index))
    return sources, recalls
