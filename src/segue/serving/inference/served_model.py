"""What answers: a scorer with its catalog, opened from an artifact."""

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


@dataclass(frozen=True)
class ServedModel:
    """What answers: a scorer and the catalog it was trained with."""

    version: str
    scorer: Scorer
    catalog: Catalog
    titles: dict[str, str]
    exclude_seen: bool
    """What a request gets that does not say: the same as in the model's evaluation."""
    pipeline_service: PipelineService | None = None
    """Of a pipeline: its placements and their rules."""
    event_contexts: EventContextReader | None = None
    """What it learned from of events' contexts, if anything."""

    @classmethod
    def open(cls, run: Path) -> "ServedModel":
        """Loads an artifact and lets it answer once. ValueError when it is none, or cannot score."""
        loaded = artifact.load(run)
        titles = {item: about.get("title") for item, about in loaded.items.items()}
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
        """All items by id, for whoever pages through them."""
        return tuple(sorted(self.catalog.ids))

    @cached_property
    def retrieval(self) -> Retriever:
        """The scorer as it is served."""
        return Retriever(self.scorer)

    def enable_approximate_search(self) -> str:
        """Searches large catalogs through an index from now on, if it is good enough; a sentence about that."""
        recall = self.retrieval.enable_approximate()
        if recall is None:
            return f"Version {self.version} is answered exactly: its catalog is not one that is searched by vectors."
        found = f"of version {self.version} finds {recall:.1%} of the true best 20"
        if recall < MIN_RECALL:
            return f"The approximate search {found}, below {MIN_RECALL:.0%}: it is answered exactly."
        return f"The approximate search {found}."

    def top_k(
        self, history: Sequence[int], k: int, *, exclude: Sequence[int] = (), allow: Sequence[int] | None = None
    ) -> list[Recommendation]:
        """The k best items after a history of indices, as in an evaluation."""
        items_BK, best_BK = self.retrieval.top_k([RetrievalQuery(history, exclude, allow)], k)
        return self.to_recommendations(items_BK[0], best_BK[0])

    def to_recommendations(self, items_K: np.ndarray, scores_K: np.ndarray) -> list[Recommendation]:
        """A list for people, without filler."""
        ids, titles = self.catalog.ids, self.titles
        found = zip(items_K.tolist(), scores_K.tolist(), strict=True)
        named = ((ids[item - 1], score) for item, score in found if item != PAD)
        return [Recommendation(item, score, titles.get(item)) for item, score in named]
