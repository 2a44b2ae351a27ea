"""Models of a pipeline's candidate sources: their side data, their fit, and their fit again on other events."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from segue.config.decode import decode_settings
from segue.config.names import normalize_name
from segue.data.evaluation_cases import Split
from segue.data.sequences import Sequences
from segue.models.knn.content_knn import ContentKNN
from segue.models.zoo import ZOO, NeuralEntry, canonical_name
from segue.pipeline.candidates.builtin_sources import (
    BUILTIN_SOURCES,
    FixedListSource,
    NewItemsSource,
    SourceData,
)
from segue.pipeline.candidates.source import CandidateSource, as_vector_scorer
from segue.pipeline.candidates.vector_index import HNSWIndex, approximate_if_good
from segue.pipeline.config import PipelineConfig, SourceConfig
from segue.workflows.fit_model import fit_model, refit_on_all_events
from segue.workflows.fit_result import FitResult
from segue.workflows.training_run import TrainingRun

if TYPE_CHECKING:
    from segue.data.event_log import EventLog

NUM_INDEX_QUERIES = 200
"""Number of histories that measure the recall of an approximate index."""

ReportProgress = Callable[[str], None]
RefitModel = Callable[..., FitResult]
"""Function with the parameters of ``refit_on_all_events``."""


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


def is_neural_source(source: SourceConfig) -> bool:
    """Return True for a source whose model is a network."""
    return isinstance(ZOO.get(normalize_name(source.model)), NeuralEntry)


def needs_item_features(source: SourceConfig) -> bool:
    """Return True for a source that scores items without events: by their features, or because a list names them."""
    name = normalize_name(source.model)
    return name in (ContentKNN.name, NewItemsSource.name, FixedListSource.name) or bool(source.settings.get("features"))


def with_side_data(config: PipelineConfig, settings: Mapping[str, Any]) -> PipelineConfig:
    """Give features and contexts to every network among the sources that states none of its own.

    Args:
        config: settings of the pipeline.
        settings: names of item columns by ``features``, and of context columns by ``contexts``; both may be absent.

    Raises:
        ValueError: no source is a network, or another setting.
    """
    if not settings:
        return config
    if unknown := set(settings) - {"features", "contexts"}:
        raise ValueError(f"The settings of a pipeline's sources stand in its file, also '{min(unknown)}'.")
    if not any(is_neural_source(source) for source in config.source):
        names = ", ".join(source.display_name for source in config.source)
        raise ValueError(
            f"Only neural models are trained on {' and '.join(settings)}, and there is none among the sources {names}."
        )
    sources = [
        replace(source, settings={**settings, **source.settings}) if is_neural_source(source) else source
        for source in config.source
    ]
    return replace(config, source=tuple(sources))


def context_names(config: PipelineConfig) -> list[str]:
    """Return the context columns that networks among the sources are trained on, each once."""
    names = [name for source in config.source for name in source.settings.get("contexts") or ()]
    return list(dict.fromkeys(names))


def with_side_columns(log: "EventLog", config: PipelineConfig, items: Any) -> "EventLog":
    """Return the log with the items table and the context columns that the sources need.

    Args:
        log: the events.
        config: settings of the pipeline.
        items: the items table; None: no table.

    Raises:
        ValueError: a source needs a column that neither the table nor the log has.
    """
    if items is not None and any(needs_item_features(source) for source in config.source):
        log = log.with_items(items)
    missing = [name for name in context_names(config) if name not in log.context]
    if missing:
        log = log.with_context([*log.context, *missing])
    check_item_columns(config, None if log.items is None else log.items.column_types)
    return log


def check_item_columns(config: PipelineConfig, columns: Mapping[str, Any] | None) -> None:
    """Check the item columns that the sources need, before any source is fitted.

    Args:
        config: settings of the pipeline.
        columns: columns of the items table; None: no table.

    Raises:
        ValueError: a source needs a column that there is not.
    """
    for source in config.source:
        _check_source_columns(source, columns)


def _check_source_columns(source: SourceConfig, columns: Mapping[str, Any] | None) -> None:
    by_content = normalize_name(source.model) == ContentKNN.name
    names = source.settings.get("columns" if by_content else "features") or ()
    if columns is None and (by_content or names):
        raise ValueError(f"The source {source.display_name} compares items by their features: give an items table.")
    for name in names:
        if columns is not None and name not in columns:
            raise ValueError(
                f"The source {source.display_name} needs the column '{name}', which the items table has not. Its "
                f"columns: {', '.join(columns)}."
            )


def model_key(source: SourceConfig) -> str:
    """Return a key that is equal for sources with one model and equal settings."""
    return f"{source.model} {json.dumps(source.settings, sort_keys=True)}" if source.settings else source.model


def fit_models(
    split: Split, config: PipelineConfig, seed: int, run: TrainingRun | None, report: ReportProgress
) -> dict[str, FitResult]:
    """Fit each distinct model on the training events.

    Args:
        split: training events and validation cases.
        config: settings of the pipeline, with canonical names.
        seed: random seed.
        run: device, checkpoints and progress of the networks; None: the defaults.
        report: called with the name of each stage.

    Returns:
        The models by ``model_key``.
    """
    models: dict[str, FitResult] = {}
    data = SourceData(split.train, split.catalog, split.item_features)
    for source in config.source:
        if (key := model_key(source)) in models:
            continue
        report(f"training {source.display_name}")
        if source.model in BUILTIN_SOURCES:
            entry = BUILTIN_SOURCES[source.model]
            own: Any = decode_settings(entry.config, source.settings, f"{source.display_name}.")
            models[key] = FitResult(entry.fit(data, own), asdict(own), {}, 0.0)
        else:
            models[key] = fit_model(canonical_name(source.model), split, source.settings, seed=seed, run=run)
    return models


def refit_models(
    data: SourceData,
    models: Mapping[str, FitResult],
    seed: int,
    run: TrainingRun | None,
    report: ReportProgress,
    refit: RefitModel = refit_on_all_events,
) -> dict[str, FitResult]:
    """Fit each model again on other events, with its chosen settings.

    Args:
        data: the events, their catalog and item features.
        models: fitted models by ``model_key``.
        seed: random seed.
        run: as in ``fit_models``.
        report: called with the name of each stage.
        refit: fits a model of the zoo again.
    """
    refitted: dict[str, FitResult] = {}
    for key, model in models.items():
        report(f"training {key.partition(' ')[0]} again")
        name = model.scorer.name
        if name in BUILTIN_SOURCES:
            own: Any = decode_settings(BUILTIN_SOURCES[name].config, model.settings)
            refitted[key] = replace(model, scorer=BUILTIN_SOURCES[name].fit(data, own))
        else:
            refitted[key] = refit(
                name, data.sequences, data.catalog.size, model, seed=seed, run=run, item_features=data.item_features
            )
    return refitted


def build_sources(
    models: Mapping[str, FitResult], config: PipelineConfig, histories: Sequences
) -> tuple[list[CandidateSource], dict[str, float]]:
    """Build the sources of fitted models, with an approximate index where its recall is sufficient.

    Args:
        models: fitted models by ``model_key``.
        config: settings of the pipeline, with canonical names.
        histories: the last of them measure the recall.

    Returns:
        (sources, recall of each approximate index).
    """
    recalls: dict[str, float] = {}
    sources = []
    for source in config.source:
        scorer = models[model_key(source)].scorer
        index: HNSWIndex | None = None
        if source.index == "approximate":
            net = as_vector_scorer(scorer)
            query_BD, keys_VD = net.queries(histories.take(slice(-NUM_INDEX_QUERIES, None)))
            index, recalls[source.display_name] = approximate_if_good(keys_VD, query_BD, source.num_candidates)
        sources.append(CandidateSource(scorer, source, index))
    return sources, recalls
