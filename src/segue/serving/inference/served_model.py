"""Served model: a scorer with its catalog, loaded from an artifact."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from segue.config.history_events import HistoryEvents
from segue.data.catalog import PAD
from segue.data.log_description import LogDescription
from segue.data.readers.column_roles import find_title_column
from segue.models import artifact
from segue.models.retrieval.product_quantization import MIN_RECALL
from segue.models.retrieval.retriever import RetrievalQuery, Retriever
from segue.models.scorer import Scorer
from segue.pipeline.live.growing_catalog import GrowingCatalog
from segue.pipeline.next_item_probabilities import probability_scorer
from segue.pipeline.persistence import restore_saved_pipeline
from segue.serving.inference.served_pipeline import PipelineService
from segue.serving.schemas.requests import Recommendation
from segue.serving.sessions.event_context import EventContextReader


class NonFiniteScoreError(ValueError):
    """A score that is NaN or infinite."""


@dataclass
class ItemChanges:
    """Changes of a model's items while it is served, written by the thread that applies them."""

    hidden: list[int] = field(default_factory=list)
    """Indices of items that no list of a single model may hold; a pipeline's placements know their own."""
    deleted: frozenset[str] = frozenset()
    """Ids of deleted items."""
    sorted_ids: tuple[str, ...] | None = None
    """Ids of a catalog page in sorted order; None: to be made."""


@dataclass(eq=False)
class ServedModel:
    """Scorer with its catalog, titles and defaults. A network with item features grows by new items (``LiveNetwork``),
    while no list is scored."""

    version: str
    scorer: Scorer
    catalog: GrowingCatalog
    titles: dict[str, str]
    """Title by item id."""
    exclude_seen: bool
    """Default of a request without ``exclude_seen``: the value of the model's evaluation."""
    pipeline_service: PipelineService | None = None
    """Placements and rules of a pipeline; None for a single model."""
    event_contexts: EventContextReader | None = None
    """Reader of the context columns that the model is trained on; None without any."""
    probability_scorer: Scorer | None = None
    """Scorer of calibrated log-probabilities, which sequences are generated with; None: the scorer itself."""
    history_events: HistoryEvents | None = None
    """Event types that its training log kept; None: all."""
    item_columns: frozenset[str] = frozenset()
    """Names of the columns of its items table."""
    title_column: str = "title"
    """Column of its items table that holds the titles."""
    changes: ItemChanges = field(default_factory=ItemChanges)
    """Changes of its items while it is served."""
    about: Mapping[str, Any] = field(default_factory=dict)
    """Provenance of its artifact."""
    is_approximate: bool = False
    """True if its catalog is searched through an approximate index."""

    @classmethod
    def open(cls, run: Path) -> "ServedModel":
        """Load an artifact and score an empty history once.

        Args:
            run: folder of the artifact.

        Raises:
            ValueError: the folder is not a sound artifact, or the model cannot score.
        """
        loaded = artifact.load(run)
        titles = {item: features.get("title") for item, features in loaded.items.items()}
        scorer, catalog = restore_saved_pipeline(loaded), GrowingCatalog(loaded.catalog)
        model = cls(
            version=loaded.version,
            scorer=scorer,
            catalog=catalog,
            titles={item: title for item, title in titles.items() if isinstance(title, str)},
            exclude_seen=loaded.about.get("exclude_seen", True) is not False,
            pipeline_service=PipelineService.from_scorer(scorer, catalog, loaded),
            event_contexts=EventContextReader.from_arrays(loaded.arrays),
            probability_scorer=probability_scorer(scorer, loaded.about),
            history_events=_history_events(loaded.about.get("log")),
            item_columns=frozenset(name for row in loaded.items.values() for name in row),
            title_column=_title_column(loaded.items),
            about=loaded.about,
        )
        model.top_k([], 1)
        return model

    @property
    def sorted_ids(self) -> tuple[str, ...]:
        """Item ids in sorted order without deleted ones, for catalog pages."""
        changes = self.changes
        if changes.sorted_ids is None:
            changes.sorted_ids = tuple(sorted(item for item in self.catalog.ids if item not in changes.deleted))
        return changes.sorted_ids

    @cached_property
    def retrieval(self) -> Retriever:
        """Top-k retrieval over the scorer."""
        return Retriever(self.scorer)

    def check_processes(self, workers: int) -> None:
        """Check that the rules of the placements hold with a number of processes, which requests of one user may reach.

        Raises:
            ValueError: several processes, and a placement that leaves out recently recommended items.
        """
        if workers > 1 and self.pipeline_service is not None and self.pipeline_service.reads_impressions:
            raise ValueError(
                f"A placement of version {self.version} leaves out recently recommended items (exclude_shown), which "
                "each process knows of its own lists only: serve it with --workers 1, or leave the rule out."
            )

    def enable_approximate_search(self) -> str:
        """Search large catalogs through an approximate index if its recall is high enough; return a message."""
        recall = self.retrieval.enable_approximate()
        if recall is None:
            return (
                f"Version {self.version} is searched exactly: an approximate index needs a large catalog of embeddings."
            )
        result = f"of version {self.version} finds {recall:.1%} of the true best 20"
        self.is_approximate = recall >= MIN_RECALL
        if not self.is_approximate:
            return f"The approximate search {result}, below {MIN_RECALL:.0%}: it is searched exactly."
        return f"The approximate search {result}."

    def top_k(
        self, history: Sequence[int], k: int, *, exclude: Sequence[int] = (), allow: Sequence[int] | None = None
    ) -> list[Recommendation]:
        """Return the k best items after a history, as in the evaluation.

        Args:
            history: item indices, oldest first.
            k: largest length of the list.
            exclude: item indices that must not be in the list.
            allow: item indices that may be in it; None: all.
        """
        items_BK, best_BK = self.retrieval.top_k([RetrievalQuery(history, exclude, allow)], k)
        return self.to_recommendations(items_BK[0], best_BK[0])

    def to_recommendations(self, items_K: np.ndarray, scores_K: np.ndarray) -> list[Recommendation]:
        """Return recommendations with ids and titles; the filler PAD is left out.

        Args:
            items_K: item indices.
            scores_K: their scores.

        Raises:
            NonFiniteScoreError: a score is NaN or infinite.
        """
        ids, titles = self.catalog.ids, self.titles
        pairs = zip(items_K.tolist(), scores_K.tolist(), strict=True)
        scored = [(ids[item - 1], score) for item, score in pairs if item != PAD]
        if not math.isfinite(sum(score for _, score in scored)):
            raise NonFiniteScoreError(
                "A score is not a finite number: the model is broken, its list would be arbitrary."
            )
        return [Recommendation(item, score, titles.get(item)) for item, score in scored]


def _history_events(log: Any) -> HistoryEvents | None:
    """Return the event types that a training log kept; None: all, or a model that does not describe its log."""
    try:
        return None if log is None else LogDescription.from_dict(log).history_events()
    except ValueError as error:
        raise ValueError(f"The model describes the log of its training wrongly: {error}") from None


def _title_column(items: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the column whose values an items table stored as "title" too; "title" where there is no other."""
    column = find_title_column({name for row in items.values() for name in row} - {"title"})
    is_title = column is not None and all(row.get(column) == row.get("title") for row in items.values())
    return column if column is not None and is_title else "title"
