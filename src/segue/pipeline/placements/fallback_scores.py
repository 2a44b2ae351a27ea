"""Scores of the fallback steps of a pipeline.

Shape letters: V catalog size with PAD.
"""

import numpy as np

from segue.data.catalog import PAD
from segue.data.sequences import Sequences
from segue.pipeline.pipeline import Pipeline


def fallback_scores(pipeline: Pipeline) -> dict[str, np.ndarray]:
    """Return the scores [V] by step: trend where it is a source, then the number of events."""
    no_history = Sequences.from_lists([[]])
    demand: dict[str, np.ndarray] = {}
    for source in pipeline.sources:
        if source.config.model == "trend":
            demand[source.name] = source.scorer.scores(no_history)[0]
            demand[source.name][PAD] = 0.0
            break
    return demand | {"popularity": pipeline.item_statistics.counts_V}
