"""Co-visitation: items counted soon after, or before, the newest items of a history. A strong baseline."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from segue.config.ranges import Range, check_ranges
from segue.data.sequences import Sequences
from segue.models.sparse_rows import (
    SparseRows,
    ages,
    decayed_lifts,
    effective_length,
    item_counts,
    tie_breaker,
    windowed_pairs,
)


@dataclass(frozen=True)
class CoVisitConfig:
    """Window, direction, damping and decay of the counts; choose them on validation cases."""

    window: Annotated[int, Range(ge=1)] = 10
    """Largest distance of a counted pair, in events; a pair counts 1 / distance."""
    backward: Annotated[float, Range(ge=0)] = 0.25
    """Weight of a pair in reverse order, relative to its own order; 0: no reverse pairs."""
    damping: Annotated[float, Range(ge=0)] = 0.15
    """Exponent of the popularity of both items by which a pair is divided; 0: no damping."""
    decay: Annotated[float, Range(gt=0, le=1)] = 0.5
    """Factor on the weight of an event per step back in the history, above 0 and at most 1; 1: no decay."""

    def __post_init__(self) -> None:
        check_ranges(self)


class CoVisit:
    """Co-visitation model: score(j) = sum over the history of decay ** age * W[item, j].

    W = (F + backward * F^T) / (popularity_i * popularity_j) ** damping, F[i, j] = sum of 1 / distance over i before j.
    """

    name: ClassVar[str] = "covisit"

    def __init__(self, pair_weights: SparseRows, popularity_V: np.ndarray, decay: float) -> None:
        self.pair_weights = pair_weights
        self.popularity_V = popularity_V
        self.decay = decay

    @classmethod
    def fit(cls, sequences: Sequences, size: int, config: CoVisitConfig) -> "CoVisit":
        """Count the pairs, one shift of the flat log at a time.

        Args:
            sequences: item indices of each user or session, the newest event last; PAD is ignored.
            size: V, catalog size with PAD.
            config: settings.
        """
        from scipy import sparse

        counts_V = item_counts(sequences, size)
        forward = windowed_pairs(sequences, size, config.window)
        damp = sparse.diags_array((1.0 / np.maximum(counts_V, 1) ** config.damping).astype(np.float32))
        weights = damp @ (forward + np.float32(config.backward) * forward.T) @ damp
        return cls(SparseRows.from_scipy(weights), tie_breaker(counts_V, 1e-6), config.decay)

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray], config: CoVisitConfig) -> "CoVisit":
        """Restore a model from its tensors and settings. See ``ClassicEntry.restore``."""
        return cls(SparseRows.restore(arrays), arrays["popularity"], config.decay)

    @property
    def size(self) -> int:
        return self.pair_weights.size

    def scores(self, histories: Sequences) -> np.ndarray:
        """Score as ``Scorer.scores``; popularity, below every counted pair, orders all other items."""
        newest = histories.drop_unknown().tail(effective_length(self.decay))
        return self.pair_weights.weighted_sum(newest, self.decay ** ages(newest)) + self.popularity_V

    def lifts(self, items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the scored items of one history of known items, ascending, and their scores above popularity."""
        return decayed_lifts(self.pair_weights, items, self.decay)

    def decoder_state(self, histories: Sequences) -> "CovisitationState":
        """See ``IncrementalScorer.decoder_state``."""
        return CovisitationState(self, self.scores(histories) - self.popularity_V)

    def arrays(self) -> dict[str, np.ndarray]:
        """See ``Scorer.arrays``."""
        return {**self.pair_weights.arrays(), "popularity": self.popularity_V}


class CovisitationState:
    """Decoder state of a co-visitation model: an event decays the sum of each list and adds one row of the matrix."""

    def __init__(self, model: CoVisit, sum_RV: np.ndarray) -> None:
        self.model = model
        self.sum_RV = sum_RV

    def scores(self) -> np.ndarray:
        """See ``DecoderState.scores``."""
        return self.sum_RV + self.model.popularity_V

    def extend(self, parents_R: np.ndarray, items_R: np.ndarray) -> "CovisitationState":
        """See ``DecoderState.extend``."""
        new = Sequences(items_R, None, np.arange(len(items_R)), np.arange(len(items_R)) + 1)
        row_RV = self.model.pair_weights.weighted_sum(new, np.ones(len(items_R), dtype=np.float32))
        return CovisitationState(self.model, self.sum_RV[parents_R] * np.float32(self.model.decay) + row_RV)
