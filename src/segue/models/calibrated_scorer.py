"""Scorer of calibrated log-probabilities of the next item, for sampling and for stated probabilities.

Shape letters: B batch, R rows, V catalog size with PAD.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

import numpy as np

from segue.config.decode import decode_settings
from segue.config.ranges import Range, check_ranges
from segue.data.catalog import PAD
from segue.data.sequences import Sequences
from segue.models.decoder_state import initial_state
from segue.models.scorer import DecoderState, IncrementalScorer, Scorer
from segue.models.top_k import fill_excluded
from segue.models.zoo import ZOO, ClassicEntry

NOTE = "calibration"
"""Key of the calibration among the notes of a fit, which an artifact keeps."""
MIN_RELATIVE_SCORE = 1e-4
"""Relative score of an item without votes; the best item of a row has 1."""


@dataclass(frozen=True)
class SoftmaxCalibration:
    """Calibration of next-item probabilities: the softmax of the scores, or of their logarithms, over a temperature."""

    scale: Literal["logit", "log"] = "logit"
    """'logit': scores are log-probabilities up to scale; 'log': the logarithms of the scores are, as of votes."""
    temperature: Annotated[float, Range(gt=0)] = 1.0
    """Divisor with the smallest log loss on validation (Guo et al. 2017), above 0."""
    temperature_without_history: Annotated[float, Range(gt=0)] = 1.0
    """Divisor for users without known events, above 0."""
    exclude_seen: bool = False
    """True: fitted among unseen items, so that a seen item has no probability."""
    cases: Annotated[int, Range(ge=0)] = 0
    """Number of validation cases of the fit; 0: not fitted, the scores are used as they are."""

    def __post_init__(self) -> None:
        check_ranges(self)

    @classmethod
    def of_model(cls, name: str, about: Mapping[str, Any]) -> "SoftmaxCalibration":
        """Return the calibration of an artifact; without one that of a model which was never calibrated.

        Args:
            name: model of the artifact.
            about: its provenance, with the notes of the fit.

        Raises:
            ValueError: the saved calibration is not valid.
        """
        notes = about.get("notes")
        saved = notes.get(NOTE) if isinstance(notes, Mapping) else None
        if saved is None:
            return default_calibration(name)
        if not isinstance(saved, Mapping):
            raise ValueError(f"The calibration of {name} must be a table of settings.")
        return decode_settings(cls, saved, f"{NOTE}.")

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    def log_scores(self, scores_RV: np.ndarray, has_history_R: np.ndarray) -> np.ndarray:
        """Return log-probabilities up to a constant for each row; the order of the items stays.

        Args:
            scores_RV: scores of the model, float32; changed in place.
            has_history_R: bool, False for a user without known events.

        Returns:
            float32 [R, V].
        """
        if self.scale == "log":
            scores_RV = log_votes(scores_RV)
        temperature_R = np.where(has_history_R, self.temperature, self.temperature_without_history)
        scores_RV /= temperature_R[:, None].astype(np.float32)
        return scores_RV


def default_calibration(name: str) -> SoftmaxCalibration:
    """Return the calibration of a model that was not fitted to one: logits of networks and ensembles, votes of others."""
    return SoftmaxCalibration("log" if isinstance(ZOO.get(name), ClassicEntry) else "logit")


def log_votes(scores_RV: np.ndarray) -> np.ndarray:
    """Return logarithms of scores relative to the best of the row, float32; negative scores keep their order.

    Args:
        scores_RV: scores of a counting model or a factorization.
    """
    scores_RV[:, PAD] = 0.0
    best_R1 = scores_RV.max(axis=1, keepdims=True, initial=0.0)
    share_RV = scores_RV / np.where(best_R1 > 0, best_R1, np.float32(1.0))
    logs_RV: np.ndarray = np.log(np.maximum(share_RV, 0.0) + np.float32(MIN_RELATIVE_SCORE)) + np.minimum(share_RV, 0.0)
    return logs_RV


class CalibratedScorer:
    """Scorer of calibrated log-probabilities, up to a constant for each row."""

    def __init__(self, scorer: Scorer, calibration: SoftmaxCalibration) -> None:
        self.inner = scorer
        self.calibration = calibration

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def size(self) -> int:
        return self.inner.size

    def scores(self, histories: Sequences) -> np.ndarray:
        """See ``Scorer.scores``."""
        known = histories.drop_unknown()
        return self.calibration.log_scores(self.inner.scores(known), known.lengths > 0)

    def decoder_state(self, histories: Sequences) -> DecoderState | None:
        """See ``IncrementalScorer.decoder_state``."""
        if not isinstance(self.inner, IncrementalScorer):
            return None
        return CalibratedState(initial_state(self.inner, histories), self.calibration)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the tensors of the wrapped model."""
        return self.inner.arrays()

    def log_probabilities(self, histories: Sequences, exclude: Sequences | None = None) -> np.ndarray:
        """Return the log-probability of every item to be the next one, float64 [B, V]; -inf for PAD and for excluded
        items.

        Args:
            histories: B histories.
            exclude: items without probability, row b for row b; None: those of the history if the calibration was
                fitted without them, else none.
        """
        known = histories.drop_unknown()
        logs_BV = self.scores(known).astype(np.float64)
        if exclude is None and self.calibration.exclude_seen:
            exclude = known
        fill_excluded(logs_BV, -np.inf, exclude, None)
        highest_B1 = logs_BV.max(axis=1, keepdims=True)
        logs_BV -= np.where(np.isneginf(highest_B1), 0.0, highest_B1)
        total_B1 = np.exp(logs_BV).sum(axis=1, keepdims=True)
        return logs_BV - np.log(np.where(total_B1 > 0, total_B1, 1.0))


class CalibratedState:
    """Decoder state whose scores are calibrated; its histories are never empty."""

    def __init__(self, state: DecoderState, calibration: SoftmaxCalibration) -> None:
        self.inner = state
        self.calibration = calibration

    def scores(self) -> np.ndarray:
        """See ``DecoderState.scores``."""
        scores_RV = self.inner.scores()
        return self.calibration.log_scores(scores_RV, np.ones(len(scores_RV), dtype=bool))

    def extend(self, parents_R: np.ndarray, items_R: np.ndarray) -> "CalibratedState":
        """See ``DecoderState.extend``."""
        return CalibratedState(self.inner.extend(parents_R, items_R), self.calibration)
