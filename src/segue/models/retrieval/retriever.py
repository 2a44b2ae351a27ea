"""From histories to lists, the fast exact way for each model: all scores of a small catalog or of a model without
vectors, a search by blocks in a large one. The lists are those of ``top_k``, whichever way it is.

Shape letters: B histories, D width, V catalog size with PAD, K list length.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from segue.data.catalog import PAD
from segue.data.event_contexts import EventContexts
from segue.data.sequences import NO_TIME, Sequences
from segue.models.neural.covisitation_prior import WithCovisitationPrior
from segue.models.neural.neural_scorer import NeuralScorer
from segue.models.retrieval.exact_search import ExactSearch, ScoreOffsets, SearchRequest
from segue.models.retrieval.product_quantization import build_pq_scan
from segue.models.scorer import Scorer
from segue.models.top_k import order_by_score_then_index, top_k

EXACT_SEARCH_MIN_ITEMS = 20_000
"""Catalog size from which searching by blocks is faster than a row of all scores."""
_HISTORIES = 200
"""Made up to see how much an approximate search finds."""
_ROW_BYTES = 64 << 20
"""All scores of some rows together are at most this large."""


@dataclass(frozen=True)
class RetrievalQuery:
    """What is asked about one history."""

    history: Sequence[int]
    """Item indices, oldest first; PAD for an item that the catalog does not know."""
    exclude: Sequence[int] = ()
    allow: Sequence[int] | None = None
    """Only these; nothing: all."""
    times: Sequence[int] | None = None
    """When each event was, UTC microseconds, NO_TIME where nobody knows; None: of none is known."""
    query_time: int = NO_TIME
    """The moment of asking, alike."""
    contexts: Sequence[Mapping[str, Any]] | None = None
    """Under which circumstances each event was, as ``Contexts.from_shared`` takes them; None: of none is known."""

    def rows(self) -> Sequences:
        """The history as the one row of its own."""
        return to_sequences([self])


def to_sequences(questions: Sequence[RetrievalQuery]) -> Sequences:
    """The questions' histories, with what is known of their events besides, and the moments of asking."""
    times = [one.times if one.times is not None else [NO_TIME] * len(one.history) for one in questions]
    known = any(one.times is not None for one in questions)
    rows = Sequences.from_lists([one.history for one in questions], times if known else None)
    now_B = np.array([one.query_time for one in questions], dtype=np.int64)
    if any(one.contexts is not None for one in questions):
        told = ([{}] * len(one.history) if one.contexts is None else one.contexts for one in questions)
        rows = replace(rows, contexts=EventContexts.from_shared(row for each in told for row in each))
    return rows.as_of(now_B if (now_B != NO_TIME).any() else None)


class Retriever:
    """A scorer as it is served. From one thread at a time."""

    def __init__(self, scorer: Scorer, *, blocks_from: int | None = None) -> None:
        self.scorer = scorer
        self.prior = scorer if isinstance(scorer, WithCovisitationPrior) and scorer.weight > 0 else None
        inner = scorer.inner if isinstance(scorer, WithCovisitationPrior) else scorer
        self.network = inner if isinstance(inner, NeuralScorer) else None
        """The network whose states decide, where the model is one."""
        self._items_alone = self.network is not None and self.network.sides.is_empty and not self.network.encoder.timed
        self._blocks: ExactSearch | None = None
        self._newcomers: np.ndarray | None = None
        if self.network is not None and scorer.size >= (EXACT_SEARCH_MIN_ITEMS if blocks_from is None else blocks_from):
            self._blocks = ExactSearch(self.network.keys_VD, self._bias(self.network))

    def top_k(
        self, questions: Sequence[RetrievalQuery], k: int, hidden_BD: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The k best items of each question, as ``top_k`` gives them: (int32 [B, K], float32 [B, K]).

        ``hidden_BD`` are the states that the network's encoder gave for the known items of each history, where
        somebody has them already; rows of histories without a known item are ignored.
        """
        known = self._known(questions)
        if self._blocks is not None:
            return self._by_blocks(self._blocks, known, questions, k, hidden_BD)
        step = max(1, _ROW_BYTES // (4 * self.scorer.size))
        parts = []
        for start in range(0, len(questions), step):
            rows = slice(start, start + step)
            part = None if hidden_BD is None else hidden_BD[rows]
            parts.append(self._by_rows(known.take(rows), questions[rows], k, part))
        return np.concatenate([items for items, _ in parts]), np.concatenate([scores for _, scores in parts])

    def _bias(self, network: NeuralScorer) -> np.ndarray | None:
        """float32 [V]: what every query's scores have added."""
        if self.prior is None:
            return network.bias_V
        return self.prior.prior_arrays() if network.bias_V is None else network.bias_V + self.prior.prior_arrays()

    def enable_approximate(self, k: int = 20) -> float | None:
        """From now on searches through codes, where these find at least ``WANTED_RECALL`` of the k best of some made-up
        histories; the recall that was seen. None for a model whose catalog is not searched at all.

        ImportError where faiss is not installed.
        """
        if self._blocks is None or self.network is None:
            return None
        rng, size = np.random.default_rng(0), self.network.size
        histories = [rng.integers(1, size, rng.integers(1, 21)).tolist() for _ in range(_HISTORIES)]
        query_BD = self.network.query(self.encode(Sequences.from_lists(histories)))
        bias_V = self._bias(self.network)
        codes, recall = build_pq_scan(self.network.keys_VD, bias_V, query_BD, k)
        if codes is not None:
            self._blocks = ExactSearch(self.network.keys_VD, bias_V, codes)
        return recall

    def _known(self, questions: Sequence[RetrievalQuery]) -> Sequences:
        """The known events of each history; with times and circumstances, unless nobody looks at them."""
        if not self._items_alone:
            return to_sequences(questions).drop_unknown()
        rows = ([item for item in one.history if item != PAD] for one in questions)
        return Sequences.from_lists(rows).mark_no_unknown()

    @property
    def uses_exact_search(self) -> bool:
        """Whether the catalog is searched, not scored as a whole."""
        return self._blocks is not None

    def most_popular(self, k: int) -> np.ndarray:
        """The k best items for somebody of whom nothing is known, int32."""
        items_BK, _ = self.top_k([RetrievalQuery(())], k)
        return items_BK[0][items_BK[0] != PAD]

    def encode(self, known: Sequences) -> np.ndarray:
        """float32 [B, D]: the network's states after histories of known items; zeros where a history is empty."""
        assert self.network is not None
        filled_B = known.lengths > 0
        if filled_B.all():
            return self.network.encoder.encode(*self.network.encode(known))
        hidden_BD = np.zeros((len(known), self.network.keys_VD.shape[1]), dtype=np.float32)
        if filled_B.any():
            hidden_BD[filled_B] = self.network.encoder.encode(*self.network.encode(known.take(filled_B)))
        return hidden_BD

    def _by_rows(
        self, known: Sequences, questions: Sequence[RetrievalQuery], k: int, hidden_BD: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        scores_BV = self.scorer.scores(known) if hidden_BD is None else self._scores(known, hidden_BD)
        exclude = Sequences.from_lists(one.exclude for one in questions)
        items_BK, best_BK = top_k(scores_BV, k, exclude=exclude)
        for b, one in enumerate(questions):
            if one.allow is not None:
                allowed_V = np.zeros(self.scorer.size, dtype=bool)
                allowed_V[list(one.allow)] = True
                row = slice(b, b + 1)
                items_BK[row], best_BK[row] = top_k(scores_BV[row], k, exclude=exclude.take(row), allowed_V=allowed_V)
        return items_BK, best_BK

    def _scores(self, known: Sequences, hidden_BD: np.ndarray) -> np.ndarray:
        """``Scorer.scores`` from states that are there already."""
        assert self.network is not None
        filled_B = known.lengths > 0
        if not filled_B.all():
            scores_BV = np.empty((len(known), self.scorer.size), dtype=np.float32)
            scores_BV[~filled_B] = self.scorer.scores(known.take(~filled_B))
            if filled_B.any():
                scores_BV[filled_B] = self._scores(known.take(filled_B), hidden_BD[filled_B])
            return scores_BV
        logits_BV = self.network.logits(hidden_BD)
        return logits_BV if self.prior is None else self.prior.add_to_logits(logits_BV, known)

    def _by_blocks(
        self,
        blocks: ExactSearch,
        known: Sequences,
        questions: Sequence[RetrievalQuery],
        k: int,
        hidden_BD: np.ndarray | None,
    ) -> tuple[np.ndarray, np.ndarray]:
        assert self.network is not None
        filled_B = known.lengths > 0
        if filled_B.all():
            query_BD = self.network.query(self.encode(known) if hidden_BD is None else hidden_BD)
            return blocks.top_k(query_BD, k, list(map(self._wish, known, questions)))
        items_BK = np.full((len(known), k), PAD, dtype=np.int32)
        scores_BK = np.full((len(known), k), -np.inf, dtype=np.float32)
        if filled_B.any():
            asked = [one for one, filled in zip(questions, filled_B, strict=True) if filled]
            hidden = None if hidden_BD is None else hidden_BD[filled_B]
            found = self._by_blocks(blocks, known.take(filled_B), asked, k, hidden)
            items_BK[filled_B], scores_BK[filled_B] = found
        for b in np.flatnonzero(~filled_B).tolist():
            newcomer = self._cold_start(questions[b], k)
            items_BK[b, : len(newcomer)] = newcomer
            scores_BK[b, : len(newcomer)] = self.network.start_V[newcomer]
        return items_BK, scores_BK

    def _wish(self, history: np.ndarray, one: RetrievalQuery) -> SearchRequest:
        extra = None if self.prior is None else ScoreOffsets(*self.prior.lifts(history))
        banned = np.asarray(one.exclude, dtype=np.int64)
        return SearchRequest(banned, None if one.allow is None else np.asarray(one.allow, dtype=np.int64), extra)

    def _cold_start(self, one: RetrievalQuery, k: int) -> np.ndarray:
        """The popular items, best first: their order is the same for everybody, so it is sorted once."""
        assert self.network is not None
        if self._newcomers is None:
            if np.isnan(self.network.start_V).any():
                raise ValueError("A score is NaN: the model is broken, its list would be arbitrary.")
            order = order_by_score_then_index(self.network.start_V).astype(np.int32)
            self._newcomers = order[order != PAD]
        if one.allow is not None:
            allowed = np.unique(np.asarray(one.allow, dtype=np.int32))
            allowed = allowed[allowed != PAD]
            order = allowed[order_by_score_then_index(self.network.start_V[allowed])]
        else:
            order = self._newcomers[: k + len(one.exclude)]
        return order[~np.isin(order, np.asarray(one.exclude, dtype=np.int32))][:k]
