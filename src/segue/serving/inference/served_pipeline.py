"""A served pipeline's list: by the rules of the request's placement, each item with its source and its reason."""

from collections.abc import Sequence

import numpy as np

from segue.data.catalog import Catalog
from segue.data.sequences import Sequences
from segue.models.artifact import Artifact
from segue.models.scorer import Scorer
from segue.pipeline.explanations.explain import explain
from segue.pipeline.pipeline import Pipeline
from segue.pipeline.placements.placement import DEFAULT, PlacementEngine, PlacementRequest
from segue.serving.schemas.problems import Problem
from segue.serving.schemas.requests import Explanation, Recommendation, RecommendRequest


class PipelineService:
    """Answers for one pipeline; asked from one thread at a time, because exploration draws from one generator."""

    def __init__(self, pipeline: Pipeline, catalog: Catalog, artifact: Artifact, rng: np.random.Generator) -> None:
        """ValueError for a rule of its settings that names what there is not."""
        self._placements = PlacementEngine(pipeline, catalog, artifact.items)
        self._ids = catalog.ids
        titles = {item: about.get("title") for item, about in artifact.items.items()}
        self._titles = {item: title for item, title in titles.items() if isinstance(title, str)}
        self._rng = rng

    @property
    def pipeline(self) -> Pipeline:
        """What answers."""
        return self._placements.pipeline

    @classmethod
    def from_scorer(cls, scorer: Scorer, artifact: Artifact) -> "PipelineService | None":
        """None for a single model: it has no placements."""
        if not isinstance(scorer, Pipeline):
            return None
        return cls(scorer, artifact.catalog, artifact, np.random.default_rng())

    def recommend(
        self,
        request: RecommendRequest,
        history: Sequences,
        *,
        exclude: Sequence[int] = (),
        allowed_V: np.ndarray | None = None,
    ) -> list[Recommendation]:
        """The list for one history of indices. Problem (422) for an unknown placement or a wrong filter."""
        wish = PlacementRequest(
            request.placement or DEFAULT,
            exclude=exclude,
            exclude_seen=request.exclude_seen,
            filter=request.filter,
            allowed_V=allowed_V,
        )
        try:
            shown = self._placements.recommend(history, request.k, wish, rng=self._rng)
        except ValueError as error:
            raise Problem(422, str(error)) from None
        items = []
        for c, index in enumerate(shown.items_C.tolist()):
            item, score = self._ids[index - 1], float(shown.scores_C[c])
            one = Recommendation(item, score if np.isfinite(score) else 0.0, self._titles.get(item))
            one.source, one.propensity = shown.source_of(c), float(shown.propensity_C[c])
            items.append(one)
        if request.explain:
            named = {i: self._titles.get(self._ids[i - 1], self._ids[i - 1]) for i in history.to_lists()[0] if i}
            for one, why in zip(items, explain(self._placements.pipeline, history, shown, named), strict=True):
                because = [self._ids[part.item - 1] for part in why.because[:3]]
                one.reason = Explanation(why.sentence.english, why.sentence.chinese, because)
        return items
