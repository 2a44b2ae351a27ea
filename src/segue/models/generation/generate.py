"""The next k items as a list that is written item by item: strategies over any scorer.

After Volodkevich et al. 2024, "Autoregressive Generation Strategies for Top-K Sequential Recommendations". Shape
letters: B histories, R lists (C for each history, side by side), K list length, V catalog size with PAD.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from segue.data.catalog import PAD
from segue.data.sequences import Sequences
from segue.models.decoder_state import initial_state
from segue.models.generation.sampling import CounterBasedUniform
from segue.models.generation.strategy import Strategy, find_strategy
from segue.models.scorer import DecoderState, Scorer
from segue.models.top_k import best_columns, fill_excluded, top_k

BLOCK_BYTES = 32 << 20
"""About so many bytes of scores are held at once."""


def generate(
    scorer: Scorer,
    histories: Sequences,
    k: int,
    how: Strategy | str = "reciprocal-rank",
    *,
    rng: np.random.Generator,
    exclude: Sequences | None = None,
    allowed_V: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The next k items after each history: (items int32 [B, k], scores float32 [B, k]).

    A list that was written (greedy, beam, sample) is in its order, and an item's score is its log-probability after
    those before it. An aggregated list, and top-k, is in the order of its scores: the sum of 1 / rank over the drawn
    lists, how often an item is expected, or the softmax's score. Items of ``exclude`` and outside ``allowed_V`` never
    appear, an item twice only with ``repeats``; where fewer than k are left the rest is PAD with score -inf.

    Draws depend on ``rng`` and the history alone: a batch gets what each history would get with the same ``rng``.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}.")
    chosen = find_strategy(how) if isinstance(how, str) else how
    known = histories.drop_unknown()
    draws = CounterBasedUniform.of(rng, known)
    items_BK = np.full((len(known), k), PAD, dtype=np.int32)
    scores_BK = np.full((len(known), k), -np.inf, dtype=np.float32)
    lists = {"beam": chosen.beam_width, "reciprocal-rank": chosen.num_samples, "relevance": chosen.num_samples}.get(
        chosen.kind, 1
    )
    block = max(1, BLOCK_BYTES // (4 * scorer.size * lists))
    for rows in _blocks(known, block):
        begun = initial_state(scorer, known.take(rows))
        shut_BV = _excluded_mask(len(rows), scorer.size, None if exclude is None else exclude.take(rows), allowed_V)
        job = _Decoding(begun, shut_BV, k, chosen, draws.take(rows))
        items_BK[rows], scores_BK[rows] = _KINDS[chosen.kind](job)
    return items_BK, scores_BK


@dataclass(frozen=True)
class _Decoding:
    """One block's work."""

    begun: DecoderState
    shut_BV: np.ndarray
    """bool: what must not appear; PAD is among it."""
    k: int
    how: Strategy
    draws: CounterBasedUniform

    def open(self, at: DecoderState, shut_RV: np.ndarray) -> np.ndarray:
        """float32 [R, V]: the scores, -inf where an item is shut."""
        scores_RV = at.scores()
        if np.isnan(scores_RV).any():
            raise ValueError("A score is NaN: the model is broken, its list would be arbitrary.")
        np.putmask(scores_RV, shut_RV, -np.inf)
        return scores_RV

    def closed(self, shut_RV: np.ndarray, items_R: np.ndarray) -> np.ndarray:
        """``shut_RV`` and what was just written, in place."""
        if not self.how.allow_repeats:
            shut_RV[np.arange(len(items_R)), items_R] = True
        return shut_RV


def _blocks(histories: Sequences, block: int) -> list[np.ndarray]:
    """Rows of like length together, the longest first; empty histories, which are continued otherwise, apart."""
    order = np.argsort(-histories.lengths, kind="stable")
    filled = int((histories.lengths > 0).sum())
    parts = (order[:filled], order[filled:])
    return [part[start : start + block] for part in parts for start in range(0, len(part), block)]


def _excluded_mask(batch: int, size: int, exclude: Sequences | None, allowed_V: np.ndarray | None) -> np.ndarray:
    """Return bool [B, V]: True for items that must not appear, PAD among them."""
    excluded_BV = np.zeros((batch, size), dtype=bool)
    fill_excluded(excluded_BV, True, exclude, allowed_V)
    return excluded_BV


def _top_k(job: _Decoding) -> tuple[np.ndarray, np.ndarray]:
    return top_k(job.open(job.begun, job.shut_BV), job.k)


def _single_path(job: _Decoding, pick: Callable[[np.ndarray, int], np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """A list written with ``pick(scores, step)``."""
    at, shut_BV, every = job.begun, job.shut_BV, np.arange(len(job.shut_BV))
    items, scores = [], []
    for step in range(job.k):
        scores_BV = job.open(at, shut_BV)
        items.append(pick(scores_BV, step))
        scores.append(_log_softmax(scores_BV)[every, items[-1]])
        shut_BV = job.closed(shut_BV, items[-1])
        if step + 1 < job.k:
            at = at.extend(every, items[-1])
    return np.stack(items, axis=1), np.stack(scores, axis=1)


def _greedy(job: _Decoding) -> tuple[np.ndarray, np.ndarray]:
    return _single_path(job, lambda scores_BV, step: top_k(scores_BV, 1)[0][:, 0])


def _sample(job: _Decoding) -> tuple[np.ndarray, np.ndarray]:
    return _single_path(job, lambda scores_BV, step: job.how.draw(scores_BV, job.draws.uniform(step, 1))[:, 0])


def _beam(job: _Decoding) -> tuple[np.ndarray, np.ndarray]:
    """The likeliest list of those that a beam of fixed width keeps (Sutskever et al. 2014, section 3.2)."""
    batch, size = len(job.shut_BV), job.shut_BV.shape[1]
    at, shut_RV, width = job.begun, job.shut_BV, 1
    items_RK = np.empty((batch, 0), dtype=np.int32)
    logs_RK = np.empty((batch, 0), dtype=np.float32)
    for step in range(job.k):
        logs_RV = _log_softmax(job.open(at, shut_RV))
        total_RV = logs_RK.sum(axis=1, keepdims=True) + logs_RV
        total_RV[:, PAD] = -np.inf
        best_BC = best_columns(total_RV.reshape(batch, width * size), job.how.beam_width)
        parents_R = (best_BC // size + np.arange(batch)[:, None] * width).ravel()
        new_R = (best_BC % size).ravel()
        logs_R = logs_RV[parents_R, new_R]
        new_R = np.where(np.isneginf(logs_R), PAD, new_R).astype(np.int32)
        items_RK = np.concatenate([items_RK[parents_R], new_R[:, None]], axis=1)
        logs_RK = np.concatenate([logs_RK[parents_R], logs_R[:, None]], axis=1)
        shut_RV, width = job.closed(shut_RV[parents_R], new_R), best_BC.shape[1]
        if step + 1 < job.k:
            at = at.extend(parents_R, new_R)
    first_B = np.arange(batch) * width  # each history's lists are in order, the likeliest first
    return items_RK[first_B], logs_RK[first_B]


def _reciprocal_rank(job: _Decoding) -> tuple[np.ndarray, np.ndarray]:
    """Each drawn list gives the item at its rank r the weight 1 / r; what was never drawn comes after, in the order
    of the first step's probabilities."""
    total_BV = np.zeros(job.shut_BV.shape)
    history_R = np.repeat(np.arange(len(total_BV)), job.how.num_samples)
    for step, (scores_RV, items_R) in enumerate(_drawn(job)):
        if step == 0:
            total_BV += 1e-9 * np.exp(_log_softmax(scores_RV))
        np.add.at(total_BV, (history_R, items_R), (step + 1.0) ** -job.how.discount)
    return _ordered(total_BV, job)


def _relevance(job: _Decoding) -> tuple[np.ndarray, np.ndarray]:
    """The model's own probabilities (temperature 1) of every item at every step, their mean over the drawn lists, added
    up over the steps: how often an item is to be expected among the k. Discounted by 1 / r this is what
    reciprocal ranks of endlessly many lists drawn from the model itself would come to."""
    total_BV = np.zeros(job.shut_BV.shape)
    for step, (scores_RV, _) in enumerate(_drawn(job)):
        chance_RV = np.exp(_log_softmax(scores_RV))
        mean_BV = chance_RV if step == 0 else chance_RV.reshape(len(total_BV), job.how.num_samples, -1).mean(axis=1)
        total_BV += (step + 1.0) ** -job.how.discount * mean_BV
    return _ordered(total_BV, job)


def _drawn(job: _Decoding) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(scores, drawn items int32 [R]) of every step; the first step's scores are one row a history, [B, V]."""
    lists, every = job.how.num_samples, np.arange(len(job.shut_BV) * job.how.num_samples)
    parents_R = every // lists
    at, shut_RV = job.begun, job.shut_BV.copy()
    for step in range(job.k):
        scores_RV = job.open(at, shut_RV)
        uniform_BC = job.draws.uniform(step, lists)
        items_R = job.how.draw(scores_RV, uniform_BC if step == 0 else uniform_BC.reshape(-1, 1)).ravel()
        yield scores_RV, items_R
        if step + 1 < job.k:
            shut_RV = job.closed(shut_RV[parents_R] if step == 0 else shut_RV, items_R)
            at = at.extend(parents_R, items_R)
            parents_R = every


def _ordered(total_BV: np.ndarray, job: _Decoding) -> tuple[np.ndarray, np.ndarray]:
    total_BV[job.shut_BV] = -np.inf
    best_BK = np.full((len(total_BV), job.k), PAD)
    best = best_columns(total_BV, job.k)
    best_BK[:, : best.shape[1]] = best
    scores_BK = np.take_along_axis(total_BV, best_BK, axis=1)
    return np.where(np.isneginf(scores_BK), PAD, best_BK).astype(np.int32), scores_BK.astype(np.float32)


def _log_softmax(scores_RV: np.ndarray) -> np.ndarray:
    """float32 [R, V]; a row without a finite score stays -inf."""
    highest_R1 = np.maximum(scores_RV.max(axis=1, keepdims=True), np.finfo(np.float32).min)
    moved_RV = scores_RV - highest_R1
    with np.errstate(divide="ignore", invalid="ignore"):
        logs: np.ndarray = moved_RV - np.log(np.exp(moved_RV).sum(axis=1, keepdims=True))
    return np.where(np.isneginf(moved_RV), np.float32(-np.inf), logs)


_KINDS: dict[str, Callable[[_Decoding], tuple[np.ndarray, np.ndarray]]] = {
    "top-k": _top_k,
    "greedy": _greedy,
    "beam": _beam,
    "sample": _sample,
    "reciprocal-rank": _reciprocal_rank,
    "relevance": _relevance,
}
