"""Scores of items that joined a served pipeline after its training: by their content and by their first events.

An item's probability to be next is its rate among all events times its lift for the history. Without events the rate is
a multiple of that of the items most like it, and the lift theirs in the pipeline's own list. Each event moves both
towards the observed ones.

Shape letters: N new items, K neighbors, C candidates, V catalog size of the pipeline with PAD.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from segue.data.catalog import PAD
from segue.models.top_k import best_indices
from segue.pipeline.live.first_events import EventPairs, history_weights
from segue.pipeline.ranked_list import RankedList

BY_CONTENT, BY_EVENTS = "new-by-content", "new-by-events"
"""Names of the sources of new items in responses."""
BACKGROUND = 0.1
"""Similarity of the average item, which stands beside the neighbors of a new item."""
PRIOR_EVENTS = 2.0
"""Number of events at which content and observed histories weigh the same in the lift."""
OPTIMISM = 3.0
"""Rate of a new item before its first events, as a multiple of the rate of the items most like it: users choose what is
new, and without views it would get no event. Chosen on validation by benchmarks/live_items.py."""
MIN_SURROGATE = 0.2
"""Smallest similarity of the item that stands for a new item in a history."""
MAX_CANDIDATES = 200
"""Largest number of new items in one list of candidates."""


@dataclass
class EventClock:
    """Number of the newest event of the store, by which the events since an item's start are counted."""

    newest_seq: int = 0


@dataclass(frozen=True)
class NewItems:
    """New items of one pipeline with their neighbors and events; their indices follow those of the pipeline."""

    shares_V: np.ndarray
    """float64 [V]: share of each item of the pipeline among all events."""
    neighbors_NK: np.ndarray
    """int32: most similar items of the pipeline, PAD behind fewer."""
    similarities_NK: np.ndarray
    """float64: their similarities, 0 for PAD."""
    start_seq_N: np.ndarray
    """int64: number of the newest event when the item joined."""
    counts_N: np.ndarray
    """int64: number of events since."""
    num_histories_N: np.ndarray
    """int64: number of events with a known history among the newest."""
    pairs: EventPairs
    clock: EventClock

    def __len__(self) -> int:
        return len(self.counts_N)

    @property
    def first(self) -> int:
        """Index of the first new item."""
        return len(self.shares_V)

    def surrogates(self) -> np.ndarray:
        """Return the item that stands for each new item in a history, int32 [N]; PAD without a similar one."""
        if not self.neighbors_NK.shape[1]:
            return np.full(len(self), PAD, dtype=np.int32)
        return np.where(self.similarities_NK[:, 0] >= MIN_SURROGATE, self.neighbors_NK[:, 0], PAD).astype(np.int32)

    def scores(
        self, history: Sequence[int], ranked: RankedList, allowed_V: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the probability of each new item to be next, and whether its events decide more than its content.

        Args:
            history: item indices of the known events, oldest first.
            ranked: the pipeline's candidates with their probabilities.
            allowed_V: bool, allowed items of the pipeline, at least V of them; others are no evidence.

        Returns:
            (float64 [N], bool [N]).
        """
        probability_V = np.zeros(self.first)
        probability_V[ranked.items_C] = np.where(np.isfinite(ranked.scores_C), ranked.scores_C, 0.0)
        weights_NK = self.similarities_NK * allowed_V[self.neighbors_NK]
        uniform = 1.0 / max(1, self.first - 1)
        expected_N = _mean(weights_NK, probability_V[self.neighbors_NK], uniform)
        usual_N = _mean(weights_NK, self.shares_V[self.neighbors_NK], uniform)
        prior_N = OPTIMISM * _mean(self.similarities_NK, self.shares_V[self.neighbors_NK], uniform)
        exposure_N = np.maximum(self.clock.newest_seq - self.start_seq_N, self.counts_N)
        rate_N = (self.counts_N + 1.0) / (exposure_N + 1.0 / prior_N)
        by_content_N = PRIOR_EVENTS * expected_N / usual_N
        by_events_N = self.num_histories_N * self._event_lifts(history, rate_N)
        lift_N = (by_content_N + by_events_N) / (PRIOR_EVENTS + self.num_histories_N)
        return np.minimum(rate_N * lift_N, 1.0), by_events_N > by_content_N

    def _event_lifts(self, history: Sequence[int], rate_N: np.ndarray) -> np.ndarray:
        """Return how much likelier the history is before an event of each new item than before any event, [N]."""
        lift_N = np.zeros(len(self))
        for before, weight in history_weights(history).items():
            pairs = self.pairs.of(before)
            row_P = self.pairs.item_P[pairs] - self.first
            share = self.shares_V[before] if before < self.first else rate_N[before - self.first]
            lift_N[row_P] += weight * self.pairs.share_P[pairs] / share
        return lift_N

    def join(self, history: Sequence[int], ranked: RankedList, allowed_V: np.ndarray) -> RankedList:
        """Return the candidates of the pipeline with the allowed new items among them, by probability.

        Args:
            history: item indices of the known events, oldest first.
            ranked: the pipeline's candidates with their probabilities.
            allowed_V: bool, allowed items, the new ones behind those of the pipeline.
        """
        open_rows = np.flatnonzero(allowed_V[self.first : self.first + len(self)])
        if not len(open_rows):
            return ranked
        scores_N, is_by_events_N = self.scores(history, ranked, allowed_V)
        best = best_indices(scores_N, open_rows, MAX_CANDIDATES)
        new_items = RankedList.from_items(
            best + self.first,
            scores_N[best],
            sources=(BY_CONTENT, BY_EVENTS),
            source_C=is_by_events_N[best].astype(np.int32),
        )
        joined = ranked.followed_by(new_items)
        return joined.rescored(joined.scores_C)


def _mean(weights_NK: np.ndarray, values_NK: np.ndarray, background: float) -> np.ndarray:
    """Return the weighted mean of the neighbors and the average item, float64 [N]."""
    total_N = (weights_NK * values_NK).sum(axis=1) + BACKGROUND * background
    mean_N: np.ndarray = total_N / (weights_NK.sum(axis=1) + BACKGROUND)
    return mean_N
