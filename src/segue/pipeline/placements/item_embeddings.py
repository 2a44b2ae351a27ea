"""Item embeddings of a pipeline, by which lists are diversified."""

import numpy as np

from segue.models.scorer import EmbeddingScorer
from segue.pipeline.pipeline import Pipeline


def item_embeddings(pipeline: Pipeline) -> np.ndarray | None:
    """Return the item embeddings of the first source that has some, float32 [V, D]; None without such a source."""
    for source in pipeline.sources:
        scorer = source.scorer
        if isinstance(scorer, EmbeddingScorer) and scorer.item_embeddings is not None:
            return scorer.item_embeddings
    return None
