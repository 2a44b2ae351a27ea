"""Lists that are being continued: what any scorer says comes next, after a history and what was written behind it.

A network goes on from its state and the co-visit rule from its sum, at the cost of one event; any other scorer reads
history and list anew. Shape letters: B histories, R lists (equally many for each history, side by side), V catalogue
size with PAD.
"""

from typing import Protocol

import numpy as np

from segue.data.catalog import PAD
from segue.data.event_contexts import Contexts
from segue.data.sequences import NO_TIME, Sequences
from segue.models.counting.covisitation import CoVisit
from segue.models.neural.covisitation_prior import WithPrior, log_sum
from segue.models.neural.decoders_numpy import Script
from segue.models.neural.gru_numpy import GruArrays
from segue.models.neural.neural_scorer import NeuralScorer
from segue.models.neural.seq2seq_numpy import Seq2SeqArrays
from segue.models.scorer import Scorer


class Continuation(Protocol):
    """R lists, and what comes next in each."""

    def scores(self) -> np.ndarray:
        """float32 [R, V], the caller's to write to; column PAD says nothing."""
        ...

    def grown(self, parents_R: np.ndarray, items_R: np.ndarray) -> "Continuation":
        """New lists: list ``parents_R[r]`` with ``items_R[r]`` behind it, side by side with its history's others."""
        ...


def continuation(scorer: Scorer, histories: Sequences) -> Continuation:
    """One list for each history, nothing written yet: its first scores are ``scorer.scores(histories)``."""
    known = histories.known()
    if len(known) == 0 or known.lengths.min() == 0:
        return Rereading(scorer, known)
    if isinstance(scorer, WithPrior):
        return Both(continuation(scorer.scorer, known), CoVisiting.after(scorer.prior, known), scorer.weight)
    if isinstance(scorer, CoVisit):
        return CoVisiting.after(scorer, known)
    if isinstance(scorer, NeuralScorer) and isinstance(scorer.encoder, Seq2SeqArrays):
        return Writing(scorer, scorer.encoder, scorer.encoder.begin(*scorer.read(known)))
    if isinstance(scorer, NeuralScorer) and isinstance(scorer.encoder, GruArrays):
        return Stepping.after(scorer, scorer.encoder, known)
    return Rereading(scorer, known)


class Rereading:
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
            contexts = Contexts(codes_N, old.contexts.facts)
        return self.scorer.scores(Sequences.from_offsets(items_N, offsets, times_N, contexts).at(old.now))

    def grown(self, parents_R: np.ndarray, items_R: np.ndarray) -> "Rereading":
        """See ``Continuation``."""
        out = Rereading(self.scorer, self.histories, self.row_R[parents_R])
        out.written_RK = np.concatenate([self.written_RK[parents_R], items_R[:, None].astype(np.int32)], axis=1)
        return out


class Writing:
    """A Seq2Seq model: the history was read once, the writer takes a step."""

    def __init__(self, scorer: NeuralScorer, encoder: Seq2SeqArrays, script: Script) -> None:
        self.scorer = scorer
        self.encoder = encoder
        self.script = script

    def scores(self) -> np.ndarray:
        """float32 [R, V]."""
        return self.scorer.logits(self.script.said_RD)

    def grown(self, parents_R: np.ndarray, items_R: np.ndarray) -> "Writing":
        """See ``Continuation``."""
        vectors_RD = self.scorer.vectors_VD[items_R]
        return Writing(self.scorer, self.encoder, self.encoder.writer.step(self.script, parents_R, vectors_RD))


class Stepping:
    """A recurrent net: its state takes a step. S is what a layer keeps."""

    def __init__(self, scorer: NeuralScorer, encoder: GruArrays, state_LRS: np.ndarray) -> None:
        self.scorer = scorer
        self.encoder = encoder
        self.state_LRS = state_LRS

    @classmethod
    def after(cls, scorer: NeuralScorer, encoder: GruArrays, histories: Sequences) -> "Stepping":
        """The state after each history's newest events, from its oldest on; rows that have ended keep theirs."""
        newest, vectors_ND = scorer.read(histories)
        ends_B = np.cumsum(newest.lengths)
        state_LBS = encoder.start(len(histories))
        for left in range(int(newest.lengths.max()), 0, -1):
            row = np.flatnonzero(newest.lengths >= left)
            state_LBS[:, row] = encoder.step(state_LBS[:, row], vectors_ND[ends_B[row] - left])
        return cls(scorer, encoder, state_LBS)

    def scores(self) -> np.ndarray:
        """float32 [R, V]."""
        return self.scorer.logits(self.encoder.hidden(self.state_LRS))

    def grown(self, parents_R: np.ndarray, items_R: np.ndarray) -> "Stepping":
        """See ``Continuation``; the oldest event is not forgotten when the history grows beyond ``length``."""
        stepped = self.encoder.step(self.state_LRS[:, parents_R], self.scorer.written(items_R))
        return Stepping(self.scorer, self.encoder, stepped)


class CoVisiting:
    """The co-visit rule: every step back weighs ``decay`` times as much, so the sum only decays and takes one row."""

    def __init__(self, rule: CoVisit, sum_RV: np.ndarray) -> None:
        self.rule = rule
        self.sum_RV = sum_RV

    @classmethod
    def after(cls, rule: CoVisit, histories: Sequences) -> "CoVisiting":
        """The sum over each history."""
        return cls(rule, rule.scores(histories) - rule.popularity_V)

    def scores(self) -> np.ndarray:
        """float32 [R, V]."""
        return self.sum_RV + self.rule.popularity_V

    def grown(self, parents_R: np.ndarray, items_R: np.ndarray) -> "CoVisiting":
        """See ``Continuation``."""
        new = Sequences(items_R, None, np.arange(len(items_R)), np.arange(len(items_R)) + 1)
        row_RV = self.rule.near.weighted_sum(new, np.ones(len(items_R), dtype=np.float32))
        return CoVisiting(self.rule, self.sum_RV[parents_R] * np.float32(self.rule.decay) + row_RV)


class Both:
    """A network and the co-visit rule together, each in its own way."""

    def __init__(self, network: Continuation, rule: CoVisiting, weight: float) -> None:
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

    def grown(self, parents_R: np.ndarray, items_R: np.ndarray) -> "Both":
        """See ``Continuation``."""
        return Both(self.network.grown(parents_R, items_R), self.rule.grown(parents_R, items_R), self.weight)
