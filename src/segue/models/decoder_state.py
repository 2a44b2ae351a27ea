"""Initial state of list generation, and the generic state that scores history and generated items again.

Shape letters: B histories, R lists (equally many for each history, side by side), V catalog size with PAD.
"""

import numpy as np

from segue.data.event_contexts import EventContexts
from segue.data.sequences import NO_TIME, Sequences
from segue.models.scorer import DecoderState, IncrementalScorer, Scorer


def initial_state(scorer: Scorer, histories: Sequences) -> DecoderState:
    """Return the state of one empty list for each history; its first scores are ``scorer.scores(histories)``.

    Args:
        scorer: any model; an ``IncrementalScorer`` is extended at the cost of one event.
        histories: B histories; unknown items are skipped.
    """
    known = histories.drop_unknown()
    if len(known) > 0 and known.lengths.min() > 0 and isinstance(scorer, IncrementalScorer):
        state = scorer.decoder_state(known)
        if state is not None:
            return state
    return FullRescore(scorer, known)


class FullRescore:
    """Decoder state of any scorer: each list's history and generated items are scored from the beginning."""

    def __init__(self, scorer: Scorer, histories: Sequences, row_R: np.ndarray | None = None) -> None:
        self.scorer = scorer
        self.histories = histories
        self.row_R = np.arange(len(histories)) if row_R is None else row_R
        self.generated_RK = np.empty((len(self.row_R), 0), dtype=np.int32)

    def scores(self) -> np.ndarray:
        """See ``DecoderState.scores``."""
        old = self.histories.take(self.row_R)
        row_N, position_N = old.positions()
        count = self.generated_RK.shape[1]
        offsets = np.concatenate([[0], np.cumsum(old.lengths + count)])
        items_N, codes_N = np.zeros((2, offsets[-1]), dtype=np.int32)
        target_N = offsets[row_N] + position_N - old.starts[row_N]
        items_N[target_N] = old.items[position_N]
        items_N[offsets[1:, None] - count + np.arange(count)] = self.generated_RK
        times_N, contexts = None, None
        if old.times is not None:  # generated items have no time
            times_N = np.full(len(items_N), NO_TIME)
            times_N[target_N] = old.times[position_N]
        if old.contexts is not None:
            codes_N[target_N] = old.contexts.codes[position_N]
            contexts = EventContexts(codes_N, old.contexts.features)
        return self.scorer.scores(Sequences.from_offsets(items_N, offsets, times_N, contexts).as_of(old.query_times))

    def extend(self, parents_R: np.ndarray, items_R: np.ndarray) -> "FullRescore":
        """See ``DecoderState.extend``."""
        extended = FullRescore(self.scorer, self.histories, self.row_R[parents_R])
        extended.generated_RK = np.concatenate(
            [self.generated_RK[parents_R], items_R[:, None].astype(np.int32)], axis=1
        )
        return extended
