"""Events, cases and report of an update: the merged logs under a larger catalog, and the newest events as cases."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from segue.data.catalog import Catalog
from segue.data.evaluation_cases import EvaluationCases
from segue.data.readers.id_spelling import describe_match, find_respelled
from segue.data.sequences import Sequences
from segue.data.splits import cutoffs
from segue.data.splits.targets import later_events
from segue.evaluation.evaluate import evaluate
from segue.evaluation.ranks import has_rankable_target
from segue.models.artifact import Artifact
from segue.models.neural.feature_embeddings import FeatureEmbeddings
from segue.models.scorer import Scorer
from segue.workflows.fit_result import with_target_times

if TYPE_CHECKING:
    from segue.data.event_log import EventLog
    from segue.data.item_table import ItemTable

NEWEST_SHARE = 0.1
"""Share of the new events, the newest ones, that evaluates the update."""
FORGOTTEN_SHARE = 0.01
"""Largest share of the training's events that an update of a network may lack without a warning."""


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
    """True where the updated model was saved: it is not worse, but for chance (``is_not_worse``)."""
    version: str | None
    """Version of the new artifact; None where the old one stays."""
    shared_events: int = 0
    """Number of events that are in both logs and count once."""
    warnings: tuple[str, ...] = ()
    """Sentences about ids that look like ids of the catalog in another spelling, and about missing older events."""
    sources: dict[str, str] = field(default_factory=dict)
    """How each source of a pipeline took the new events, by its name; empty for a single model."""
    kept: str = ""
    """Sentence about the parts of a pipeline that stay; empty for a single model."""

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


@dataclass(frozen=True)
class UpdateData:
    """Events of an update, and the cases that evaluate it."""

    catalog: Catalog
    """Items of the model and of the logs."""
    sequences: Sequences
    """Every event of both logs, in time order."""
    before_cutoff: Sequences
    """Events before the newest ones: those that the evaluated update is trained on."""
    cases: EvaluationCases
    """One case for each of the newest events with an earlier event of its user."""
    shared_events: int
    """Number of events in both logs."""
    exclude_seen: bool
    """Seen items are not ranked, as in the evaluation of the model."""
    old_index_V: np.ndarray
    """Old index of each new index, PAD for a new item."""
    new_index_V: np.ndarray
    """New index of each old index."""

    @property
    def newest_us(self) -> int:
        """Return the timestamp of the newest event, UTC microseconds."""
        assert self.sequences.times is not None
        return int(self.sequences.times.max())

    def quality(self, scorer: Scorer) -> np.ndarray:
        """Return the ndcg@10 of a model of the larger catalog on each case, float64."""
        return evaluate(scorer, self.cases, exclude_seen=self.exclude_seen, ks=(10,)).values("ndcg", 10)

    def expanded(self, scorer: Scorer) -> ExpandedCatalogScorer:
        """Return a model of the old catalog among the items of the larger one."""
        return ExpandedCatalogScorer(scorer, self.old_index_V, self.new_index_V)


def is_not_worse(after_N: np.ndarray, before_N: np.ndarray) -> bool:
    """Return whether an updated model is not worse than the old one, but for chance.

    It is worse where the 95 % interval of the mean difference lies below 0. Of two models that are equally good each is
    ahead on half of all days, and the items and events of the other days would be lost.

    Args:
        after_N: ndcg@10 of the updated model on each case.
        before_N: that of the old model on the same cases.
    """
    difference_N = after_N - before_N
    return bool(difference_N.mean() >= -1.96 * difference_N.std() / np.sqrt(len(difference_N)))


def prepare_update(
    loaded: Artifact, log: "EventLog", replay: "EventLog | None", more_items: Iterable[str] = ()
) -> UpdateData:
    """Merge the logs, and cut the newest share of the new events off as cases.

    Args:
        loaded: the saved model.
        log: the new events.
        replay: older events; None: none.
        more_items: ids of further items of the catalog.

    Raises:
        ValueError: a log without timestamps or without a context column of the model, or no case.
    """
    for name, part in (("new", log), ("older", replay)):
        if part is not None and not part.has_times:
            raise ValueError(f"An update is evaluated on the newest events, so the {name} log needs timestamps.")
    log, replay = _with_contexts(loaded, log, replay)
    known = {*loaded.catalog.ids, *log.catalog().ids, *(replay.catalog().ids if replay else ()), *more_items}
    catalog = Catalog(sorted(known))
    by = str(loaded.about.get("sequences_by", "user"))
    sequences, shared_events = merge_logs(log, replay, catalog, by=by)
    newer_N = newer_times(loaded, log)
    times_N = newer_N if len(newer_N) else log.frame["timestamp"].to_numpy()
    cutoff_us = int(np.quantile(times_N, 1 - NEWEST_SHARE, method="higher"))
    cases = later_events(sequences, cutoff_us, np.ones(catalog.size, dtype=bool))
    exclude_seen = bool(loaded.about.get("exclude_seen"))
    if exclude_seen and len(cases):
        cases = cases.take(has_rankable_target(cases.histories, cases.targets))
    if not len(cases):
        raise ValueError("No user of the newest events has earlier new events, so the update cannot be evaluated.")
    return UpdateData(
        catalog,
        sequences,
        cutoffs.events_before(sequences, cutoff_us),
        with_target_times(cases, loaded.settings),
        shared_events,
        exclude_seen,
        np.concatenate([[0], loaded.catalog.to_indices(catalog.ids)]).astype(np.int32),
        np.concatenate([[0], catalog.to_indices(loaded.catalog.ids)]).astype(np.int32),
    )


def newer_times(loaded: Artifact, log: "EventLog") -> np.ndarray:
    """Return the timestamps behind the training of a model: a case that it was trained on would favor it.

    Args:
        loaded: the saved model.
        log: the new events, some of which it may be trained on.

    Returns:
        int64 [N], UTC microseconds; all timestamps where the artifact does not state its newest event.
    """
    times_N = log.frame["timestamp"].to_numpy()
    until_us = loaded.about.get("newest_event_us") if loaded.about.get("trained_on_everything", True) else None
    return times_N if until_us is None else times_N[times_N > int(until_us)]


def warn_of_trained_events(loaded: Artifact, log: "EventLog") -> tuple[str, ...]:
    """Return a sentence about a log without an event behind the training; none for another one.

    Args:
        loaded: the saved model.
        log: the new events.
    """
    if len(newer_times(loaded, log)):
        return ()
    return (
        "No event of the log is newer than the training of this model, which may be trained on the cases of this "
        "comparison: it is favored.",
    )


def warn_of_forgotten_events(loaded: Artifact, sequences: Sequences) -> tuple[str, ...]:
    """Return a sentence about events of the training that the co-visitation model of a network forgets; none if few.

    Args:
        loaded: the saved network; its co-visitation model, if any, is fitted again in an update.
        sequences: events of the update.
    """
    num_trained, until_us = int(loaded.about.get("events") or 0), loaded.about.get("newest_event_us")
    if "prior.weight" not in loaded.arrays or until_us is None:
        return ()
    num_missing = num_trained - cutoffs.events_before(sequences, int(until_us) + 1).num_events
    if num_missing <= FORGOTTEN_SHARE * num_trained:
        return ()
    return (
        f"{num_missing:,} of the {num_trained:,} events of the training are in no log of this update, and the "
        "co-visitation model beside the network is fitted without them: give the older log with --replay.",
    )


def merge_logs(
    log: "EventLog", replay: "EventLog | None", catalog: Catalog, *, by: str = "user"
) -> tuple[Sequences, int]:
    """Return the events of both logs in time order, indexed by the larger catalog, and the number of events in both.

    These count once: an event of a user on an item at a time is as frequent as in the log that has more of it.

    Args:
        log: the new events.
        replay: older events; None: none.
        catalog: the larger catalog.
        by: "user" or "session", as ``EventLog.sequences`` takes it.
    """
    if replay is None:
        return log.sequences(catalog, by=by)[0], 0
    import polars as pl

    key, number = ["user_id", "item_id", "timestamp"], "__number__"
    columns = [*key, *(name for name in log.context if name not in key)]
    if by == "session" and all("session_id" in part.frame.columns for part in (log, replay)):
        columns = list(dict.fromkeys([*columns, "session_id"]))
    occurrence = pl.int_range(pl.len()).over(key).alias(number)
    numbered = [part.frame.select(columns).with_columns(occurrence) for part in (replay, log)]
    both = pl.concat(numbered, how="vertical_relaxed")
    merged = both.unique([*key, number], keep="first", maintain_order=True).drop(number)
    return log.with_frame(merged).sequences(catalog, by=by)[0], both.height - merged.height


def warn_of_spellings(catalog: Catalog, log: "EventLog", items: "ItemTable | None") -> tuple[str, ...]:
    """Return sentences about ids of the new log and of the items table that are items in another spelling.

    Args:
        catalog: items of the model.
        log: the new events.
        items: the items table; None: none.
    """
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


def _with_contexts(loaded: Artifact, log: "EventLog", replay: "EventLog | None") -> "tuple[EventLog, EventLog | None]":
    """Return the logs with the context columns of the model's networks. ValueError for a log without one of them."""
    kinds: dict[str, Any] = {}
    for name in loaded.arrays:
        if f".{name}".endswith(".contexts.columns"):
            vectors = FeatureEmbeddings.restore(loaded.arrays, name.removesuffix(".columns"))
            kinds |= {} if vectors is None else {c.name: c.column_type for c in vectors.encoding.columns}
    if not kinds:
        return log, replay
    return log.with_context(kinds), None if replay is None else replay.with_context(kinds)
