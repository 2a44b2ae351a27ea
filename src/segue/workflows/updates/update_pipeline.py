"""Update of a saved pipeline: its networks are trained on, its counting sources are counted again on both logs.

The parts that validation chose stay: blend, boosted trees, temperatures, and the ranker's net with its weight. They
were fitted on events that no source was fitted on, and there are no others left for them.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from segue.config.decode import decode_settings
from segue.data.catalog import Catalog
from segue.data.features.encoding import ItemFeatures
from segue.data.readers.losses import REFUSED_SHARE
from segue.data.sequences import Sequences
from segue.data.splits import cutoffs
from segue.models import artifact
from segue.models.knn.content_knn import ContentKNN
from segue.models.sparse_rows import item_counts
from segue.models.zoo import NeuralEntry, find_model
from segue.pipeline.candidates.builtin_sources import BUILTIN_SOURCES, FixedListSource, SourceData
from segue.pipeline.config import PipelineConfig, SourceConfig
from segue.pipeline.persistence import restore_saved_pipeline
from segue.pipeline.pipeline import Pipeline
from segue.workflows.fit_model import refit_on_all_events
from segue.workflows.fit_result import FitResult
from segue.workflows.pipelines.fit_sources import is_neural_source, needs_item_features
from segue.workflows.pipelines.merge_features import merge_item_features
from segue.workflows.train_pipeline import refit_pipeline
from segue.workflows.updates.continue_training import EPOCHS, continue_training
from segue.workflows.updates.update_data import (
    UpdateData,
    UpdateReport,
    is_not_worse,
    prepare_update,
    warn_of_spellings,
    warn_of_trained_events,
)

if TYPE_CHECKING:
    from segue.data.event_log import EventLog
    from segue.data.item_table import ItemTable

KEPT = (
    "The weights of the blend, its trees and temperatures, and a ranker's net stay as validation chose them at the "
    "training: 'segue pipeline' on the whole log fits them again."
)
"""Sentence about the parts that an update keeps."""


def update_pipeline(
    loaded: artifact.Artifact,
    log: "EventLog",
    out: Path,
    *,
    replay: "EventLog | None" = None,
    items: "ItemTable | None" = None,
    seed: int = 0,
    allow_loss: bool = False,
) -> UpdateReport:
    """Update the sources of a saved pipeline, and save it unless it is worse beyond chance.

    Args:
        loaded: the saved pipeline.
        log: the new events, with timestamps.
        out: folder of the updated pipeline.
        replay: the older events: the counting sources are fitted to both logs. None: ``log`` holds them.
        items: features of items, new ones included; None: those of the artifact.
        seed: random seed.
        allow_loss: update although more than ``REFUSED_SHARE`` of the training's events are in neither log.

    Raises:
        ValueError: a source cannot take the new events; the message names it and states what to do instead.
    """
    pipeline = restore_saved_pipeline(loaded)
    assert isinstance(pipeline, Pipeline)
    _check_lists(pipeline.config)
    items = None if items is None else items.matched_with([*loaded.catalog.ids, *log.catalog().ids])
    joins_catalog = items is not None and any(needs_item_features(source) for source in pipeline.config.source)
    data = prepare_update(loaded, log, replay, items.ids if joins_catalog and items is not None else ())
    warnings = _check_missing_events(loaded, pipeline, data, allow_loss=allow_loss)
    shown = {**loaded.items, **({} if items is None else items.for_catalog(data.catalog))}
    features = _item_features(replace(loaded, items=shown), pipeline.config, data.catalog, items)
    update = _SourceUpdate(replace(loaded, items=shown), pipeline, data.catalog, features, seed)
    before_N = data.quality(data.expanded(pipeline))
    after_N = data.quality(update.fit(data.before_cutoff).scorer)
    num_events, version = data.sequences.num_events, None
    sources = {source.display_name: _describe(source, num_events) for source in pipeline.config.source}
    before, after = float(before_N.mean()), float(after_N.mean())
    if is_not_worse(after_N, before_N):
        fitted = update.fit(data.sequences)
        about = {**loaded.about, "updated_from": loaded.version, "update_ndcg@10": [before, after]}
        about |= {"events": num_events, "newest_event_us": data.newest_us}
        about |= {"updated_sources": sources, "kept_in_update": KEPT}
        if items is not None:
            about["item_columns"] = {**items.column_types, **loaded.about.get("item_columns", {})}
        updated = replace(loaded, settings=fitted.settings, catalog=data.catalog, items=shown, about=about)
        version = artifact.save(replace(updated, arrays=fitted.scorer.arrays()), out)
    return UpdateReport(
        before,
        after,
        len(data.cases),
        len(data.catalog) - len(loaded.catalog),
        version is not None,
        version,
        data.shared_events,
        (*warn_of_spellings(loaded.catalog, log, items), *warn_of_trained_events(loaded, log), *warnings),
        sources,
        KEPT,
    )


class _SourceUpdate:
    """Fit of the sources of a saved pipeline on the events of an update."""

    def __init__(
        self,
        loaded: artifact.Artifact,
        pipeline: Pipeline,
        catalog: Catalog,
        item_features: ItemFeatures | None,
        seed: int,
    ) -> None:
        """Prepare the fit.

        Args:
            loaded: the saved pipeline, whose ``items`` hold the features of new items too.
            pipeline: its scorer.
            catalog: the larger catalog.
            item_features: features of all items; None: no source reads them.
            seed: random seed.
        """
        self.loaded = loaded
        self.catalog = catalog
        self.item_features = item_features
        self.seed = seed
        self.fitted = FitResult(pipeline, loaded.settings, dict(loaded.about.get("notes") or {}), 0.0)

    def fit(self, sequences: Sequences) -> FitResult:
        """Return the pipeline with its sources fitted to these events."""
        data = SourceData(sequences, self.catalog, self.item_features)
        return refit_pipeline(
            data, self.fitted, old_catalog=self.loaded.catalog, seed=self.seed, refit=self._refit_or_continue
        )

    def _refit_or_continue(
        self, name: str, sequences: Sequences, size: int, fitted: FitResult, **options: Any
    ) -> FitResult:
        """Continue the training of a network; fit any other model again. The parameters of ``refit_on_all_events``."""
        entry = find_model(name)
        if not isinstance(entry, NeuralEntry):
            return refit_on_all_events(name, sequences, size, fitted, **options)
        member = replace(
            self.loaded,
            model=name,
            settings=fitted.settings,
            arrays=fitted.scorer.arrays(),
            about={"notes": fitted.notes},
        )
        config: Any = decode_settings(entry.config, fitted.settings)
        return replace(fitted, scorer=continue_training(member, config, self.catalog, sequences, self.seed))


def _item_features(
    loaded: artifact.Artifact, config: PipelineConfig, catalog: Catalog, items: "ItemTable | None"
) -> ItemFeatures | None:
    """Return the features of all items, if a source other than a network is fitted to them."""
    readers = [source.display_name for source in config.source if source.model == ContentKNN.name]
    return merge_item_features(loaded, catalog, items, readers[0]) if readers else None


def _check_lists(config: PipelineConfig) -> None:
    """Raise a ValueError for a fixed list whose file cannot be read any more, before anything is fitted."""
    for source in config.source:
        if source.model == FixedListSource.name:
            own: Any = decode_settings(BUILTIN_SOURCES[source.model].config, source.settings)
            try:
                own.ids()
            except OSError as error:
                raise ValueError(
                    f"The source {source.display_name} reads its list from {own.file}, which cannot be read "
                    f"({error.strerror}): put the file there again."
                ) from None


def _check_missing_events(
    loaded: artifact.Artifact, pipeline: Pipeline, data: UpdateData, *, allow_loss: bool
) -> list[str]:
    """Return a warning about events of the training that neither log holds, item by item; none without any.

    Raises:
        ValueError: they are more than ``REFUSED_SHARE``, and ``allow_loss`` is False.
    """
    until_us, trained_V = loaded.about.get("newest_event_us"), pipeline.item_statistics.counts_V
    older = data.sequences if until_us is None else cutoffs.events_before(data.sequences, int(until_us) + 1)
    counts_V = item_counts(older, data.catalog.size)[data.new_index_V]
    missing, total = int(np.maximum(trained_V - counts_V, 0)[1:].sum()), int(trained_V.sum())
    if not missing:
        return []
    counted = [s.display_name for s in pipeline.config.source if not is_neural_source(s) and s.model not in _UNCOUNTED]
    names = f"{', '.join(counted)} and the popularity of items" if counted else "the popularity of items"
    sentence = (
        f"{missing:,} of the {total:,} events that this pipeline was counted on are in neither log, and {names} would "
        "forget them"
    )
    if missing > REFUSED_SHARE * total and not allow_loss:
        raise ValueError(
            f"{sentence}: give the older log with --replay, run 'segue pipeline' on the whole log, or forget them "
            "with --allow-loss."
        )
    return [f"{sentence}."]


_UNCOUNTED = ("again", FixedListSource.name, ContentKNN.name)
"""Sources that do not count events, or only to break ties."""


def _describe(source: SourceConfig, num_events: int) -> str:
    """Return how a source took the new events."""
    if is_neural_source(source):
        return f"trained on for {EPOCHS} epochs"
    kept: Mapping[str, str] = {"again": "nothing to fit", "list": "list read again"}
    return kept.get(source.model, f"fitted again on {num_events:,} events")
