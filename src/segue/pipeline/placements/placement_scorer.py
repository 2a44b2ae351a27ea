"""One placement as a scorer, for the evaluation of its lists."""

import numpy as np

from segue.data.sequences import Sequences
from segue.pipeline.pipeline import Pipeline
from segue.pipeline.placements.placement import DEFAULT_PLACEMENT, PlacementEngine, PlacementRequest


class PlacementScorer:
    """One placement as a scorer, to evaluate its lists with rules and diversification."""

    name = Pipeline.name

    def __init__(
        self, engine: PlacementEngine, placement: str = DEFAULT_PLACEMENT, *, k: int = 50, now_us: int = 0
    ) -> None:
        self.engine = engine
        self.request = PlacementRequest(placement)
        self.k = k
        self.now_us = now_us

    @property
    def size(self) -> int:
        """Return the catalog size with PAD."""
        return self.engine.pipeline.size

    def scores(self, histories: Sequences) -> np.ndarray:
        """Return float32 scores [B, V]: 1 for the first of k items, less in equal steps, 0 for the others."""
        scores_BV = np.zeros((len(histories), self.size), dtype=np.float32)
        for b in range(len(histories)):
            row = histories.take(slice(b, b + 1))
            items = self.engine.recommend(row, self.k, self.request, now_us=self.now_us).items_C
            scores_BV[b, items] = 1.0 - np.arange(len(items), dtype=np.float32) / self.k
        return scores_BV

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays of the pipeline."""
        return self.engine.pipeline.arrays()
