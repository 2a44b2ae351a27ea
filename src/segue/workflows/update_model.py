"""Update of a saved neural model with new events: a larger catalog, more training, kept only where it is not worse."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from segue.config.decode import decode_settings
from segue.data.catalog import Catalog
from segue.data.evaluation_cases import EvaluationCases
from segue.data.features.encoding import FeatureConfig
from segue.data.readers.id_spelling import describe_match, find_respelled
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
from segue.models.probabilities.calibrated_scorer import NOTE
from segue.models.scorer import Scorer
from segue.models.sparse_rows import item_counts
from segue.models.zoo import ClassicEntry, NeuralEntry, find_model
from segue.workflows.fit_result import with_target_times
from segue.workflows.probabilities.fit_temperature import fit_calibration

if TYPE_CHECKING:
    from segue.data.event_log import EventLog
    from segue.data.item_table import ItemTable

NEWEST_SHARE = 0.1
"""Share of the new events, the newest ones, that evaluates the update."""


@dataclass(frozen=True)
class UpdateReport:
    """Result of an update."""

    before: float
    """ndcg@10 of the old model on the newest events; it cannot recommend new items."""
    after: float
    """ndcg@10 of the updated model on the same cases, trained on the events before them."""
    cases: int
    """Number of evaluation cases."""
    new_items: int
    """Number of items that join the catalog."""
    promoted: bool
    """True where the updated model was saved."""
    version: str | None
    """Version of the new artifact; None where the old one stays."""
    shared_events: int = 0
    """Number of events that are in both logs and count once."""
    warnings: tuple[str, ...] = ()
    """Sentences about ids that look like ids of the catalog in another spelling."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


class ExpandedCatalogScorer:
    """Scorer of a larger catalog: every new item gets the lowest score of the row minus 1."""

    def __init__(self, scorer: Scorer, old_index_V: np.ndarray, new_index_V: np.ndarray) -> None:
        self.scorer = scorer
        self.old_index_V = old_index_V
        """Old index of each new index, PAD for a new item."""
        self.new_index_V = new_index_V
        """New index of each old index."""

    @property
    def name(self) -> str:
        return self.scorer.name

    @property
    def size(self) -> int:
        return len(self.old_index_V)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the tensors of the wrapped model."""
        return self.scorer.arrays()

    def scores(self, histories: Sequences) -> np.ndarray:
        """Return the scores of the larger catalog, float32 [B, V_new]. See `Scorer.scores`."""
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
    """Train a saved neural model on new events, and save the result only where it is not worse than before.

    Both models are evaluated by ndcg@10 on the newest events, which the evaluated update is not trained on.

    Args:
        run: folder of the saved model.
        log: the new events, with timestamps.
        out: folder of the updated model; None: ``run``.
        replay: older events, trained on again so that the model does not forget them; without them the histories
            begin with the new events. None: none.
        items: titles and features of new items; None: none.
        seed: random seed.

    Raises:
        ValueError: a classic model (fit it again on the whole log), a log without timestamps, or no evaluation case.
    """
    loaded, entry = _load_updatable(run)
    if not log.has_times:
        raise ValueError("An update is evaluated on the newest events, so the new log needs timestamps.")
    config: Any = decode_settings(entry.config, loaded.settings)
    log, replay = _with_contexts(loaded, log, replay)
    catalog = Catalog(sorted({*loaded.catalog.ids, *log.catalog().ids, *(replay.catalog().ids if replay else ())}))
    sequences, shared_events = _merge_logs(log, replay, catalog)
    cutoff_us = int(np.quantile(log.frame["timestamp"].to_numpy(), 1 - NEWEST_SHARE, method="higher"))
    before_cutoff = cutoffs.events_before(sequences, cutoff_us)
    cases = with_target_times(later_events(sequences, cutoff_us, np.ones(catalog.size, dtype=bool)), loaded.settings)
    if not len(cases):
        raise ValueError("No user of the newest events has earlier new events, so the update cannot be evaluated.")
    old_index_V = np.concatenate([[0], loaded.catalog.to_indices(catalog.ids)]).astype(np.int32)
    new_index_V = np.concatenate([[0], catalog.to_indices(loaded.catalog.ids)]).astype(np.int32)
    before = _quality(ExpandedCatalogScorer(restore_model(loaded), old_index_V, new_index_V), cases)
    item_columns = {**loaded.items, **({} if items is None else items.for_catalog(catalog))}
    start = replace(loaded, items=item_columns)
    evaluated = _continue_training(start, config, catalog, before_cutoff, seed)
    after = _quality(evaluated, cases)
    version = None
    if after >= before:
        scorer = _continue_training(start, config, catalog, sequences, seed)
        about = {**loaded.about, "updated_from": loaded.version, "update_ndcg@10": [before, after]}
        calibration = fit_calibration(evaluated, cases, exclude_seen=bool(loaded.about.get("exclude_seen")))
        if calibration.cases:  # with too few new events the old one stays
            about["notes"] = {**loaded.about.get("notes", {}), NOTE: calibration.to_dict()}
        updated = replace(start, catalog=catalog, arrays=scorer.arrays(), about=about)
        version = artifact.save(updated, out or run)
    new_items = len(catalog) - len(loaded.catalog)
    warnings = _warn_of_spellings(loaded.catalog, log, items)
    return UpdateReport(before, after, len(cases), new_items, version is not None, version, shared_events, warnings)


def check_updatable(run: Path) -> None:
    """Raise ValueError if a folder holds no model that can be updated with new events."""
    _load_updatable(run)


def _load_updatable(run: Path) -> tuple[artifact.Artifact, NeuralEntry]:
    loaded = artifact.load(run)
    entry = find_model(loaded.model)
    if isinstance(entry, ClassicEntry):
        cost = "" if entry.iterative else ", which takes one pass over it"
        raise ValueError(
            f"{loaded.model} cannot be updated with new events, only neural models can: run 'segue train' on the "
            f"whole log{cost}."
        )
    return loaded, entry


def _warn_of_spellings(catalog: Catalog, log: "EventLog", items: "ItemTable | None") -> tuple[str, ...]:
    """Return sentences about ids of the new log and of the items table that are items in another spelling."""
    import polars as pl

    known = pl.Series(catalog.ids, dtype=pl.String)
    respelled = find_respelled(log.frame["item_id"], known)
    warnings = []
    if respelled.height:
        first, second = respelled.row(0)
        warnings.append(
            f"{respelled.height:,} new items of the log are items of the model in another spelling, as {first!r} for "
            f"{second!r}: write the ids as in the training log."
        )
    if items is not None:
        ids = pl.concat([known, log.frame["item_id"]])
        warnings += describe_match(items.frame["item_id"], ids, "item")[1]
    return tuple(warnings)


def _with_contexts(
    loaded: artifact.Artifact, log: "EventLog", replay: "EventLog | None"
) -> "tuple[EventLog, EventLog | None]":
    """Return the logs with the context columns of the model. ValueError for a log without one of them."""
    vectors = FeatureEmbeddings.restore(loaded.arrays, "contexts")
    if vectors is None:
        return log, replay
    kinds: Any = {column.name: column.column_type for column in vectors.encoding.columns}
    return log.with_context(kinds), None if replay is None else replay.with_context(kinds)


def _merge_logs(log: "EventLog", replay: "EventLog | None", catalog: Catalog) -> tuple[Sequences, int]:
    """Return the events of both logs in time order, indexed by the larger catalog, and the number of events in both.

    These count once: an event of a user on an item at a time is as frequent as in the log that has more of it.
    """
    if replay is None:
        return log.sequences(catalog)[0], 0
    import polars as pl

    key, number = ["user_id", "item_id", "timestamp"], "__number__"
    columns = [*key, *(name for name in log.context if name not in key)]
    occurrence = pl.int_range(pl.len()).over(key).alias(number)
    numbered = [part.frame.select(columns).with_columns(occurrence) for part in (replay, log)]
    both = pl.concat(numbered, how="vertical_relaxed")
    merged = both.unique([*key, number], keep="first", maintain_order=True).drop(number)
    return log.with_frame(merged).sequences(catalog)[0], both.height - merged.height


def _quality(scorer: Scorer, cases: EvaluationCases) -> float:
    return evaluate(scorer, cases, exclude_seen=False, ks=(10,)).metrics["ndcg@10"]


def _continue_training(
    loaded: artifact.Artifact, config: Any, catalog: Catalog, sequences: Sequences, seed: int
) -> Scorer:
    """Continue the training on ``sequences``: two epochs at a third of the learning rate."""
    from segue.training.config import TrainingConfig
    from segue.training.expand_catalog import expand_net
    from segue.training.export import export_scorer
    from segue.training.trainer import Trainer

    notes: Mapping[str, Any] = loaded.about.get("notes", {})
    training = decode_settings(TrainingConfig, dict(notes.get("training") or {}))
    training = replace(training, epochs=2, learning_rate=training.learning_rate / 3)
    features = decode_settings(FeatureConfig, dict(notes.get("features") or {}))
    net = expand_net(loaded, config, catalog, sequences, seed, features)
    Trainer(net, sequences, training, seed).run()
    network = export_scorer(loaded.model, net, item_counts(sequences, catalog.size))
    if features.feature_use == "placing":  # the embeddings that place new items were not trained on
        embeddings = FeatureEmbeddings.restore(loaded.arrays, "features")
        network = network.with_table(network.table_VD, replace(network.side_information, features=embeddings))
    scorer: Scorer = network
    if "prior.weight" in loaded.arrays:
        prior = CoVisit.fit(sequences, catalog.size, CoVisitConfig(decay=float(loaded.arrays["prior.decay"][0])))
        scorer = WithCovisitationPrior(
            scorer, with_rows_for_cold_items(prior, scorer), float(loaded.arrays["prior.weight"][0])
        )
    return scorer
