"""Scorer of calibrated log-probabilities of the next item, for sampling and for stated probabilities.

Shape letters: B batch, R rows, V catalog size with PAD.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal

import numpy as np

from segue.config.decode import decode_settings
from segue.config.ranges import Range, check_ranges
from segue.data.catalog import PAD
from segue.data.sequences import Sequences
from segue.models.probabilities.temperature_mixture import TemperatureMixture
from segue.models.scorer import Scorer
from segue.models.top_k import fill_excluded
from segue.models.zoo import ZOO, ClassicEntry

NOTE = "calibration"
"""Key of the calibration among the notes of a fit, which an artifact keeps."""
MIN_RELATIVE_SCORE = 1e-4
"""Relative score of an item without votes; the best item of a row has 1."""


@dataclass(frozen=True)
class SoftmaxCalibration:
    """Calibration of next-item probabilities, which turns the scores of a model into log-probabilities."""

    scale: Literal["logit", "log"] = "logit"
    """'logit': scores are log-probabilities up to scale; 'log': the logarithms of the scores are, as of votes."""
    mixture: TemperatureMixture = field(default_factory=TemperatureMixture)
    """Temperatures with the smallest log loss on validation (Guo et al. 2017; differs: a mixture of two)."""
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

    def log_probabilities(self, scores_RV: np.ndarray, *, has_history: bool = True) -> np.ndarray:
        """Return log-probabilities of the candidates, the dtype of the scores; the order of the items stays.

        Args:
            scores_RV: scores of the model; -inf for PAD and for items that are no candidates. Changed in place.
            has_history: False for users without known events.
        """
        if self.scale == "log":
            scores_RV = log_votes(scores_RV)
        mixture = self.mixture if has_history else TemperatureMixture(self.temperature_without_history)
        return mixture.log_probabilities(scores_RV)


def default_calibration(name: str) -> SoftmaxCalibration:
    """Return the calibration of a model without a fitted one: logits of networks and ensembles, votes of others."""
    return SoftmaxCalibration("log" if isinstance(ZOO.get(name), ClassicEntry) else "logit")


def log_votes(scores_RV: np.ndarray) -> np.ndarray:
    """Return logarithms of scores relative to the best of the row; negative scores keep their order.

    Args:
        scores_RV: scores of a counting model or a factorization; -inf for PAD and for items that are no candidates.
    """
    best_R1 = scores_RV.max(axis=1, keepdims=True, initial=0.0)
    share_RV = scores_RV / np.where(best_R1 > 0, best_R1, 1.0).astype(scores_RV.dtype)
    floor = scores_RV.dtype.type(MIN_RELATIVE_SCORE)
    logs_RV: np.ndarray = np.log(np.maximum(share_RV, 0.0) + floor) + np.minimum(share_RV, 0.0)
    return logs_RV


class CalibratedScorer:
    """Model with its calibration. ``generate`` masks the model's scores, and then makes them log-probabilities."""

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
        """Return the log-probabilities of all items, float32 [B, V]; 0 in column PAD. See ``Scorer.scores``."""
        logs_BV = self.log_probabilities(histories, exclude=Sequences.from_lists([[]] * len(histories)))
        logs_BV[:, PAD] = 0.0
        return logs_BV.astype(np.float32)

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
        scores_BV = self.inner.scores(known).astype(np.float64)
        if exclude is None and self.calibration.exclude_seen:
            exclude = known
        fill_excluded(scores_BV, -np.inf, exclude, None)
        has_history_B = known.lengths > 0
        out_BV = np.empty_like(scores_BV)
        for rows_B, has_history in ((has_history_B, True), (~has_history_B, False)):
            out_BV[rows_B] = self.calibration.log_probabilities(scores_BV[rows_B], has_history=has_history)
        return out_BV
