"""A pipeline's settings, a split -> a fitted pipeline: sources first, then what validation says of their opinions.

Nothing is learned from what a source was fitted on: sources see the training events, weights see validation cases,
and only then are the sources fitted once more with more events.
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
from segue.models.scorer import Scorer
from segue.models.zoo import ZOO, canonical_name
from segue.pipeline.candidates.builtin_sources import BUILTIN_SOURCES, SourceData
from segue.pipeline.candidates.source import CandidateSource, searchable
from segue.pipeline.candidates.vector_index import HNSWIndex, approximate_if_good
from segue.pipeline.config import PipelineConfig, SourceConfig
from segue.pipeline.item_statistics import ItemStatistics
from segue.pipeline.persistence import saved_settings
from segue.pipeline.pipeline import Pipeline, distinct_sources
from segue.workflows.compare_models import CompareOptions, ModelResult, fit_and_evaluate
from segue.workflows.fit_blend import fit_blend
from segue.workflows.fit_model import FitResult, TrainingRun, fit_model, refit_on_all_events
from segue.workflows.fit_second_stage import fit_second_stage, load_saved_ranker, refit_second_stage
from segue.workflows.job import ProgressCallback, TrainJob
from segue.workflows.train_model import refit_and_save

if TYPE_CHECKING:
    from segue.data.event_log import EventLog

NUM_INDEX_QUERIES = 200
"""An approximate index is judged by so many histories."""

ReportProgress = Callable[[str], None]


def fit_pipeline(
    split: Split,
    config: PipelineConfig,
    *,
    refit: bool = False,
    seed: int = 0,
    run: TrainingRun | None = None,
    report: ReportProgress = lambda what: None,
) -> FitResult:
    """Fits the sources on ``split.train``, learns blend and trees on ``split.validation``, and with ``refit`` fits the
    sources again on training and validation events together. Equal arguments give equal pipelines."""
    started = time.perf_counter()
    config = _with_canonical_names(config)
    load_saved_ranker(config.rank, split)
    models = _fit_models(split, config, seed, run, report)
    item_statistics = ItemStatistics.fit(split.train, split.catalog)
    sources, recalls = _sources(models, config, split.validation.histories)
    report("learning how to blend")
    scoring, notes = fit_blend(sources, item_statistics, split, config, seed)
    second = None
    if config.rank.model is not None:
        first_stage = Pipeline(sources, scoring, item_statistics, config, exclude_seen=split.exclude_seen)
        two_stage, notes["ranker"] = fit_second_stage(first_stage, split, seed, report)
        scoring, second = two_stage.scoring, two_stage.second_stage
    if refit:
        models = _refit_models(SourceData(split.refit, split.catalog, split.item_features), models, seed, run, report)
        sources, recalls = _sources(models, config, split.validation.histories)
        item_statistics = ItemStatistics.fit(split.refit, split.catalog)
    pipeline = Pipeline(sources, scoring, item_statistics, config, exclude_seen=split.exclude_seen, second=second)
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
    report: ReportProgress = lambda what: None,
) -> FitResult:
    """The same pipeline with its sources fitted on every event there is, weighed as an earlier ``compose`` learned.
    ``before``: the catalog of ``chosen``, where it is another one."""
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
    pipeline = Pipeline(sources, old_pipeline.scoring, item_statistics, old_pipeline.config, exclude_seen=old_pipeline.exclude_seen, second=second)
    return _fit_result(pipeline, models, fitted.notes, time.perf_counter() - started)


def train_pipeline(
    log: "EventLog",
    config: PipelineConfig,
    out: Path,
    job: TrainJob | None = None,
    progress: ProgressCallback | None = None,
) -> tuple[ModelResult, str]:
    """Fits a pipeline, judges it on the log's last part, fits its sources once more on every event (``refit``), and
    saves it: (the judged run, the artifact's version)."""
    job = job or TrainJob()

    def fitter(name: str, split: Split, values: Any, *, refit: bool, seed: int, work: TrainingRun) -> FitResult:
        return fit_pipeline(split, config, refit=refit, seed=seed, run=work, report=say)

    def again(name: str, sequences: Sequences, size: int, chosen: FitResult, **how: Any) -> FitResult:
        options = {"before": split.catalog, "seed": how["seed"], "work": how["work"], "say": say}
        return refit_pipeline(SourceData(sequences, log.catalog(), how["facts"]), chosen, **options)

    def say(what: str) -> None:
        if progress is not None:
            progress(what, None)

    split = split_log(log, job.protocol)
    judged = fit_and_evaluate(split, Pipeline.name, {}, job, CompareOptions(), progress, fitter)
    return judged[0], refit_and_save(log, judged, out, job, progress, again)


def _settings_of_source(chosen: FitResult, source: int) -> Mapping[str, Any]:
    models: list[dict[str, Any]] = chosen.settings["models"]
    own: dict[str, Any] = models[chosen.settings["model_of_source"][source]]["settings"]
    return own


def _fit_result(pipeline: Pipeline, models: Mapping[str, FitResult], notes: dict[str, Any], fit_s: float) -> FitResult:
    scorers, _ = distinct_sources(pipeline)
    owners = {id(model.scorer): model for model in models.values()}
    own = {m: owners[id(scorer)].settings for m, scorer in enumerate(scorers)}
    return FitResult(pipeline, saved_settings(pipeline, own), notes, fit_s)


def _with_canonical_names(config: PipelineConfig) -> PipelineConfig:
    """With models by the names of the table. ValueError for one that there is not."""
    sources = []
    for one in config.source:
        name = normalize_name(one.model)
        if name not in BUILTIN_SOURCES and name not in ZOO:
            known = ", ".join([*BUILTIN_SOURCES, *ZOO])
            raise ValueError(f"There is no model '{one.model}' for a source. Known models: {known}.")
        sources.append(replace(one, model=name))
    return replace(config, source=tuple(sources))


def _model_key(one: SourceConfig) -> str:
    """Equal for sources that can ask one fitted model."""
    return f"{one.model} {json.dumps(one.settings, sort_keys=True)}" if one.settings else one.model


def _fit_models(
    split: Split, config: PipelineConfig, seed: int, run: TrainingRun | None, report: ReportProgress
) -> dict[str, FitResult]:
    """Each distinct model on the training events."""
    models: dict[str, FitResult] = {}
    data = SourceData(split.train, split.catalog, split.item_features)
    for one in config.source:
        if (key := _model_key(one)) in models:
            continue
        report(f"training {key}")
        if one.model in BUILTIN_SOURCES:
            entry = BUILTIN_SOURCES[one.model]
            own: Any = decode_settings(entry.config, one.settings, f"{one.called}.")
            models[key] = FitResult(entry.fit(data, own), asdict(own), {}, 0.0)
        else:
            models[key] = fit_model(canonical_name(one.model), split, one.settings, seed=seed, run=run)
    return models


def _refit_models(
    data: SourceData, models: Mapping[str, FitResult], seed: int, run: TrainingRun | None, report: ReportProgress
) -> dict[str, FitResult]:
    """Each model with its settings and what it chose, on other events."""
    again: dict[str, FitResult] = {}
    for key, model in models.items():
        report(f"training {key} again")
        name = model.scorer.name
        if name in BUILTIN_SOURCES:
            own: Any = decode_settings(BUILTIN_SOURCES[name].config, model.settings)
            again[key] = replace(model, scorer=BUILTIN_SOURCES[name].fit(data, own))
        else:
            data = (data.sequences, data.catalog.size)
            again[key] = refit_on_all_events(name, *data, model, seed=seed, run=run, item_features=data.facts)
    return again


def _sources(
    models: Mapping[str, FitResult], config: PipelineConfig, histories: Sequences
) -> tuple[list[CandidateSource], dict[str, float]]:
    """(the sources; the recall of each approximate index that was tried, on the last of ``histories``)."""
    recalls: dict[str, float] = {}
    sources = []
    for one in config.source:
        scorer: Scorer = models[_model_key(one)].scorer
        index: HNSWIndex | None = None
        if one.index == "approximate":
            net = searchable(scorer)
            query_BD, keys_VD = net.queries(histories.take(slice(-NUM_INDEX_QUERIES, None)))
            index, recalls[one.called] = approximate_if_good(keys_VD, query_BD, one.num_candidates)
        sources.append(CandidateSource(scorer, one, index))
    return sources, recalls
