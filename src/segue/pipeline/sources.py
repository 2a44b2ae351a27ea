"""A source of candidates: any scorer, shown the part of a history that is its business, asked for its best.

Shape letters: B batch, C candidates, K taken by one source, D width, N events, V catalogue size with PAD.
"""

from dataclasses import replace
from typing import Protocol

import numpy as np

from segue.data.catalog import PAD
from segue.data.sequences import Sequences
from segue.models.blocks import Blocks, Wish, wishes_of
from segue.models.neural import NeuralScorer
from segue.models.prior import WithPrior
from segue.models.retrieval import BLOCKS_FROM
from segue.models.scorer import Scorer, top_k
from segue.pipeline.config import SourceConfig
from segue.pipeline.index import Approximate
from segue.pipeline.ranked import Ranked

STILL = ("popularity", "trend", "new", "list")
"""Models that say the same to everybody."""
TELLING = ("content-knn", "new", "list", "function")
"""Models that know of items without events."""
MOST_WIDER = 8
"""An approximate index is asked for at most so many times as many, so that forbidden ones can be left out; where that
is not enough, the exact way answers."""


class Answer(Protocol):
    """What a source says to a batch of histories, before anybody asked how much of it."""

    def best(self, k: int, exclude: Sequences | None, allowed_V: np.ndarray | None) -> np.ndarray:
        """int32 [B, K]: the k best allowed items, best first, PAD where there are no more."""
        ...

    def of(self, items_BC: np.ndarray) -> np.ndarray:
        """float32 [B, C]: its scores of given items; -inf where it has no opinion."""
        ...

    def whole(self) -> np.ndarray:
        """float32 [B, V]: its scores of all items."""
        ...


class Source:
    """A scorer and what it is asked: how many, of whom, on which part of the history."""

    def __init__(self, scorer: Scorer, config: SourceConfig, index: Approximate | None = None) -> None:
        if index is not None:
            searchable(scorer)
        self.scorer = scorer
        self.config = config
        self.index = index
        self._blocks: Blocks | None = None
        if index is None and isinstance(scorer, NeuralScorer) and scorer.size >= BLOCKS_FROM:
            self._blocks = Blocks(np.ascontiguousarray(scorer.queries(Sequences.from_lists([]))[1]))
        self._still: np.ndarray | None = None
        if scorer.name in STILL:
            self._still = scorer.scores(Sequences.from_lists([[]]))[0]
            self._order = _order(self._still)

    @property
    def name(self) -> str:
        """What answers call it."""
        return self.config.called

    @property
    def knows_facts(self) -> bool:
        """Whether it can tell an item that nobody has taken yet from another one: by facts, or because it is named."""
        scorer = self.scorer.scorer if isinstance(self.scorer, WithPrior) else self.scorer
        if isinstance(scorer, NeuralScorer):
            return scorer.sides.features is not None
        return scorer.name in TELLING

    def serves(self, histories: Sequences) -> np.ndarray:
        """bool [B]: whose histories are its business, by the number of known events; an index is not asked about
        empty ones, which have no vector."""
        lengths_B = histories.known().lengths
        most = np.inf if self.config.max_events is None else self.config.max_events
        least = max(self.config.min_events, 0 if self.index is None else 1)
        served_B: np.ndarray = (lengths_B >= least) & (lengths_B <= most)
        return served_B

    def shown(self, histories: Sequences) -> Sequences:
        """The part of each history that the scorer sees."""
        rows = histories
        if self.config.session_gap_s is not None:
            rows = last_session(rows, self.config.session_gap_s)
        return rows if self.config.newest is None else rows.tail(self.config.newest)

    def answer(self, histories: Sequences) -> Answer:
        """Asks the scorer; one that says the same to everybody was asked once and for all."""
        if self._still is not None:
            return Still(self._still, self._order, len(histories))
        shown = self.shown(histories)
        if self._blocks is not None and shown.known().lengths.all():
            return Screened(searchable(self.scorer).queries(shown)[0], self._blocks)
        if self.index is None:
            return Dense(self.scorer.scores(shown))
        return Searched(*searchable(self.scorer).queries(shown), self.index)

    def candidates(self, histories: Sequences, n: int, allowed_V: np.ndarray | None = None) -> list[Ranked]:
        """The n best of each history as a list of its own; empty for people who are not its business."""
        answer, served_B = self.answer(histories), self.serves(histories)
        items_BK = answer.best(n, None, allowed_V)
        scores_BK = answer.of(items_BK)
        lists = []
        for items_K, scores_K, served in zip(items_BK, scores_BK, served_B, strict=True):
            there = (items_K != PAD) & served
            lists.append(Ranked.of(items_K[there], scores_K[there], sources=(self.name,)))
        return lists


class Dense:
    """An answer that knows the score of every item."""

    def __init__(self, scores_BV: np.ndarray) -> None:
        self.scores_BV = scores_BV

    def best(self, k: int, exclude: Sequences | None, allowed_V: np.ndarray | None) -> np.ndarray:
        """int32 [B, K]."""
        return top_k(self.scores_BV, k, exclude=exclude, allowed_V=allowed_V)[0]

    def of(self, items_BC: np.ndarray) -> np.ndarray:
        """float32 [B, C]."""
        scores_BC: np.ndarray = np.take_along_axis(self.scores_BV, items_BC, axis=1)
        return scores_BC

    def whole(self) -> np.ndarray:
        """float32 [B, V]."""
        return self.scores_BV


class Still:
    """The same answer for everybody, sorted once."""

    def __init__(self, scores_V: np.ndarray, order: np.ndarray, batch: int) -> None:
        self.scores_V = scores_V
        self.order = order
        self.batch = batch

    def best(self, k: int, exclude: Sequences | None, allowed_V: np.ndarray | None) -> np.ndarray:
        """int32 [B, K]."""
        out_BK = np.full((self.batch, k), PAD, dtype=np.int32)
        free = self.order if allowed_V is None else self.order[allowed_V[self.order]]
        for b in range(self.batch):
            own = free
            if exclude is not None and exclude.lengths[b]:
                banned = exclude.items[exclude.starts[b] : exclude.stops[b]]
                own = free[: k + len(banned)]
                own = own[~np.isin(own, banned)]
            out_BK[b, : min(k, len(own))] = own[:k]
        return out_BK

    def of(self, items_BC: np.ndarray) -> np.ndarray:
        """float32 [B, C]."""
        scores_BC: np.ndarray = self.scores_V[items_BC]
        return scores_BC

    def whole(self) -> np.ndarray:
        """float32 [B, V]."""
        return np.tile(self.scores_V, (self.batch, 1))


class Vectors:
    """Part of an answer by vectors: one product an item tells its score."""

    def __init__(self, query_BD: np.ndarray, keys_VD: np.ndarray) -> None:
        self.query_BD = query_BD
        self.keys_VD = keys_VD

    def of(self, items_BC: np.ndarray) -> np.ndarray:
        """float32 [B, C]."""
        scores_BC: np.ndarray = np.einsum("bd,bcd->bc", self.query_BD, self.keys_VD[items_BC])
        return scores_BC

    def whole(self) -> np.ndarray:
        """float32 [B, V]."""
        scores_BV: np.ndarray = self.query_BD @ self.keys_VD.T
        return scores_BV


class Screened(Vectors):
    """An exact answer for a large catalogue: only what can be among the best is scored."""

    def __init__(self, query_BD: np.ndarray, blocks: Blocks) -> None:
        super().__init__(query_BD, blocks.keys_VD)
        self.blocks = blocks

    def best(self, k: int, exclude: Sequences | None, allowed_V: np.ndarray | None) -> np.ndarray:
        """int32 [B, K]."""
        if allowed_V is not None:
            return Dense(self.whole()).best(k, exclude, allowed_V)
        nobody = np.empty(0, dtype=np.int64)
        wishes = [Wish(nobody)] * len(self.query_BD) if exclude is None else wishes_of(exclude)
        return self.blocks.top_k(self.query_BD, k, wishes)[0]


class Searched(Vectors):
    """An answer for a large catalogue by an index that finds nearly all of the best."""

    def __init__(self, query_BD: np.ndarray, keys_VD: np.ndarray, index: Approximate) -> None:
        super().__init__(query_BD, keys_VD)
        self.index = index

    def best(self, k: int, exclude: Sequences | None, allowed_V: np.ndarray | None) -> np.ndarray:
        """int32 [B, K]; a row of which too few found items are allowed is answered exactly."""
        wide = k if exclude is None else k + int(exclude.lengths.max(initial=0))
        if allowed_V is not None:
            wide = int(min(MOST_WIDER * k, wide / max(float(allowed_V.mean()), 1e-9) + k))
        found_BK = self.index.nearest(self.query_BD, min(wide, len(self.keys_VD) - 1))
        out_BK = np.full((len(found_BK), k), PAD, dtype=np.int32)
        for b, found in enumerate(found_BK):
            free = found[found != PAD]
            if exclude is not None:
                free = free[~np.isin(free, exclude.items[exclude.starts[b] : exclude.stops[b]])]
            free = free if allowed_V is None else free[allowed_V[free]]
            if len(free) < k:
                row = None if exclude is None else exclude.take(slice(b, b + 1))
                free = Dense(self.query_BD[b : b + 1] @ self.keys_VD.T).best(k, row, allowed_V)[0]
            out_BK[b, : min(k, len(free))] = free[:k]
        return out_BK


def _order(scores_V: np.ndarray) -> np.ndarray:
    """int32: every item with an opinion, best first, equals by index."""
    known = np.flatnonzero(np.isfinite(scores_V))
    known = known[known != PAD]
    return known[np.argsort(-scores_V[known], kind="stable")].astype(np.int32)


def searchable(scorer: Scorer) -> NeuralScorer:
    """The scorer, where its scores are inner products of vectors; ValueError where they are not."""
    if isinstance(scorer, NeuralScorer):
        return scorer
    raise ValueError(
        f'The scores of {scorer.name} are no inner products, so they need index = "exact"; for a network with the '
        "co-visit rule beside it, set its prior to 0 and name covisit as a source of its own."
    )


def last_session(histories: Sequences, gap_s: float) -> Sequences:
    """The newest events of each row that no pause longer than ``gap_s`` parts; rows without times are left whole."""
    if histories.times is None or histories.num_events == 0:
        return histories
    row_N, where_N = histories.positions()
    times_N = histories.times[where_N]
    breaks = np.flatnonzero((np.diff(times_N) > gap_s * 1e6) & (row_N[1:] == row_N[:-1])) + 1
    starts_B = histories.starts.copy()
    starts_B[row_N[breaks]] = where_N[breaks]  # positions rise within a row, so that the newest break stays
    return replace(histories, starts=starts_B)
