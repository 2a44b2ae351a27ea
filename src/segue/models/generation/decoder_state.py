"""Lists that are being continued: what any scorer says comes next, after a history and what was written behind it.

A network goes on from its state and the co-visit rule from its sum, at the cost of one event; any other scorer reads
history and list anew. Shape letters: B histories, R lists (equally many for each history, side by side), V catalog
size with PAD.
"""

from typing import Protocol

import numpy as np

from segue.data.catalog import PAD
from segue.data.event_contexts import EventContexts
from segue.data.sequences import NO_TIME, Sequences
from segue.models.counting.covisitation import CoVisit
from segue.models.neural.covisitation_prior import WithCovisitationPrior, log_sum
from segue.models.neural.decoders_numpy import NumpyDecoderState
from segue.models.neural.gru_numpy import NumpyGRU
from segue.models.neural.neural_scorer import NeuralScorer
from segue.models.neural.seq2seq_numpy import NumpySeq2Seq
from segue.models.scorer import Scorer


class DecoderState(Protocol):
    """R lists, and what comes next in each."""

    def scores(self) -> np.ndarray:
        """float32 [R, V], the caller's to write to; column PAD says nothing."""
        ...

    def extend(self, parents_R: np.ndarray, items_R: np.ndarray) -> "DecoderState":
        """New lists: list ``parents_R[r]`` with ``items_R[r]`` behind it, side by side with its history's others."""
        ...


def initial_state(scorer: Scorer, histories: Sequences) -> DecoderState:
    """One list for each history, nothing written yet: its first scores are ``scorer.scores(histories)``."""
    known = histories.drop_unknown()
    if len(known) == 0 or known.lengths.min() == 0:
        return FullRescore(scorer, known)
    if isinstance(scorer, WithCovisitationPrior):
        return CombinedState(
            initial_state(scorer.inner, known), CovisitationState.from_histories(scorer.prior, known), scorer.weight
        )
    if isinstance(scorer, CoVisit):
        return CovisitationState.from_histories(scorer, known)
    if isinstance(scorer, NeuralScorer) and isinstance(scorer.encoder, NumpySeq2Seq):
        return Seq2SeqState(scorer, scorer.encoder, scorer.encoder.begin(*scorer.encode(known)))
    if isinstance(scorer, NeuralScorer) and isinstance(scorer.encoder, NumpyGRU):
        return RecurrentState.from_histories(scorer, scorer.encoder, known)
    return FullRescore(scorer, known)


class FullRescore:
    """Any scorer: each list's history and what was written behind it, read from the beginning."""

    def __init__(self, scorer: Scorer, histories: Sequences, row_R: np.ndarray | None = None) -> None:
        self.scorer = scorer
        self.histories = histories
        self.row_R = np.arange(len(histories)) if row_R is None else row_R
        self.written_RK = np.empty((len(self.row_R), 0), dtype=np.int32)

    def scores(self) -> np.ndarray:
        """float32 [R, V]."""
        old = self.histories.take(self.row_R)
        row_N, where_N = old.positions()
        count = self.written_RK.shape[1]
        offsets = np.concatenate([[0], np.cumsum(old.lengths + count)])
        items_N, codes_N = np.zeros((2, offsets[-1]), dtype=np.int32)
        place_N = offsets[row_N] + where_N - old.starts[row_N]
        items_N[place_N] = old.items[where_N]
        items_N[offsets[1:, None] - count + np.arange(count)] = self.written_RK
        times_N, contexts = None, None
        if old.times is not None:  # nothing is known of what is only written
            times_N = np.full(len(items_N), NO_TIME)
            times_N[place_N] = old.times[where_N]
        if old.contexts is not None:
            codes_N[place_N] = old.contexts.codes[where_N]
            contexts = EventContexts(codes_N, old.contexts.features)
        return self.scorer.scores(Sequences.from_offsets(items_N, offsets, times_N, contexts).as_of(old.query_times))

    def extend(self, parents_R: np.ndarray, items_R: np.ndarray) -> "FullRescore":
        """See ``Continuation``."""
        out = FullRescore(self.scorer, self.histories, self.row_R[parents_R])
        out.written_RK = np.concatenate([self.written_RK[parents_R], items_R[:, None].astype(np.int32)], axis=1)
        return out


class Seq2SeqState:
    """A Seq2Seq model: the history was read once, the writer takes a step."""

    def __init__(self, scorer: NeuralScorer, encoder: NumpySeq2Seq, script: NumpyDecoderState) -> None:
        self.scorer = scorer
        self.encoder = encoder
        self.script = script

    def scores(self) -> np.ndarray:
        """float32 [R, V]."""
        return self.scorer.logits(self.script.output_RD)

    def extend(self, parents_R: np.ndarray, items_R: np.ndarray) -> "Seq2SeqState":
        """See ``Continuation``."""
        vectors_RD = self.scorer.vectors_VD[items_R]
        return Seq2SeqState(self.scorer, self.encoder, self.encoder.writer.step(self.script, parents_R, vectors_RD))


class RecurrentState:
    """A recurrent net: its state takes a step. S is what a layer keeps."""

    def __init__(self, scorer: NeuralScorer, encoder: NumpyGRU, state_LRS: np.ndarray) -> None:
        self.scorer = scorer
        self.encoder = encoder
        self.state_LRS = state_LRS

    @classmethod
    def from_histories(cls, scorer: NeuralScorer, encoder: NumpyGRU, histories: Sequences) -> "RecurrentState":
        """The state after each history's newest events, from its oldest on; rows that have ended keep theirs."""
        newest, vectors_ND = scorer.encode(histories)
        ends_B = np.cumsum(newest.lengths)
        state_LBS = encoder.initial_state(len(histories))
        for left in range(int(newest.lengths.max()), 0, -1):
            row = np.flatnonzero(newest.lengths >= left)
            state_LBS[:, row] = encoder.step(state_LBS[:, row], vectors_ND[ends_B[row] - left])
        return cls(scorer, encoder, state_LBS)

    def scores(self) -> np.ndarray:
        """float32 [R, V]."""
        return self.scorer.logits(self.encoder.hidden(self.state_LRS))

    def extend(self, parents_R: np.ndarray, items_R: np.ndarray) -> "RecurrentState":
        """See ``Continuation``; the oldest event is not forgotten when the history grows beyond ``length``."""
        stepped = self.encoder.step(self.state_LRS[:, parents_R], self.scorer.input_embeddings(items_R))
        return RecurrentState(self.scorer, self.encoder, stepped)


class CovisitationState:
    """The co-visit rule: every step back weighs ``decay`` times as much, so the sum only decays and takes one row."""

    def __init__(self, rule: CoVisit, sum_RV: np.ndarray) -> None:
        self.rule = rule
        self.sum_RV = sum_RV

    @classmethod
    def from_histories(cls, rule: CoVisit, histories: Sequences) -> "CovisitationState":
        """The sum over each history."""
        return cls(rule, rule.scores(histories) - rule.popularity_V)

    def scores(self) -> np.ndarray:
        """float32 [R, V]."""
        return self.sum_RV + self.rule.popularity_V

    def extend(self, parents_R: np.ndarray, items_R: np.ndarray) -> "CovisitationState":
        """See ``Continuation``."""
        new = Sequences(items_R, None, np.arange(len(items_R)), np.arange(len(items_R)) + 1)
        row_RV = self.rule.near.weighted_sum(new, np.ones(len(items_R), dtype=np.float32))
        return CovisitationState(self.rule, self.sum_RV[parents_R] * np.float32(self.rule.decay) + row_RV)


class CombinedState:
    """A network and the co-visit rule together, each in its own way."""

    def __init__(self, network: DecoderState, rule: CovisitationState, weight: float) -> None:
        self.network = network
        self.rule = rule
        self.weight = weight

    def scores(self) -> np.ndarray:
        """float32 [R, V]."""
        scores_RV = self.network.scores()
        if self.weight > 0:
            logs_RV = log_sum(self.rule.scores())
            logs_RV[:, PAD] = 0.0
            scores_RV += np.float32(self.weight) * logs_RV
        return scores_RV

    def extend(self, parents_R: np.ndarray, items_R: np.ndarray) -> "CombinedState":
        """See ``Continuation``."""
        return CombinedState(self.network.extend(parents_R, items_R), self.rule.extend(parents_R, items_R), self.weight)
