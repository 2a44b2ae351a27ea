"""Items without events in a saved pipeline: scored by every source that can, without a score in the others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from segue.config.decode import decode_settings
from segue.data.catalog import PAD, Catalog
from segue.data.sequences import Sequences
from segue.models.add_items import add_rows_for_items, extend_rows
from segue.models.artifact import Artifact
from segue.models.extend_tensors import extend_tensors
from segue.models.knn.content_knn import ContentKNN
from segue.models.neural.covisitation_prior import WithCovisitationPrior
from segue.models.neural.neural_scorer import find_network
from segue.models.rankers.ranker import find_ranker, restore_ranker
from segue.models.rankers.ranker_artifact import KIND
from segue.models.scorer import Scorer
from segue.models.top_k import order_by_score_then_index
from segue.models.zoo import find_model
from segue.pipeline.blending.second_stage import SecondStageRanker
from segue.pipeline.candidates.builtin_sources import BUILTIN_SOURCES, FixedListSource
from segue.pipeline.candidates.source import CandidateSource, as_vector_scorer
from segue.pipeline.candidates.vector_index import approximate_if_good
from segue.pipeline.item_statistics import NEVER, ItemStatistics
from segue.pipeline.persistence import restore_saved_pipeline
from segue.pipeline.pipeline import Pipeline, distinct_sources
from segue.workflows.pipelines.fit_sources import NUM_INDEX_QUERIES
from segue.workflows.pipelines.merge_features import merge_item_features

if TYPE_CHECKING:
    from segue.data.item_table import ItemTable


@dataclass(frozen=True)
class AddedItems:
    """Pipeline with more items."""

    artifact: Artifact
    """The larger artifact; the given one if no item is new."""
    scored_by: tuple[str, ...]
    """Names of the sources that score the new items."""
    not_scored_by: tuple[str, ...]
    """Names of the sources that need events of an item, which an update brings."""


def add_pipeline_items(loaded: Artifact, items: "ItemTable") -> AddedItems:
    """Add items to a saved pipeline by their features alone; nothing is trained.

    Args:
        loaded: the saved pipeline.
        items: table with the new items; those of the catalog stay as they are.

    Raises:
        ValueError: no source scores items without events, or the features of a source are unknown.
    """
    pipeline = restore_saved_pipeline(loaded)
    assert isinstance(pipeline, Pipeline)
    scored = tuple(source.name for source in pipeline.sources if source.uses_item_features)
    others = tuple(
        source.name for source in pipeline.sources if source.name not in scored and source.config.model != "again"
    )
    if not scored:
        raise ValueError(
            f"No source of this pipeline scores items without events ({', '.join(others)}): train it with a source "
            "content-knn or new, or with a network that has features."
        )
    new_items = {item: dict(row) for item, row in items.by_id().items() if item not in loaded.catalog}
    if not new_items:
        return AddedItems(loaded, scored, others)
    catalog = Catalog([*loaded.catalog.ids, *new_items])
    larger = replace(loaded, catalog=catalog, items={**loaded.items, **new_items})
    extended = _extend_pipeline(larger, pipeline, list(new_items.values()), items)
    types = {**items.column_types, **(loaded.about.get("item_columns") or {})}
    about = {**loaded.about, "item_columns": types}
    return AddedItems(replace(larger, arrays=extended.arrays(), about=about), scored, others)


def _extend_pipeline(
    larger: Artifact, pipeline: Pipeline, rows: Sequence[Mapping[str, Any]], items: "ItemTable"
) -> Pipeline:
    scorers, number_S = distinct_sources(pipeline)
    saved = larger.settings["models"]
    extended = [_extend_model(larger, scorer, saved[m]["settings"], rows, items) for m, scorer in enumerate(scorers)]
    statistics = pipeline.item_statistics
    longer = extend_tensors(
        Pipeline.name, {f"item_statistics.{k}": v for k, v in statistics.arrays().items()}, len(rows)
    )
    longer["item_statistics.first"][pipeline.size :] = NEVER
    item_statistics = ItemStatistics.restore({k.removeprefix("item_statistics."): v for k, v in longer.items()})
    popular = order_by_score_then_index(statistics.counts_V)[:NUM_INDEX_QUERIES]
    queries = Sequences.from_lists([[item] for item in popular.tolist() if item != PAD])
    sources = [_source(extended[m], source, queries) for m, source in zip(number_S, pipeline.sources, strict=True)]
    second = None if pipeline.second_stage is None else _extend_ranker(pipeline.second_stage, len(rows))
    parts = (sources, pipeline.scoring, item_statistics, pipeline.config)
    return Pipeline(*parts, exclude_seen=pipeline.exclude_seen, second_stage=second)


def _extend_model(
    larger: Artifact, scorer: Scorer, settings: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], items: "ItemTable"
) -> Scorer:
    """Return a model of the larger catalog."""
    network, count = find_network(scorer), len(rows)
    if network is not None and network.side_information.features is not None:
        return add_rows_for_items(scorer, rows)
    if network is not None:
        extended = network.with_rows(np.zeros((count, network.table_VD.shape[1]), dtype=np.float32))
        if isinstance(scorer, WithCovisitationPrior):
            return WithCovisitationPrior(extended, extend_rows(scorer.prior, count), scorer.weight)
        return extended
    entry = BUILTIN_SOURCES[scorer.name] if scorer.name in BUILTIN_SOURCES else find_model(scorer.name)
    config: Any = decode_settings(entry.config, settings)
    arrays = extend_tensors(scorer.name, scorer.arrays(), count)
    if isinstance(scorer, ContentKNN):
        features = merge_item_features(larger, larger.catalog, items, ContentKNN.name)
        by_content = ContentKNN.from_item_features(Sequences.from_lists([]), features, config)
        arrays = {**by_content.arrays(), "popularity": arrays["popularity"]}
    if isinstance(scorer, FixedListSource) and config.file is None:  # the list may name items that join now
        listed = larger.catalog.to_indices(dict.fromkeys(config.items))
        arrays["items"] = listed[listed != PAD]
    return entry.restore(arrays, config)


def _source(scorer: Scorer, source: CandidateSource, queries: Sequences) -> CandidateSource:
    """Return a source with another model; an approximate index is built again, where its recall is sufficient."""
    if source.index is None:
        return CandidateSource(scorer, source.config)
    query_BD, keys_VD = as_vector_scorer(scorer).queries(queries)
    return CandidateSource(
        scorer, source.config, approximate_if_good(keys_VD, query_BD, source.config.num_candidates)[0]
    )


def _extend_ranker(second: SecondStageRanker, count: int) -> SecondStageRanker:
    """Return the second stage of the larger catalog: the new items have neither an embedding nor a history."""
    ranker = second.ranker
    arrays = extend_tensors(KIND, ranker.arrays(), count)
    table_VD = arrays["net.reader.table"]
    arrays["net.reader.table"] = np.concatenate([table_VD, np.repeat(table_VD[[PAD]], count, axis=0)])
    config: Any = decode_settings(find_ranker(ranker.name).config, dict(second.settings))
    return replace(second, ranker=restore_ranker(ranker.name, arrays, config))
