"""Served model: a scorer with its catalog, loaded from an artifact."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from segue.data.catalog import PAD, Catalog
from segue.models import artifact
from segue.models.retrieval.product_quantization import MIN_RECALL
from segue.models.retrieval.retriever import RetrievalQuery, Retriever
from segue.models.scorer import Scorer
from segue.pipeline.persistence import restore_saved_pipeline
from segue.serving.inference.served_pipeline import PipelineService
from segue.serving.schemas.requests import Recommendation
from segue.serving.sessions.event_context import EventContextReader


class NonFiniteScoreError(ValueError):
    """A score that is NaN or infinite."""


@dataclass(frozen=True)
class ServedModel:
    """Scorer with its catalog, titles and defaults."""

    version: str
    scorer: Scorer
    catalog: Catalog
    titles: dict[str, str]
    """Title by item id."""
    exclude_seen: bool
    """Default of a request without ``exclude_seen``: the value of the model's evaluation."""
    pipeline_service: PipelineService | None = None
    """Placements and rules of a pipeline; None for a single model."""
    event_contexts: EventContextReader | None = None
    """Reader of the context columns that the model is trained on; None without any."""

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
        scorer = restore_saved_pipeline(loaded)
        model = cls(
            version=loaded.version,
            scorer=scorer,
            catalog=loaded.catalog,
            titles={item: title for item, title in titles.items() if isinstance(title, str)},
            exclude_seen=loaded.about.get("exclude_seen", True) is not False,
            pipeline_service=PipelineService.from_scorer(scorer, loaded),
            event_contexts=EventContextReader.from_arrays(loaded.arrays),
        )
        model.top_k([], 1)
        return model

    @cached_property
    def sorted_ids(self) -> tuple[str, ...]:
        """Item ids in sorted order, for catalog pages."""
        return tuple(sorted(self.catalog.ids))

    @cached_property
    def retrieval(self) -> Retriever:
        """Top-k retrieval over the scorer."""
        return Retriever(self.scorer)

    def enable_approximate_search(self) -> str:
        """Search large catalogs through an approximate index if its recall is high enough; return a message."""
        recall = self.retrieval.enable_approximate()
        if recall is None:
            return (
                f"Version {self.version} is searched exactly: an approximate index needs a large catalog of embeddings."
            )
        result = f"of version {self.version} finds {recall:.1%} of the true best 20"
        if recall < MIN_RECALL:
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
