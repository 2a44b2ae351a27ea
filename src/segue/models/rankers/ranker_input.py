"""Input of a ranker, in whole numbers only, so that a network and its exported model read exactly the same.

Shape letters: B examples, C candidates, L events of a history, S item histories, M events of an item history, X
features.
"""

from dataclasses import dataclass, replace

import numpy as np

from segue.data.impressions import ClickExamples
from segue.data.sequences import Sequences
from segue.models.rankers.item_histories import ItemEvents, ItemHistories, log_bucket, seconds


@dataclass(frozen=True)
class CandidateHistories:
    """The candidates' item histories.

    Only ages depend on the query time, so the states of an item history can be cached until its next event.
    """

    item_events: ItemEvents
    """Distinct item histories."""
    row_BC: np.ndarray
    """int64 [B, C], row of each candidate in ``item_events``."""
    ages_BCM: np.ndarray
    """Buckets of the time since each interaction; 0 in padding."""
    features_BCX: np.ndarray
    """Buckets: time since the newest and since the oldest interaction in the item history, number of interactions."""


@dataclass(frozen=True)
class RankerInput:
    """The newest L events of each history, oldest first, padding behind, and the candidates."""

    items_BL: np.ndarray
    """int64; PAD in padding."""
    gaps_BL: np.ndarray
    """Buckets of the time since the event before; 0 for a user's first event."""
    ages_BL: np.ndarray
    """Buckets of the time from the event to the query."""
    lengths_B: np.ndarray
    """int64, number of events that are read."""
    features_BX: np.ndarray
    """Buckets: time since the newest event, number of events of the whole history."""
    candidates_BC: np.ndarray
    """int64."""
    candidate_histories: CandidateHistories | None = None
    """Item histories of the candidates; None for a ranker that reads none."""

    @property
    def is_event(self) -> np.ndarray:
        """bool [B, L], False in padding."""
        is_event_BL: np.ndarray = np.arange(self.items_BL.shape[1]) < self.lengths_B[:, None]
        return is_event_BL


def encode_histories(
    histories: Sequences, times_B: np.ndarray, candidates_BC: np.ndarray, max_length: int
) -> RankerInput:
    """Encode histories and candidates, without item histories.

    Args:
        histories: B histories; PAD entries are skipped. Without times, buckets of times are 0.
        times_B: int64 [B], query time, UTC microseconds. A later event counts as one at that time.
        candidates_BC: int [B, C].
        max_length: number of newest events that are read.
    """
    known = histories.drop_unknown()
    newest = known.tail(max_length)
    width = max(1, int(newest.lengths.max(initial=0)))
    is_event_BL = np.arange(width) < newest.lengths[:, None]
    position_BL = np.where(is_event_BL, newest.starts[:, None] + np.arange(width), 0)
    items_BL = newest.padded(width, align="left").astype(np.int64)
    gaps_BL = ages_BL = np.zeros_like(items_BL)
    if known.times is not None and len(known.times):
        times_BL = known.times[position_BL]
        previous_BL = known.times[np.maximum(position_BL - 1, 0)]
        has_gap_BL = is_event_BL & (position_BL > known.starts[:, None])
        gaps_BL = np.where(has_gap_BL, log_bucket(seconds(np.maximum(times_BL - previous_BL, 0))), 0)
        ages_BL = np.where(is_event_BL, log_bucket(seconds(np.maximum(times_B[:, None] - times_BL, 0))), 0)
    last_B = np.maximum(newest.lengths - 1, 0)
    features_BX = np.stack([ages_BL[np.arange(len(last_B)), last_B], log_bucket(known.lengths)], axis=1)
    return RankerInput(items_BL, gaps_BL, ages_BL, newest.lengths, features_BX, candidates_BC.astype(np.int64))


def encode_candidates(item_events: ItemEvents, row_BC: np.ndarray, times_B: np.ndarray) -> CandidateHistories:
    """Encode the candidates' item histories at each query time.

    Args:
        item_events: S item histories before the query times.
        row_BC: int64 [B, C], row of each candidate in ``item_events``.
        times_B: int64 [B], query time, UTC microseconds.
    """
    lengths_BC = item_events.lengths_S[row_BC]
    is_event_BCM = np.arange(item_events.times_SM.shape[1]) < lengths_BC[..., None]
    since_BCM = seconds(np.maximum(times_B[:, None, None] - item_events.times_SM[row_BC], 0))
    ages_BCM = np.where(is_event_BCM, log_bucket(since_BCM), 0)
    newest_BC1 = np.maximum(lengths_BC - 1, 0)[..., None]
    newest_BC = np.take_along_axis(ages_BCM, newest_BC1, axis=2)[..., 0]
    features_BCX = np.stack([newest_BC, ages_BCM[..., 0], log_bucket(item_events.totals_S[row_BC])], axis=2)
    return CandidateHistories(item_events, row_BC, ages_BCM, features_BCX)


def encode_examples(
    examples: ClickExamples, max_length: int, item_histories: ItemHistories | None = None, item_history_length: int = 0
) -> RankerInput:
    """Encode click examples at their own times.

    Args:
        examples: B histories with candidates and times.
        max_length: number of newest events of a history that are read.
        item_histories: source of the candidates' item histories; None: without item histories.
        item_history_length: M, number of newest interactions of a candidate before the query time.
    """
    features = encode_histories(examples.histories, examples.times_B, examples.candidates_BC, max_length)
    if item_histories is None:
        return features
    batch, count = examples.candidates_BC.shape
    times_P = np.repeat(examples.times_B, count)
    item_events, row_P = item_histories.newest_events(examples.candidates_BC.ravel(), times_P, item_history_length)
    candidate_histories = encode_candidates(item_events, row_P.reshape(batch, count), examples.times_B)
    return replace(features, candidate_histories=candidate_histories)
