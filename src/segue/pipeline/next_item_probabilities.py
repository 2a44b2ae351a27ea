"""Log-probabilities of every item to be the next one, by a pipeline: for sampling and for stated probabilities."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from segue.data.catalog import PAD
from segue.data.sequences import Sequences
from segue.models.probabilities.calibrated_scorer import CalibratedScorer, SoftmaxCalibration
from segue.models.scorer import Scorer
from segue.pipeline.pipeline import Pipeline


class PipelineProbabilities:
    """Scorer of a pipeline's log-probabilities: those of its candidates, and the popularity of all other items.

    The candidates share ``coverage``, the share of validation targets among them. The rest belongs to the items that
    are no candidates, in proportion to their events.
    """

    name = Pipeline.name

    def __init__(self, pipeline: Pipeline) -> None:
        self.inner = pipeline

    @property
    def size(self) -> int:
        return self.inner.size

    def scores(self, histories: Sequences) -> np.ndarray:
        """Return log-probabilities, float32 [B, V]; 0 in column PAD. They sum to 1 over the items."""
        counts_V = self.inner.item_statistics.counts_V.astype(np.float64) + 1.0
        counts_V[PAD] = 0.0
        share_V = counts_V / counts_V.sum()
        out_BV = np.empty((len(histories), self.size), dtype=np.float32)
        for start, candidates, probabilities_BC in self.inner.iter_probabilities(histories):
            sums_B1 = probabilities_BC.sum(axis=1, keepdims=True)
            rows_B1 = np.arange(len(candidates))[:, None]
            mixed_BV = np.tile(share_V, (len(candidates), 1))
            mixed_BV[rows_B1, candidates.items_BC] = 0.0
            others_B1 = mixed_BV.sum(axis=1, keepdims=True)
            mixed_BV *= (1.0 - sums_B1) / np.where(others_B1 > 0, others_B1, 1.0)
            whole_BC = np.where(others_B1 > 0, probabilities_BC, probabilities_BC / np.maximum(sums_B1, 1e-30))
            np.add.at(mixed_BV, (rows_B1, candidates.items_BC), whole_BC)
            mixed_BV[:, PAD] = 1.0
            out_BV[start : start + len(candidates)] = np.log(np.maximum(mixed_BV, 1e-30))
        return out_BV

    def log_probabilities(self, histories: Sequences) -> np.ndarray:
        """Return the log-probability of every item to be the next one, float32 [B, V]; -inf for PAD."""
        logs_BV = self.scores(histories)
        logs_BV[:, PAD] = -np.inf
        return logs_BV

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays of the pipeline."""
        return self.inner.arrays()


def probability_scorer(scorer: Scorer, about: Mapping[str, Any]) -> CalibratedScorer | PipelineProbabilities:
    """Return a scorer of calibrated log-probabilities for a restored model or pipeline.

    Args:
        scorer: the restored scorer.
        about: provenance of its artifact, with the notes of the fit.

    Raises:
        ValueError: the saved calibration is not valid.
    """
    if isinstance(scorer, Pipeline):
        return PipelineProbabilities(scorer)
    return CalibratedScorer(scorer, SoftmaxCalibration.of_model(scorer.name, about))
