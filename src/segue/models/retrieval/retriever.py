"""Top-k lists of a model in the server: exact search for a network with a large catalog, all scores otherwise.

The lists equal those of ``top_k`` in both cases. Shape letters: B histories, D width, V catalog size with PAD, K list
length.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from segue.data.catalog import PAD
from segue.data.event_contexts import EventContexts
from segue.data.sequences import NO_TIME, Sequences
from segue.models.neural.covisitation_prior import WithCovisitationPrior
from segue.models.neural.neural_scorer import NeuralScorer, find_network
from segue.models.retrieval.exact_search import ExactSearch, ScoreOffsets, SearchRequest
from segue.models.retrieval.product_quantization import build_pq_scan
from segue.models.scorer import Scorer
from segue.models.top_k import order_by_score_then_index, top_k

EXACT_SEARCH_MIN_ITEMS = 20_000
"""Catalog size from which exact search is faster than scoring every item."""
_NUM_RECALL_QUERIES = 200
"""Number of random histories on which the recall of an approximate search is measured."""
_MAX_SCORE_BYTES = 64 << 20
"""Maximum size of the scores of one batch."""


@dataclass(frozen=True)
class RetrievalQuery:
    """A history and the items that its list may hold."""

    history: Sequence[int]
    """Item indices, oldest first; PAD for an item that the catalog does not contain."""
    exclude: Sequence[int] = ()
    """Items that the list must not hold."""
    allow: Sequence[int] | None = None
    """The only items that the list may hold; None: all."""
    times: Sequence[int] | None = None
    """Timestamp of each event, UTC microseconds, NO_TIME where unknown; None: all unknown."""
    query_time: int = NO_TIME
    """Time of the request, UTC microseconds; NO_TIME: unknown."""
    contexts: Sequence[Mapping[str, Any]] | None = None
    """Context of each event, as ``EventContexts.from_shared`` reads it; None: all unknown."""
    event_types: Sequence[str | None] | None = None
    """Type of each event, as click or purchase; None: all unknown."""

    def as_sequences(self) -> Sequences:
        """Return the history as a single row."""
        return to_sequences([self])


def to_sequences(queries: Sequence[RetrievalQuery]) -> Sequences:
    """Return the histories of queries with their times, contexts and query times."""
    times = [q.times if q.times is not None else [NO_TIME] * len(q.history) for q in queries]
    has_times = any(q.times is not None for q in queries)
    rows = Sequences.from_lists([q.history for q in queries], times if has_times else None)
    query_times_B = np.array([q.query_time for q in queries], dtype=np.int64)
    if any(q.contexts is not None for q in queries):
        contexts = ([{}] * len(q.history) if q.contexts is None else q.contexts for q in queries)
        rows = replace(rows, contexts=EventContexts.from_shared(context for row in contexts for context in row))
    if any(q.event_types is not None for q in queries):
        types = [q.event_types or [None] * len(q.history) for q in queries]
        rows = replace(rows, event_types=np.array([name for row in types for name in row], dtype=object))
    return rows.as_of(query_times_B if (query_times_B != NO_TIME).any() else None)


class Retriever:
    """A scorer with the fastest exact way to its top-k lists. Not thread-safe."""

    def __init__(self, scorer: Scorer, *, exact_search_min_items: int | None = None) -> None:
        self.scorer = scorer
        self.prior = scorer if isinstance(scorer, WithCovisitationPrior) and scorer.weight > 0 else None
        """The scorer, if a co-visitation model is added to a network."""
        self.network = find_network(scorer)
        """The network whose hidden states decide; None for other models."""
        self._uses_items_alone = (
            self.network is not None and self.network.side_information.is_empty and not self.network.encoder.uses_times
        )
        self._search: ExactSearch | None = None
        self._cold_start_order: np.ndarray | None = None
        min_items = EXACT_SEARCH_MIN_ITEMS if exact_search_min_items is None else exact_search_min_items
        if self.network is not None and scorer.size >= min_items:
            self._search = ExactSearch(self.network.keys_VD, self._bias(self.network))

    def top_k(
        self, queries: Sequence[RetrievalQuery], k: int, hidden_BD: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the k best items of each query, ordered and filled like those of ``top_k``.

        Args:
            queries: B queries.
            k: list length, at least 1.
            hidden_BD: float32 [B, D], hidden states of the network after the known items of each history; rows of
                histories without a known item are ignored. None: histories are encoded.

        Returns:
            (items int32 [B, K], scores float32 [B, K]).

        Raises:
            ValueError: a score is NaN.
        """
        known = self._known_histories(queries)
        if self._search is not None:
            return self._top_k_by_search(self._search, known, queries, k, hidden_BD)
        step = max(1, _MAX_SCORE_BYTES // (4 * self.scorer.size))
        parts = []
        for start in range(0, len(queries), step):
            rows = slice(start, start + step)
            part = None if hidden_BD is None else hidden_BD[rows]
            parts.append(self._top_k_of_all_scores(known.take(rows), queries[rows], k, part))
        return np.concatenate([items for items, _ in parts]), np.concatenate([scores for _, scores in parts])

    def _bias(self, network: NeuralScorer) -> np.ndarray | None:
        """Return what is added to the scores of every query, float32 [V]; None: nothing."""
        if self.prior is None:
            return network.bias_V
        return self.prior.base_offsets() if network.bias_V is None else network.bias_V + self.prior.base_offsets()

    def enable_approximate(self, k: int = 20) -> float | None:
        """Switch to an approximate search if its recall on random histories is at least ``MIN_RECALL``.

        Args:
            k: length of the lists whose recall is measured.

        Returns:
            The measured recall; None for a model that does not search its catalog.

        Raises:
            ImportError: faiss is not installed.
        """
        if self._search is None or self.network is None:
            return None
        rng, size = np.random.default_rng(0), self.network.size
        histories = [rng.integers(1, size, rng.integers(1, 21)).tolist() for _ in range(_NUM_RECALL_QUERIES)]
        query_BD = self.network.query(self.encode(Sequences.from_lists(histories)))
        bias_V = self._bias(self.network)
        scan, recall = build_pq_scan(self.network.keys_VD, bias_V, query_BD, k)
        if scan is not None:
            self._search = ExactSearch(self.network.keys_VD, bias_V, scan)
        return recall

    def _known_histories(self, queries: Sequence[RetrievalQuery]) -> Sequences:
        """Return the known events of each history, with times and contexts unless the network ignores them."""
        if not self._uses_items_alone:
            return to_sequences(queries).drop_unknown()
        rows = ([item for item in query.history if item != PAD] for query in queries)
        return Sequences.from_lists(rows).mark_no_unknown()

    @property
    def uses_exact_search(self) -> bool:
        """True if the catalog is searched instead of scored as a whole."""
        return self._search is not None

    def most_popular(self, k: int) -> np.ndarray:
        """Return the k best items of an empty history, int32."""
        items_BK, _ = self.top_k([RetrievalQuery(())], k)
        return items_BK[0][items_BK[0] != PAD]

    def encode(self, known: Sequences) -> np.ndarray:
        """Return the network's hidden states after histories of known items, float32 [B, D]; zeros for empty ones."""
        assert self.network is not None
        has_events_B = known.lengths > 0
        if has_events_B.all():
            return self.network.encoder.encode(*self.network.encode(known))
        hidden_BD = np.zeros((len(known), self.network.keys_VD.shape[1]), dtype=np.float32)
        if has_events_B.any():
            hidden_BD[has_events_B] = self.network.encoder.encode(*self.network.encode(known.take(has_events_B)))
        return hidden_BD

    def _top_k_of_all_scores(
        self, known: Sequences, queries: Sequence[RetrievalQuery], k: int, hidden_BD: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        scores_BV = self.scorer.scores(known) if hidden_BD is None else self._scores(known, hidden_BD)
        exclude = Sequences.from_lists(query.exclude for query in queries)
        items_BK, best_BK = top_k(scores_BV, k, exclude=exclude)
        for b, query in enumerate(queries):
            if query.allow is not None:
                allowed_V = np.zeros(self.scorer.size, dtype=bool)
                allowed_V[list(query.allow)] = True
                row = slice(b, b + 1)
                items_BK[row], best_BK[row] = top_k(scores_BV[row], k, exclude=exclude.take(row), allowed_V=allowed_V)
        return items_BK, best_BK

    def _scores(self, known: Sequences, hidden_BD: np.ndarray) -> np.ndarray:
        """Return the same as ``Scorer.scores``, from given hidden states."""
        assert self.network is not None
        has_events_B = known.lengths > 0
        if not has_events_B.all():
            scores_BV = np.empty((len(known), self.scorer.size), dtype=np.float32)
            scores_BV[~has_events_B] = self.scorer.scores(known.take(~has_events_B))
            if has_events_B.any():
                scores_BV[has_events_B] = self._scores(known.take(has_events_B), hidden_BD[has_events_B])
            return scores_BV
        logits_BV = self.network.logits(hidden_BD)
        return logits_BV if self.prior is None else self.prior.add_to_logits(logits_BV, known)

    def _top_k_by_search(
        self,
        search: ExactSearch,
        known: Sequences,
        queries: Sequence[RetrievalQuery],
        k: int,
        hidden_BD: np.ndarray | None,
    ) -> tuple[np.ndarray, np.ndarray]:
        assert self.network is not None
        has_events_B = known.lengths > 0
        if has_events_B.all():
            query_BD = self.network.query(self.encode(known) if hidden_BD is None else hidden_BD)
            return search.top_k(query_BD, k, list(map(self._search_request, known, queries)))
        items_BK = np.full((len(known), k), PAD, dtype=np.int32)
        scores_BK = np.full((len(known), k), -np.inf, dtype=np.float32)
        if has_events_B.any():
            part = [query for query, has_events in zip(queries, has_events_B, strict=True) if has_events]
            hidden = None if hidden_BD is None else hidden_BD[has_events_B]
            lists = self._top_k_by_search(search, known.take(has_events_B), part, k, hidden)
            items_BK[has_events_B], scores_BK[has_events_B] = lists
        for b in np.flatnonzero(~has_events_B).tolist():
            items = self._cold_start_items(queries[b], k)
            items_BK[b, : len(items)] = items
            scores_BK[b, : len(items)] = self.network.start_V[items]
        return items_BK, scores_BK

    def _search_request(self, history: np.ndarray, query: RetrievalQuery) -> SearchRequest:
        offsets = None if self.prior is None else ScoreOffsets(*self.prior.lifts(history))
        excluded = np.asarray(query.exclude, dtype=np.int64)
        return SearchRequest(
            excluded, None if query.allow is None else np.asarray(query.allow, dtype=np.int64), offsets
        )

    def _cold_start_items(self, query: RetrievalQuery, k: int) -> np.ndarray:
        """Return the best items of an empty history; their order is the same for all queries and cached."""
        assert self.network is not None
        if self._cold_start_order is None:
            if np.isnan(self.network.start_V).any():
                raise ValueError("A score is NaN: the model is broken, its list would be arbitrary.")
            order = order_by_score_then_index(self.network.start_V).astype(np.int32)
            self._cold_start_order = order[order != PAD]
        if query.allow is not None:
            allowed = np.unique(np.asarray(query.allow, dtype=np.int32))
            allowed = allowed[allowed != PAD]
            order = allowed[order_by_score_then_index(self.network.start_V[allowed])]
        else:
            order = self._cold_start_order[: k + len(query.exclude)]
        return order[~np.isin(order, np.asarray(query.exclude, dtype=np.int32))][:k]
