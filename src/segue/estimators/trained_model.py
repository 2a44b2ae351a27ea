"""Fitted model with its catalog: recommend, generate and place new items; ``load`` reads one from a folder.

The example below fits a Markov chain to ten users, each with six of nine items in the order of a ring.

>>> import polars as pl
>>> import segue
>>> rows = [(f"u{u}", f"i{(u + step) % 9}", 100 * step + u) for u in range(10) for step in range(6)]
>>> log = segue.read_events(pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row"))
"""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from segue.data.catalog import Catalog
from segue.data.sequences import Sequences
from segue.estimators.histories import check_history, check_ids, with_contexts, with_model_contexts
from segue.estimators.ruled_lists import ListRequest, ListRules, RuledLists, encode_request
from segue.models import artifact
from segue.models.generation.strategy import Strategy, find_strategy
from segue.models.scorer import Scorer
from segue.pipeline.config import PlacementConfig
from segue.pipeline.next_item_probabilities import probability_scorer
from segue.pipeline.persistence import restore_saved_pipeline

if TYPE_CHECKING:
    from segue.data.event_log import EventLog

Recommendations = list[tuple[str, float]]
"""Ranking of items, the best first: (item id, score)."""


class TrainedModel:
    """Fitted model with its catalog: the result of ``load``, and the ``fitted`` attribute of every recommender."""

    def __init__(
        self,
        scorer: Scorer,
        catalog: Catalog,
        items: Mapping[str, dict[str, Any]] | None = None,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        """Wrap a fitted model.

        Args:
            scorer: the model.
            catalog: its items.
            items: displayed columns by item id; None: none.
            about: provenance, with the calibration among its notes; None: the model was not calibrated.

        Raises:
            ValueError: the calibration is not valid.
        """
        self.scorer = scorer
        self.catalog = catalog
        self.items: dict[str, dict[str, Any]] = dict(items or {})
        self.about: dict[str, Any] = dict(about or {})
        self.probability_scorer = probability_scorer(scorer, self.about)
        """Scorer of calibrated log-probabilities, which sampling draws from."""
        self.lists = self._ruled_lists(None)
        """Lists under the rules of requests and placements."""

    def _ruled_lists(self, placements: Sequence[PlacementConfig] | None) -> RuledLists:
        seen = self.about.get("exclude_seen", True) is not False
        return RuledLists(self.scorer, self.catalog, self.items, excluded_in_evaluation=seen, placements=placements)

    def with_placements(self, placements: Sequence[PlacementConfig]) -> "TrainedModel":
        """Return the same pipeline with other placements.

        Raises:
            ValueError: a single model, or a rule with an unknown column or a wrong filter.
        """
        other = TrainedModel(self.scorer, self.catalog, self.items, self.about)
        other.lists = other._ruled_lists(placements)
        _ = other.lists.engine
        return other

    def read_events(self, source: Any, **options: Any) -> "EventLog":
        """Read a later log as the log of the training was read, but for the options that choose training data.

        Its events have the context columns of the model that the log has.

        Args:
            source: path of a file, or a table.
            options: options of ``segue.read_events``, in place of those of the training.

        Raises:
            ValueError: as ``segue.read_events``.
        """
        from segue.data.readers.events import read_events
        from segue.data.readers.log_options import decode_description

        values = self.about.get("log")
        like = None if values is None else decode_description(values, "this model").for_later_logs()
        return with_model_contexts(self.scorer, read_events(source, like=like, **options))[0]

    def recommend(
        self,
        histories: Iterable[Sequence[str]],
        *,
        k: int = 10,
        exclude_seen: bool | None = None,
        items: Iterable[str] | None = None,
        contexts: Iterable[Sequence[Mapping[str, Any]]] | None = None,
        **rules: Unpack[ListRules],
    ) -> list[Recommendations]:
        """Return the k best next items after each history. Lists of a pipeline keep the rules of their placement.

        Args:
            histories: item ids of each history, oldest first; ids outside the catalog are skipped. May be empty.
            k: length of each list, at least 1; a list is shorter where fewer items are left.
            exclude_seen: leave items of the history out of its list; False: none of them. None: as in the evaluation,
                and never the last item of the history; for a pipeline as its placement states.
            items: candidate items; None: the whole catalog.
            contexts: for each event of each history, value by column, for a model trained with contexts; a missing
                value counts as unknown. The column "event" holds the event type, which a placement's ``exclude_seen``
                may read. None: no contexts.
            rules: placement and filter of a pipeline, excluded items, see ``ListRules``.

        Returns:
            One list of (item id, score) for each history, the best item first.

        Raises:
            ValueError: a flat list of ids, an id that is not text, an unknown placement, or a wrong filter.
        """
        rows = self.histories(histories, contexts)
        return self.recommend_sequences(rows, k=k, exclude_seen=exclude_seen, items=items, **rules)

    def recommend_sequences(
        self,
        rows: Sequences,
        *,
        k: int = 10,
        exclude_seen: bool | None = None,
        items: Iterable[str] | None = None,
        **rules: Unpack[ListRules],
    ) -> list[Recommendations]:
        """Return the k best next items after histories of item indices, which may have times and contexts.

        Args:
            rows: histories, indexed by the catalog.
            k: see ``recommend``.
            exclude_seen: see ``recommend``.
            items: see ``recommend``.
            rules: see ``recommend``.
        """
        if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
            raise ValueError(f"k must be a whole number of at least 1, got {k!r}.")
        return self._named(*self.lists.top_k(rows, int(k), self.request(exclude_seen, items, **rules)))

    def request(
        self, exclude_seen: bool | None = None, items: Iterable[str] | None = None, **rules: Unpack[ListRules]
    ) -> ListRequest:
        """Return the rules of a request with item indices.

        Args:
            exclude_seen: see ``recommend``.
            items: see ``recommend``.
            rules: see ``recommend``.
        """
        return encode_request(self.catalog, exclude_seen, items, rules)

    def generate(
        self,
        histories: Iterable[Sequence[str]] | Sequences,
        *,
        steps: int = 10,
        strategy: Strategy | str = "reciprocal-rank",
        temperature: float | None = None,
        seed: int = 0,
        contexts: Iterable[Sequence[Mapping[str, Any]]] | None = None,
        **rules: Any,
    ) -> list[Recommendations]:
        """Generate the next ``steps`` items after each history, one after the other.

        Every strategy but 'top-k' works on calibrated probabilities, see ``probabilities``.

        Args:
            histories: see ``recommend``; or histories of item indices.
            steps: number of items to generate.
            strategy: name of a strategy, or a ``Strategy`` (``segue.models.generation.strategy``), whose
                documentation defines the scores.
            temperature: divisor of the log-probabilities before sampling, above 0; 1 samples as the probabilities
                state. None: the strategy's own.
            seed: random seed; equal seeds give equal lists.
            contexts: see ``recommend``.
            rules: ``exclude_seen``, ``items`` and the rules of ``recommend``.
        """
        rows = histories if isinstance(histories, Sequences) else self.histories(histories, contexts)
        request = self.request(**rules)
        rng, chosen = np.random.default_rng(seed), find_strategy(strategy, temperature=temperature)
        scorer = self.scorer if chosen.name == "top-k" else self.probability_scorer
        return self._named(*self.lists.generate(scorer, rows, steps, chosen, rng, request))

    def probabilities(self, histories: Iterable[Sequence[str]], items: Sequence[str]) -> list[list[float]]:
        """Return the probability of given items to be the next one after each history.

        They are calibrated on validation where the model has one (``SoftmaxCalibration``). A model that was evaluated
        without seen items gives these no probability.

        Args:
            histories: see ``recommend``.
            items: item ids; an id outside the catalog has probability 0.

        Raises:
            ValueError: a flat list of ids, or an id that is not text.
        """
        rows, columns = self.histories(histories), self.catalog.to_indices(check_ids(items, "Item"))
        probabilities: list[list[float]] = []
        block = max(1, (1 << 22) // self.catalog.size)
        for start in range(0, len(rows), block):
            logs_BV = self.probability_scorer.log_probabilities(rows.take(slice(start, start + block)))
            probabilities += np.exp(logs_BV[:, columns]).tolist()
        return probabilities

    def histories(
        self,
        histories: Iterable[Sequence[str]],
        contexts: Iterable[Sequence[Mapping[str, Any]]] | None = None,
    ) -> Sequences:
        """Encode histories of item ids.

        Args:
            histories: see ``recommend``.
            contexts: see ``recommend``.
        """
        rows = Sequences.from_lists(self.catalog.to_indices(check_history(history)) for history in histories)
        return rows if contexts is None else with_contexts(rows, contexts)

    def _named(self, items_BK: np.ndarray, scores_BK: np.ndarray) -> list[Recommendations]:
        return [
            [(name, float(score)) for name, score in zip(self.catalog.to_ids(row), scores, strict=False)]
            for row, scores in zip(items_BK, scores_BK, strict=True)
        ]

    def with_items(self, items: Any) -> "TrainedModel":
        """Return the model with new items, whose embeddings come from their features alone.

        ``items``: a table that ``read_items`` reads. Items of the catalog stay as they are. ValueError for a model
        that was trained without features.
        """
        from segue.data.readers.items import read_items
        from segue.models.add_items import add_rows_for_items

        table = read_items(items).matched_with(self.catalog.ids)
        for warning in table.warnings:
            warnings.warn(warning, stacklevel=2)
        new = {item: values for item, values in table.by_id().items() if item not in self.catalog}
        if not new:
            return self
        scorer = add_rows_for_items(self.scorer, list(new.values()))
        return TrainedModel(scorer, Catalog([*self.catalog.ids, *new]), {**self.items, **new}, self.about)

    def similar(self, item: str, *, k: int = 10, **rules: Unpack[ListRules]) -> Recommendations:
        """Return the k best next items after a history of one item, without that item.

        Args:
            item: item id of the catalog.
            k: length of the list.
            rules: see ``recommend``.

        Raises:
            ValueError: the catalog has no such item; an unknown placement or a wrong filter.
        """
        if item not in self.catalog:
            raise ValueError(f"The catalog has no item '{item}'.")
        rules["exclude"] = [*rules.get("exclude", ()), item]
        return self.recommend([[item]], k=k, **rules)[0]


def load(folder: str | Path) -> TrainedModel:
    """Load a saved model or pipeline; needs no torch. ValueError for a folder that is none.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = segue.Markov().fit(log).save(f"{folder}/run")
    ...     model = segue.load(f"{folder}/run")
    >>> model.recommend([["i1", "i2"]], k=1)[0][0][0]
    'i3'
    """
    saved = artifact.load(Path(folder))
    return TrainedModel(restore_saved_pipeline(saved), saved.catalog, saved.items, saved.about)
