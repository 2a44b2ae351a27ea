"""New events into a model at work: the catalog grows, training goes on, and only what is not worse is kept."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from segue.config.decode import decode_settings
from segue.data.catalog import Catalog
from segue.data.evaluation_cases import EvaluationCases
from segue.data.features.encoding import FeatureConfig
from segue.data.sequences import Sequences
from segue.data.splits import cutoffs
from segue.data.splits.targets import later_events
from segue.evaluation.evaluate import evaluate
from segue.models import artifact
from segue.models.add_items import with_rows_for_cold_items
from segue.models.counting.covisitation import CoVisit, CoVisitConfig
from segue.models.loading import restore_model
from segue.models.neural.covisitation_prior import WithCovisitationPrior
from segue.models.neural.feature_embeddings import FeatureEmbeddings
from segue.models.scorer import Scorer
from segue.models.sparse_rows import item_counts
from segue.models.zoo import ClassicEntry, find_model
from segue.workflows.fit_model import with_target_times

if TYPE_CHECKING:
    from segue.data.event_log import EventLog
    from segue.data.item_table import ItemTable

NEWEST_SHARE = 0.1
"""The newest share of the new events judges the update."""


@dataclass(frozen=True)
class UpdateReport:
    """What an update came to."""

    before: float
    """ndcg@10 of the model at work on the newest slice; items it does not know it cannot find."""
    after: float
    """ndcg@10 of the updated model on the same cases, trained on what lies before them."""
    cases: int
    new_items: int
    promoted: bool
    version: str | None
    """Of the new artifact; None where the old one stays."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


class ExpandedCatalogScorer:
    """A model among items it does not know: they come after everything it knows."""

    def __init__(self, scorer: Scorer, index_V: np.ndarray, back_V: np.ndarray) -> None:
        self.scorer = scorer
        self.old_index_V = index_V
        """Old index of each new one, PAD where there is none."""
        self.new_index_V = back_V
        """New index of each old one."""

    @property
    def name(self) -> str:
        return self.scorer.name

    @property
    def size(self) -> int:
        return len(self.old_index_V)

    def arrays(self) -> dict[str, np.ndarray]:
        """The model's own."""
        return self.scorer.arrays()

    def scores(self, histories: Sequences) -> np.ndarray:
        """float32 [B, V of the larger catalog]."""
        known_BV = self.scorer.scores(replace(histories, items=self.old_index_V[histories.items]))
        out_BV = np.repeat(known_BV[:, 1:].min(axis=1, keepdims=True) - 1.0, self.size, axis=1)
        out_BV[:, self.new_index_V[1:]] = known_BV[:, 1:]
        return out_BV


def update_model(
    run: Path,
    log: "EventLog",
    out: Path | None = None,
    *,
    replay: "EventLog | None" = None,
    items: "ItemTable | None" = None,
    seed: int = 0,
) -> UpdateReport:
    """Trains the model in ``run`` on new events, and on old ones (``replay``) so that it does not forget; replaces it
    (or writes ``out``) only where the newest slice of the new events is not answered worse than before.

    ``items`` tells what new items are called, and a network with features what they are like: these begin with it.
    Without ``replay`` people's histories begin with the new events. ValueError for a classic model (fit it
    again on the whole log) and for a log without times.
    """
    loaded = artifact.load(run)
    entry = find_model(loaded.model)
    if isinstance(entry, ClassicEntry):
        cost = "" if entry.iterative else ", which takes one pass over it"
        raise ValueError(
            f"{loaded.model} cannot be updated with new events, only neural models can: run 'segue train' on the "
            f"whole log{cost}."
        )
    if not log.has_times:
        raise ValueError("The newest events judge an update, so the new log needs times.")
    config: Any = decode_settings(entry.config, loaded.settings)
    log, replay = _in_context(loaded, log, replay)
    catalog = Catalog(sorted({*loaded.catalog.ids, *log.catalog().ids, *(replay.catalog().ids if replay else ())}))
    rows = _together(log, replay, catalog)
    moment = int(np.quantile(log.frame["timestamp"].to_numpy(), 1 - SLICE, method="higher"))
    early = cutoffs.events_before(rows, moment)
    cases = with_target_times(later_events(rows, moment, np.ones(catalog.size, dtype=bool)), loaded.settings)
    if not len(cases):
        raise ValueError("No person of the newest slice has a history there, so nothing can judge the update.")
    index_V = np.concatenate([[0], loaded.catalog.to_indices(catalog.ids)]).astype(np.int32)
    back_V = np.concatenate([[0], catalog.to_indices(loaded.catalog.ids)]).astype(np.int32)
    before = _quality(ExpandedCatalogScorer(restore_model(loaded), index_V, back_V), cases)
    shown = {**loaded.items, **({} if items is None else items.for_catalog(catalog))}
    start = replace(loaded, items=shown)
    after = _quality(_go_on(start, config, catalog, early, seed), cases)
    version = None
    if after >= before:
        scorer = _go_on(start, config, catalog, rows, seed)
        about = {**loaded.about, "updated_from": loaded.version, "update_ndcg@10": [before, after]}
        fresh = replace(start, catalog=catalog, arrays=scorer.arrays(), about=about)
        version = artifact.save(fresh, out or run)
    return UpdateReport(before, after, len(cases), len(catalog) - len(loaded.catalog), version is not None, version)


def _in_context(
    loaded: artifact.Artifact, log: "EventLog", replay: "EventLog | None"
) -> "tuple[EventLog, EventLog | None]":
    """The logs, with the context that the model learned from. ValueError where one has not such a column."""
    vectors = FeatureEmbeddings.restore(loaded.arrays, "contexts")
    if vectors is None:
        return log, replay
    kinds: Any = {column.name: column.column_type for column in vectors.encoding.columns}
    return log.with_context(kinds), None if replay is None else replay.with_context(kinds)


def _together(log: "EventLog", replay: "EventLog | None", catalog: Catalog) -> Sequences:
    """People's events of both logs in time order, indexed by the larger catalog."""
    if replay is None:
        return log.sequences(catalog)[0]
    import polars as pl

    columns = ["user_id", "item_id", "timestamp", *log.context]
    return log.with_frame(pl.concat([replay.frame.select(columns), log.frame.select(columns)])).sequences(catalog)[0]


def _quality(scorer: Scorer, cases: EvaluationCases) -> float:
    return evaluate(scorer, cases, exclude_seen=False, ks=(10,)).metrics["ndcg@10"]


def _go_on(loaded: artifact.Artifact, config: Any, catalog: Catalog, rows: Sequences, seed: int) -> Scorer:
    """The model trained on ``rows`` from where it stands: two epochs on a third of its learning rate."""
    from segue.training.config import TrainingConfig
    from segue.training.expand_catalog import expand_net
    from segue.training.export import export_scorer
    from segue.training.trainer import Trainer

    notes: Mapping[str, Any] = loaded.about.get("notes", {})
    training = decode_settings(TrainingConfig, dict(notes.get("training") or {}))
    training = replace(training, epochs=2, learning_rate=training.learning_rate / 3)
    features = decode_settings(FeatureConfig, dict(notes.get("features") or {}))
    net = expand_net(loaded, config, catalog, rows, seed, features)
    Trainer(net, rows, training, seed).run()
    network = export_scorer(loaded.model, net, item_counts(rows, catalog.size))
    if features.feature_use == "placing":  # what places new items was not trained on, and is as good as before
        told = FeatureEmbeddings.restore(loaded.arrays, "features")
        network = network.with_table(network.table_VD, replace(network.sides, features=told))
    scorer: Scorer = network
    if "prior.weight" in loaded.arrays:
        prior = CoVisit.fit(rows, catalog.size, CoVisitConfig(decay=float(loaded.arrays["prior.decay"][0])))
        scorer = WithCovisitationPrior(
            scorer, with_rows_for_cold_items(prior, scorer), float(loaded.arrays["prior.weight"][0])
        )
    return scorer
