"""What a ranker reads, in whole numbers only, so that a net and its served twin read exactly the same.

Shape letters: B cases, C candidates, L events of a history, S item sides, M events of a side, X facts.
"""

from dataclasses import dataclass, replace

import numpy as np

from segue.data.catalog import PAD
from segue.data.impressions import ClickExamples
from segue.data.sequences import Sequences
from segue.models.rankers.item_histories import ItemEvents, ItemHistories, log_bucket, seconds


@dataclass(frozen=True)
class CandidateHistories:
    """The candidates' own sequences: ``which_BC`` says whose side is whose. Only ages depend on the moment of asking,
    so that a side's states can be kept until its next event."""

    sides: ItemEvents
    which_BC: np.ndarray
    ages_BCM: np.ndarray
    """Buckets of the time since each interaction; 0 in unused columns."""
    facts_BCX: np.ndarray
    """Buckets: time since the newest and since the oldest of the side's interactions, interactions so far."""


@dataclass(frozen=True)
class RankerInput:
    """The newest L events of each history, oldest first, padding behind, and the candidates."""

    items_BL: np.ndarray
    gaps_BL: np.ndarray
    """Buckets of the time since the event before; 0 for a person's first."""
    ages_BL: np.ndarray
    """Buckets of the time from the event to the moment of asking."""
    lengths_B: np.ndarray
    facts_BX: np.ndarray
    """Buckets: time since the newest event, events of the whole history."""
    candidates_BC: np.ndarray
    beside: CandidateHistories | None = None

    @property
    def inside(self) -> np.ndarray:
        """bool: which columns hold an event."""
        inside: np.ndarray = np.arange(self.items_BL.shape[1]) < self.lengths_B[:, None]
        return inside


def encode_histories(
    histories: Sequences, moments_B: np.ndarray, candidates_BC: np.ndarray, length: int
) -> RankerInput:
    """The view without the items' sides. PAD entries of a history are skipped; a time after the moment counts as the
    moment; where the histories have no times, buckets are 0."""
    known = histories.drop_unknown()
    newest = known.tail(length)
    width = max(1, int(newest.lengths.max(initial=0)))
    inside_BL = np.arange(width) < newest.lengths[:, None]
    where_BL = np.where(inside_BL, newest.starts[:, None] + np.arange(width), 0)
    items = known.items if len(known.items) else np.zeros(1, np.int32)
    items_BL = np.where(inside_BL, items[where_BL], PAD).astype(np.int64)
    gaps_BL = ages_BL = np.zeros_like(items_BL)
    if known.times is not None and len(known.times):
        times_BL = known.times[where_BL]
        earlier_BL = known.times[np.maximum(where_BL - 1, 0)]
        follows_BL = inside_BL & (where_BL > known.starts[:, None])
        gaps_BL = np.where(follows_BL, log_bucket(seconds(np.maximum(times_BL - earlier_BL, 0))), 0)
        ages_BL = np.where(inside_BL, log_bucket(seconds(np.maximum(moments_B[:, None] - times_BL, 0))), 0)
    last_B = np.maximum(newest.lengths - 1, 0)
    facts_BX = np.stack([ages_BL[np.arange(len(last_B)), last_B], log_bucket(known.lengths)], axis=1)
    return RankerInput(items_BL, gaps_BL, ages_BL, newest.lengths, facts_BX, candidates_BC.astype(np.int64))


def encode_candidates(sides: ItemEvents, which_BC: np.ndarray, moments_B: np.ndarray) -> CandidateHistories:
    """What the sides come to at each moment of asking."""
    lengths_BC = sides.lengths_S[which_BC]
    inside_BCM = np.arange(sides.times_SM.shape[1]) < lengths_BC[..., None]
    since_BCM = seconds(np.maximum(moments_B[:, None, None] - sides.times_SM[which_BC], 0))
    ages_BCM = np.where(inside_BCM, log_bucket(since_BCM), 0)
    newest_BC1 = np.maximum(lengths_BC - 1, 0)[..., None]
    newest_BC = np.take_along_axis(ages_BCM, newest_BC1, axis=2)[..., 0]
    facts_BCX = np.stack([newest_BC, ages_BCM[..., 0], log_bucket(sides.totals_S[which_BC])], axis=2)
    return CandidateHistories(sides, which_BC, ages_BCM, facts_BCX)


def encode_examples(
    cases: ClickExamples, length: int, interactions: ItemHistories | None = None, width: int = 0
) -> RankerInput:
    """Everything about some cases; with ``interactions``, also each candidate's last ``width`` before the moment."""
    seen = encode_histories(cases.histories, cases.times_B, cases.candidates_BC, length)
    if interactions is None:
        return seen
    batch, count = cases.candidates_BC.shape
    moments_P = np.repeat(cases.times_B, count)
    sides, which_P = interactions.newest_events(cases.candidates_BC.ravel(), moments_P, width)
    beside = encode_candidates(sides, which_P.reshape(batch, count), cases.times_B)
    return replace(seen, beside=beside)
