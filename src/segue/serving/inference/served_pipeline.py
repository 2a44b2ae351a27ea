"""Lists of a served pipeline: rules of the placement applied, each item with its source and its explanation."""

from collections.abc import Sequence

import numpy as np

from segue.data.catalog import Catalog
from segue.data.sequences import Sequences
from segue.models.artifact import Artifact
from segue.models.scorer import Scorer
from segue.pipeline.explanations.explain import explain
from segue.pipeline.pipeline import Pipeline
from segue.pipeline.placements.placement import DEFAULT_PLACEMENT, PlacementEngine, PlacementRequest
from segue.pipeline.ranked_list import RankedList
from segue.serving.schemas.problems import Problem
from segue.serving.schemas.requests import ItemExplanation, Recommendation, RecommendRequest

CACHED = "cached"
"""Source of an item that a fallback list takes from the user's last list."""


class PipelineService:
    """Recommendations of one pipeline. For one thread at a time, because exploration draws from one generator."""

    def __init__(self, pipeline: Pipeline, catalog: Catalog, artifact: Artifact, rng: np.random.Generator) -> None:
        """Prepare the placements of a pipeline.

        Args:
            pipeline: the restored pipeline.
            catalog: its catalog.
            artifact: source of item titles and features.
            rng: generator for exploration.

        Raises:
            ValueError: a rule of the settings names an item, column or placement that does not exist.
        """
        self._placements = PlacementEngine(pipeline, catalog, artifact.items)
        self._ids = catalog.ids
        titles = {item: features.get("title") for item, features in artifact.items.items()}
        self._titles = {item: title for item, title in titles.items() if isinstance(title, str)}
        self._rng = rng

    @property
    def pipeline(self) -> Pipeline:
        """Served pipeline."""
        return self._placements.pipeline

    @classmethod
    def from_scorer(cls, scorer: Scorer, artifact: Artifact) -> "PipelineService | None":
        """Return the service of a pipeline; None for a single model, which has no placements.

        Args:
            scorer: the restored scorer.
            artifact: the artifact that it was restored from.
        """
        if not isinstance(scorer, Pipeline):
            return None
        return cls(scorer, artifact.catalog, artifact, np.random.default_rng())

    @property
    def placement_names(self) -> list[str]:
        """Names of the placements."""
        return self._placements.names

    def allowed_items(
        self,
        request: RecommendRequest,
        history: Sequences,
        *,
        exclude: Sequence[int] = (),
        allowed_V: np.ndarray | None = None,
    ) -> np.ndarray:
        """Return the items that a request and the rules of its placement allow, bool [V].

        Args:
            request: placement, filter and exclude_seen.
            history: one row of item indices.
            exclude: item indices that must not be in the list.
            allowed_V: bool by item index: items that may be in the list; None: all.

        Raises:
            Problem: 422 for an unknown placement or an invalid filter.
        """
        try:
            return self._placements.allowed_items(history, _placement_request(request, exclude, allowed_V))
        except ValueError as error:
            raise Problem(422, str(error)) from None

    def recommend(
        self, request: RecommendRequest, history: Sequences, allowed_V: np.ndarray, *, explore: bool = True
    ) -> list[Recommendation]:
        """Return the list after one history.

        Args:
            request: k, placement and explain.
            history: one row of item indices.
            allowed_V: result of ``allowed_items``.
            explore: draw as the placement's exploration states; False: no draw.
        """
        rng = self._rng if explore else None
        placement = _placement_request(request)
        ranked = self._placements.recommend(history, request.k, placement, rng=rng, allowed_V=allowed_V)
        return self._recommendations(request, history, ranked)

    def recommend_without_scoring(
        self, request: RecommendRequest, items_K: np.ndarray, scores_K: np.ndarray, allowed_V: np.ndarray
    ) -> list[Recommendation]:
        """Return the allowed ones of given items, then popular ones, under the pins and quotas of the placement.

        Args:
            request: k and placement.
            items_K: item indices to begin with, best first, without PAD.
            scores_K: their scores.
            allowed_V: result of ``allowed_items``.
        """
        ranked = RankedList.from_items(items_K, scores_K, sources=(CACHED,))
        built = self._placements.list_without_scoring(ranked, request.k, _placement_request(request), allowed_V)
        return self._recommendations(request, None, built)

    def _recommendations(
        self, request: RecommendRequest, history: Sequences | None, ranked: RankedList
    ) -> list[Recommendation]:
        """Return the items of a list, with explanations if the request has ``explain`` and there is a history."""
        items = []
        for c, index in enumerate(ranked.items_C.tolist()):
            item, score = self._ids[index - 1], float(ranked.scores_C[c])
            recommendation = Recommendation(item, score if np.isfinite(score) else 0.0, self._titles.get(item))
            recommendation.source, recommendation.propensity = ranked.source_name(c), float(ranked.propensity_C[c])
            items.append(recommendation)
        if request.explain and history is not None:
            names = {i: self._titles.get(self._ids[i - 1], self._ids[i - 1]) for i in history.to_lists()[0] if i}
            explanations = explain(self._placements.pipeline, history, ranked, names)
            for recommendation, explanation in zip(items, explanations, strict=True):
                influences = [self._ids[part.item - 1] for part in explanation.influences[:3]]
                sentence = explanation.sentence
                recommendation.reason = ItemExplanation(sentence.english, sentence.chinese, influences)
        return items


def _placement_request(
    request: RecommendRequest, exclude: Sequence[int] = (), allowed_V: np.ndarray | None = None
) -> PlacementRequest:
    return PlacementRequest(
        request.placement or DEFAULT_PLACEMENT,
        exclude=exclude,
        exclude_seen=request.exclude_seen,
        filter=request.filter,
        allowed_V=allowed_V,
    )
