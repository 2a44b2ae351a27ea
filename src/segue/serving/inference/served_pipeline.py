"""Lists of a served pipeline: rules of the placement applied, each item with its source and its explanation."""

from collections.abc import Sequence

import numpy as np

from segue.data.sequences import Sequences
from segue.models.artifact import Artifact
from segue.models.scorer import Scorer
from segue.pipeline.live.growing_catalog import GrowingCatalog
from segue.pipeline.live.live_placements import explain_list
from segue.pipeline.pipeline import Pipeline
from segue.pipeline.placements.forbidding_rules import empty_list_note, pin_notes
from segue.pipeline.placements.placement import DEFAULT_PLACEMENT, PlacementEngine, PlacementRequest
from segue.pipeline.ranked_list import RankedList
from segue.serving.schemas.problems import Problem
from segue.serving.schemas.requests import ItemExplanation, Recommendation, RecommendRequest

CACHED = "cached"
"""Source of an item that a fallback list takes from the user's last list."""


class PipelineService:
    """Recommendations of one pipeline. For one thread at a time, because exploration draws from one generator."""

    def __init__(
        self, pipeline: Pipeline, catalog: GrowingCatalog, artifact: Artifact, rng: np.random.Generator
    ) -> None:
        """Prepare the placements of a pipeline.

        Args:
            pipeline: the restored pipeline.
            catalog: its catalog, which new items may join.
            artifact: source of item titles and features.
            rng: generator for exploration.

        Raises:
            ValueError: a rule of the settings names an item, column or placement that does not exist.
        """
        self._placements = PlacementEngine(pipeline, catalog, artifact.items)
        titles = {item: features.get("title") for item, features in artifact.items.items()}
        self.titles = {item: title for item, title in titles.items() if isinstance(title, str)}
        """Title by item id."""
        self._rng = rng

    @property
    def placements(self) -> PlacementEngine:
        """Placements that answer now."""
        return self._placements

    def replace_placements(self, placements: PlacementEngine) -> None:
        """Answer later requests with other placements; requests under way keep theirs."""
        self._placements = placements

    @property
    def pipeline(self) -> Pipeline:
        """Served pipeline."""
        return self._placements.pipeline

    @classmethod
    def from_scorer(cls, scorer: Scorer, catalog: GrowingCatalog, artifact: Artifact) -> "PipelineService | None":
        """Return the service of a pipeline; None for a single model, which has no placements.

        Args:
            scorer: the restored scorer.
            catalog: its catalog, which new items may join.
            artifact: the artifact that it was restored from.
        """
        if not isinstance(scorer, Pipeline):
            return None
        return cls(scorer, catalog, artifact, np.random.default_rng())

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
        impressions: Sequence[int] = (),
        allowed_V: np.ndarray | None = None,
        seen: Sequences | None = None,
    ) -> np.ndarray:
        """Return the items that a request and the rules of its placement allow, bool [V].

        Args:
            request: placement, filter and exclude_seen.
            history: one row of item indices.
            exclude: item indices that must not be in the list.
            impressions: item indices that were recently recommended to the user.
            allowed_V: bool by item index: items that may be in the list; None: all.
            seen: events of all types, see ``PlacementRequest.seen``.

        Raises:
            Problem: 422 for an unknown placement or an invalid filter.
        """
        engine = self._placements
        fitted_V = None if allowed_V is None else engine.fit_mask(allowed_V)
        try:
            return engine.allowed_items(history, _placement_request(request, exclude, fitted_V, impressions, seen))
        except ValueError as error:
            raise Problem(422, str(error)) from None

    @property
    def notes(self) -> list[str]:
        """Sentences about suspicious rules of the placements, such as a pin that is never shown."""
        return self._placements.notes

    @property
    def reads_event_types(self) -> bool:
        """True if a placement leaves out items of some event types."""
        return self._placements.reads_event_types

    @property
    def reads_impressions(self) -> bool:
        """True if a placement leaves out items that were recently recommended."""
        return self._placements.reads_impressions

    def list_notes(
        self, request: RecommendRequest, history: Sequences, listed: Sequence[int], seen: Sequences | None = None
    ) -> list[str]:
        """Return sentences about pins of the placement that a list does not show, and about a list without items.

        Args:
            request: the request.
            history: one row of item indices.
            listed: item indices of the list.
            seen: events of all types, see ``PlacementRequest.seen``.
        """
        engine, placement = self._placements, _placement_request(request, seen=seen)
        notes = pin_notes(engine, list(listed), history, placement)
        return notes if listed else [*notes, empty_list_note(engine, placement)]

    def pipeline_history(self, history: Sequences) -> Sequences:
        """Return a history for the pipeline's own scorers, which do not know new items."""
        return self._placements.pipeline_history(history)

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
        placement, engine = _placement_request(request), self._placements
        ranked = engine.recommend(history, request.k, placement, rng=rng, allowed_V=engine.fit_mask(allowed_V))
        return self._recommendations(request, history, ranked, engine)

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
        engine, placement = self._placements, _placement_request(request)
        built = engine.list_without_scoring(ranked, request.k, placement, engine.fit_mask(allowed_V))
        return self._recommendations(request, None, built, engine)

    def _recommendations(
        self, request: RecommendRequest, history: Sequences | None, ranked: RankedList, engine: PlacementEngine
    ) -> list[Recommendation]:
        """Return the items of a list, with explanations if the request has ``explain`` and there is a history."""
        items, ids = [], engine.item_data.catalog.ids
        for c, index in enumerate(ranked.items_C.tolist()):
            item, score = ids[index - 1], float(ranked.scores_C[c])
            recommendation = Recommendation(item, score if np.isfinite(score) else 0.0, self.titles.get(item))
            recommendation.source, recommendation.propensity = ranked.source_name(c), float(ranked.propensity_C[c])
            items.append(recommendation)
        if request.explain and history is not None:
            names = {i: self.titles.get(ids[i - 1], ids[i - 1]) for i in history.to_lists()[0] if i}
            explanations = explain_list(engine, history, ranked, names)
            for recommendation, explanation in zip(items, explanations, strict=True):
                influences = [ids[part.item - 1] for part in explanation.influences[:3]]
                sentence = explanation.sentence
                recommendation.reason = ItemExplanation(sentence.english, sentence.chinese, influences)
        return items


def _placement_request(
    request: RecommendRequest,
    exclude: Sequence[int] = (),
    allowed_V: np.ndarray | None = None,
    impressions: Sequence[int] = (),
    seen: Sequences | None = None,
) -> PlacementRequest:
    return PlacementRequest(
        request.placement or DEFAULT_PLACEMENT,
        exclude=exclude,
        impressions=impressions,
        exclude_seen=request.exclude_seen,
        filter=request.filter,
        allowed_V=allowed_V,
        seen=seen,
    )
