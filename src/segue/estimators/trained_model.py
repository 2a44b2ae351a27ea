"""Fitted model with its catalog: recommend, generate and place new items; ``load`` reads one from a folder.

The example below fits a Markov chain to ten users, each with six of nine items in the order of a ring.

>>> import polars as pl
>>> import segue
>>> rows = [(f"u{u}", f"i{(u + step) % 9}", 100 * step + u) for u in range(10) for step in range(6)]
>>> log = segue.read_events(pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row"))
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segue.data.catalog import Catalog
from segue.data.event_contexts import EventContexts
from segue.data.sequences import Sequences
from segue.models import artifact
from segue.models.generation.generate import generate
from segue.models.generation.strategy import Strategy
from segue.models.scorer import Scorer
from segue.models.top_k import top_k
from segue.pipeline.persistence import restore_saved_pipeline

Recommendations = list[tuple[str, float]]
"""Ranking of items, the best first: (item id, score)."""


class TrainedModel:
    """Fitted model with its catalog: the result of ``load``, and the ``fitted`` attribute of every recommender."""

    def __init__(self, scorer: Scorer, catalog: Catalog, items: Mapping[str, dict[str, Any]] | None = None) -> None:
        self.scorer = scorer
        self.catalog = catalog
        self.items: dict[str, dict[str, Any]] = dict(items or {})

    def recommend(
        self,
        histories: Iterable[Sequence[str]],
        *,
        k: int = 10,
        exclude_seen: bool = True,
        items: Iterable[str] | None = None,
        contexts: Iterable[Sequence[Mapping[str, Any]]] | None = None,
    ) -> list[Recommendations]:
        """Return the k best next items after each history.

        Args:
            histories: item ids of each history, oldest first; ids outside the catalog are skipped. May be empty.
            k: length of each list, at least 1; a list is shorter where fewer items are left.
            exclude_seen: leave items of the history out of its list.
            items: candidate items; None: the whole catalog.
            contexts: for each event of each history, value by column, for a model trained with contexts; a missing
                value counts as unknown. None: no contexts.

        Returns:
            One list of (item id, score) for each history, the best item first.

        Raises:
            ValueError: a flat list of ids, or an id that is not text.
        """
        rows = self._rows(histories)
        if contexts is not None:
            rows = with_contexts(rows, contexts)
        return self.recommend_sequences(rows, k=k, exclude_seen=exclude_seen, items=items)

    def recommend_sequences(
        self, rows: Sequences, *, k: int = 10, exclude_seen: bool = True, items: Iterable[str] | None = None
    ) -> list[Recommendations]:
        """Return the k best next items after histories of item indices, which may have times and contexts.

        Args:
            rows: histories, indexed by the catalog.
            k: see ``recommend``.
            exclude_seen: see ``recommend``.
            items: see ``recommend``.
        """
        if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
            raise ValueError(f"k must be a whole number of at least 1, got {k!r}.")
        seen = rows if exclude_seen else None
        return self._named(*top_k(self.scorer.scores(rows), k, exclude=seen, allowed_V=self._allowed(items)))

    def generate(
        self,
        histories: Iterable[Sequence[str]],
        *,
        steps: int = 10,
        strategy: Strategy | str = "reciprocal-rank",
        seed: int = 0,
        exclude_seen: bool = True,
        items: Iterable[str] | None = None,
    ) -> list[Recommendations]:
        """Generate the next ``steps`` items after each history, one after the other.

        Args:
            histories: see ``recommend``.
            steps: number of items to generate.
            strategy: name of a strategy, or a ``Strategy`` (``segue.models.generation.strategy``), whose
                documentation defines the scores.
            seed: random seed; equal seeds give equal lists.
            exclude_seen: see ``recommend``.
            items: see ``recommend``.
        """
        rows, allowed_V = self._rows(histories), self._allowed(items)
        seen = rows if exclude_seen else None
        rng = np.random.default_rng(seed)
        return self._named(*generate(self.scorer, rows, steps, strategy, rng=rng, exclude=seen, allowed_V=allowed_V))

    def _rows(self, histories: Iterable[Sequence[str]]) -> Sequences:
        """Encode histories of item ids."""
        return Sequences.from_lists(self.catalog.to_indices(_checked(history)) for history in histories)

    def _allowed(self, items: Iterable[str] | None) -> np.ndarray | None:
        """Return the mask of the candidate items, bool [V]; None for all."""
        if items is None:
            return None
        if isinstance(items, str):
            raise ValueError(f"items is a list of item ids, got the text '{items}': write ['{items}'].")
        allowed_V = np.zeros(self.catalog.size, dtype=bool)
        allowed_V[self.catalog.to_indices(check_ids(items, "Item"))] = True
        return allowed_V

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

        new = {item: values for item, values in read_items(items).by_id().items() if item not in self.catalog}
        if not new:
            return self
        scorer = add_rows_for_items(self.scorer, list(new.values()))
        return TrainedModel(scorer, Catalog([*self.catalog.ids, *new]), {**self.items, **new})

    def similar(self, item: str, *, k: int = 10) -> Recommendations:
        """Return the k best next items after a history of one item.

        Args:
            item: item id of the catalog.
            k: length of the list.

        Raises:
            ValueError: the catalog has no such item.
        """
        if item not in self.catalog:
            raise ValueError(f"The catalog has no item '{item}'.")
        return self.recommend([[item]], k=k)[0]


def with_contexts(rows: Sequences, contexts: Iterable[Sequence[Mapping[str, Any]]]) -> Sequences:
    """Attach contexts to the events of histories.

    Args:
        rows: the histories.
        contexts: for each event of each history, value by column.

    Raises:
        ValueError: a history has another number of contexts than events.
    """
    each = [list(row) for row in contexts]
    if [len(row) for row in each] != rows.lengths.tolist():
        raise ValueError(
            f"Each history needs a context for each of its events, but the histories have {rows.lengths.tolist()} "
            f"events and there are {[len(row) for row in each]} contexts."
        )
    return dataclasses.replace(rows, contexts=EventContexts.from_rows(context for row in each for context in row))


def _checked(history: Sequence[str]) -> Sequence[str]:
    """Check a history. A text would be read as a list of letters, and a number would be an unknown item."""
    if isinstance(history, str):
        raise ValueError(f"A history is a list of item ids, got the text '{history}': for one history write [[...]].")
    return check_ids(history, "Item")


def check_ids(ids: Iterable[str], entity: str) -> list[str]:
    """Return ids as a list.

    Args:
        ids: ids of items or users.
        entity: "Item" or "User", for the message.

    Raises:
        ValueError: an id is no text: a number would be an unknown id.
    """
    ids = list(ids)
    for one in ids:
        if not isinstance(one, str):
            whole = isinstance(one, float) and one.is_integer()
            raise ValueError(f"{entity} ids are texts, got {one!r}: write '{int(one) if whole else one}'.")
    return ids


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
    return TrainedModel(restore_saved_pipeline(saved), saved.catalog, saved.items)
