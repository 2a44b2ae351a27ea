"""Generation of the next k items as a list, item by item, with any scorer.

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
from segue.models.probabilities.calibrated_scorer import CalibratedScorer, SoftmaxCalibration
from segue.models.scorer import DecoderState, Scorer
from segue.models.top_k import best_columns, fill_excluded, top_k

BLOCK_BYTES = 32 << 20
"""Bytes of scores of one block of histories, approximately."""


def generate(
    scorer: Scorer,
    histories: Sequences,
    k: int,
    strategy: Strategy | str = "reciprocal-rank",
    *,
    rng: np.random.Generator,
    exclude: Sequences | None = None,
    allowed_V: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Generate the next k items after each history.

    Samples depend on ``rng`` and the history alone: a history gets the same list alone and in any batch.

    Args:
        scorer: any model, whose scores are taken for log-probabilities; ``CalibratedScorer`` makes them so.
        histories: B histories; unknown items are skipped.
        k: length of each list, at least 1.
        strategy: strategy or its name.
        rng: generator of the samples.
        exclude: items that list b must not contain; None: no exclusion.
        allowed_V: bool [V], the items that may appear; None: all of them.

    Returns:
        (items int32 [B, k], scores float32 [B, k]), PAD and -inf where fewer than k items are left. 'greedy', 'beam'
        and 'sample' return the generated order, with the log-probability of each item after the items before it;
        'sample' that of the draw, with its temperature, ``top_k`` and ``top_p``. The others are in the order of their
        scores: the sum of the discounted ranks over the sampled lists, the expected occurrences, or the scorer's own.

    Raises:
        ValueError: k is below 1, or a score is NaN.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}.")
    chosen = find_strategy(strategy) if isinstance(strategy, str) else strategy
    known = histories.drop_unknown()
    uniforms = CounterBasedUniform.for_histories(rng, known)
    items_BK = np.full((len(known), k), PAD, dtype=np.int32)
    scores_BK = np.full((len(known), k), -np.inf, dtype=np.float32)
    lists = {"beam": chosen.beam_width, "reciprocal-rank": chosen.num_samples, "relevance": chosen.num_samples}.get(
        chosen.name, 1
    )
    block = max(1, BLOCK_BYTES // (4 * scorer.size * lists))
    for rows in _blocks(known, block):
        histories = known.take(rows)
        calibration = scorer.calibration if isinstance(scorer, CalibratedScorer) else None
        initial = initial_state(scorer.inner if isinstance(scorer, CalibratedScorer) else scorer, histories)
        excluded_BV = _excluded_mask(len(rows), scorer.size, None if exclude is None else exclude.take(rows), allowed_V)
        has_history = bool(histories.lengths.any())
        decoding = _Decoding(initial, excluded_BV, k, chosen, uniforms.take(rows), calibration, has_history)
        items_BK[rows], scores_BK[rows] = _GENERATORS[chosen.name](decoding)
    return items_BK, scores_BK


@dataclass(frozen=True)
class _Decoding:
    """Inputs of the generation of one block of histories."""

    initial: DecoderState
    excluded_BV: np.ndarray
    """bool: items that must not appear, PAD among them."""
    k: int
    strategy: Strategy
    uniforms: CounterBasedUniform
    calibration: SoftmaxCalibration | None
    """Calibration of the scores; None: they are log-probabilities."""
    has_history: bool
    """False: all histories of the block are empty."""

    def masked_scores(self, state: DecoderState, excluded_RV: np.ndarray) -> np.ndarray:
        """Score the next items and mask the excluded ones.

        Args:
            state: state of R lists.
            excluded_RV: bool, items that must not appear.

        Returns:
            float32 [R, V], -inf for excluded items; log-probabilities of the others with a calibration.
        """
        scores_RV = state.scores()
        if np.isnan(scores_RV).any():
            raise ValueError("A score is NaN: the model is broken, its list would be arbitrary.")
        np.putmask(scores_RV, excluded_RV, -np.inf)
        if self.calibration is None:
            return scores_RV
        return self.calibration.log_probabilities(scores_RV, has_history=self.has_history or state is not self.initial)

    def exclude_items(self, excluded_RV: np.ndarray, items_R: np.ndarray) -> np.ndarray:
        """Exclude the generated items from the next steps, unless items may repeat.

        Args:
            excluded_RV: bool, written in place.
            items_R: the generated item of each list.

        Returns:
            ``excluded_RV``.
        """
        if not self.strategy.allow_repeats:
            excluded_RV[np.arange(len(items_R)), items_R] = True
        return excluded_RV


def _blocks(histories: Sequences, block: int) -> list[np.ndarray]:
    """Split rows into blocks of similar length, the longest first; empty histories need another state: apart."""
    order = np.argsort(-histories.lengths, kind="stable")
    filled = int((histories.lengths > 0).sum())
    parts = (order[:filled], order[filled:])
    return [part[start : start + block] for part in parts for start in range(0, len(part), block)]


def _excluded_mask(batch: int, size: int, exclude: Sequences | None, allowed_V: np.ndarray | None) -> np.ndarray:
    """Return bool [B, V]: True for items that must not appear, PAD among them."""
    excluded_BV = np.zeros((batch, size), dtype=bool)
    fill_excluded(excluded_BV, True, exclude, allowed_V)
    return excluded_BV


def _top_k(decoding: _Decoding) -> tuple[np.ndarray, np.ndarray]:
    return top_k(decoding.masked_scores(decoding.initial, decoding.excluded_BV), decoding.k)


def _single_path(
    decoding: _Decoding, pick: Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]]
) -> tuple[np.ndarray, np.ndarray]:
    """Generate one list per history; ``pick(scores, step)`` returns its next item and the item's log-probability."""
    state, excluded_BV, all_rows = decoding.initial, decoding.excluded_BV, np.arange(len(decoding.excluded_BV))
    items, scores = [], []
    for step in range(decoding.k):
        scores_BV = decoding.masked_scores(state, excluded_BV)
        items_B, logs_B = pick(scores_BV, step)
        items.append(items_B)
        scores.append(logs_B)
        excluded_BV = decoding.exclude_items(excluded_BV, items[-1])
        if step + 1 < decoding.k:
            state = state.extend(all_rows, items[-1])
    return np.stack(items, axis=1), np.stack(scores, axis=1)


def _greedy(decoding: _Decoding) -> tuple[np.ndarray, np.ndarray]:
    def pick(scores_BV: np.ndarray, step: int) -> tuple[np.ndarray, np.ndarray]:
        items_B = top_k(scores_BV, 1)[0][:, 0]
        return items_B, _log_softmax(scores_BV)[np.arange(len(items_B)), items_B]

    return _single_path(decoding, pick)


def _sample(decoding: _Decoding) -> tuple[np.ndarray, np.ndarray]:
    def pick(scores_BV: np.ndarray, step: int) -> tuple[np.ndarray, np.ndarray]:
        items_B1, share_B1 = decoding.strategy.sample(scores_BV, decoding.uniforms.uniform(step, 1))
        with np.errstate(divide="ignore"):
            return items_B1[:, 0], np.log(share_B1[:, 0]).astype(np.float32)

    return _single_path(decoding, pick)


def _beam(decoding: _Decoding) -> tuple[np.ndarray, np.ndarray]:
    """Return the most probable list of a beam search of fixed width (Sutskever et al. 2014, section 3.2)."""
    batch, size = len(decoding.excluded_BV), decoding.excluded_BV.shape[1]
    state, excluded_RV, width = decoding.initial, decoding.excluded_BV, 1
    items_RK = np.empty((batch, 0), dtype=np.int32)
    logs_RK = np.empty((batch, 0), dtype=np.float32)
    for step in range(decoding.k):
        logs_RV = _log_softmax(decoding.masked_scores(state, excluded_RV))
        total_RV = logs_RK.sum(axis=1, keepdims=True) + logs_RV
        total_RV[:, PAD] = -np.inf
        best_BC = best_columns(total_RV.reshape(batch, width * size), decoding.strategy.beam_width)
        parents_R = (best_BC // size + np.arange(batch)[:, None] * width).ravel()
        new_R = (best_BC % size).ravel()
        logs_R = logs_RV[parents_R, new_R]
        new_R = np.where(np.isneginf(logs_R), PAD, new_R).astype(np.int32)
        items_RK = np.concatenate([items_RK[parents_R], new_R[:, None]], axis=1)
        logs_RK = np.concatenate([logs_RK[parents_R], logs_R[:, None]], axis=1)
        excluded_RV, width = decoding.exclude_items(excluded_RV[parents_R], new_R), best_BC.shape[1]
        if step + 1 < decoding.k:
            state = state.extend(parents_R, new_R)
    first_B = np.arange(batch) * width  # the lists of each history are in order, the most probable first
    return items_RK[first_B], logs_RK[first_B]


def _reciprocal_rank(decoding: _Decoding) -> tuple[np.ndarray, np.ndarray]:
    """Sum r ** -discount over the sampled lists, r the rank of an item in a list.

    Items that were never sampled follow in the order of the first step's probabilities.
    """
    total_BV = np.zeros(decoding.excluded_BV.shape)
    history_R = np.repeat(np.arange(len(total_BV)), decoding.strategy.num_samples)
    for step, (scores_RV, items_R) in enumerate(_sampled_steps(decoding)):
        if step == 0:
            total_BV += 1e-9 * np.exp(_log_softmax(scores_RV))
        np.add.at(total_BV, (history_R, items_R), (step + 1.0) ** -decoding.strategy.discount)
    return _ranked(total_BV, decoding)


def _relevance(decoding: _Decoding) -> tuple[np.ndarray, np.ndarray]:
    """Sum the probabilities of every item (temperature 1) over the steps, averaged over the sampled lists.

    Without discount the sum is the expected number of occurrences of an item in a list. With the discount 1 / r it is
    the limit of the reciprocal ranks over infinitely many lists sampled with temperature 1.
    """
    total_BV = np.zeros(decoding.excluded_BV.shape)
    for step, (scores_RV, _) in enumerate(_sampled_steps(decoding)):
        probability_RV = np.exp(_log_softmax(scores_RV))
        mean_BV = (
            probability_RV
            if step == 0
            else probability_RV.reshape(len(total_BV), decoding.strategy.num_samples, -1).mean(axis=1)
        )
        total_BV += (step + 1.0) ** -decoding.strategy.discount * mean_BV
    return _ranked(total_BV, decoding)


def _sampled_steps(decoding: _Decoding) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (scores, sampled items int32 [R]) of each step; the first step's scores are [B, V], one row a history."""
    lists, all_rows = (
        decoding.strategy.num_samples,
        np.arange(len(decoding.excluded_BV) * decoding.strategy.num_samples),
    )
    parents_R = all_rows // lists
    state, excluded_RV = decoding.initial, decoding.excluded_BV.copy()
    for step in range(decoding.k):
        scores_RV = decoding.masked_scores(state, excluded_RV)
        uniform_BC = decoding.uniforms.uniform(step, lists)
        uniform_RC = uniform_BC if step == 0 else uniform_BC.reshape(-1, 1)
        items_R = decoding.strategy.sample(scores_RV, uniform_RC)[0].ravel()
        yield scores_RV, items_R
        if step + 1 < decoding.k:
            excluded_RV = decoding.exclude_items(excluded_RV[parents_R] if step == 0 else excluded_RV, items_R)
            state = state.extend(parents_R, items_R)
            parents_R = all_rows


def _ranked(total_BV: np.ndarray, decoding: _Decoding) -> tuple[np.ndarray, np.ndarray]:
    total_BV[decoding.excluded_BV] = -np.inf
    best_BK = np.full((len(total_BV), decoding.k), PAD)
    best = best_columns(total_BV, decoding.k)
    best_BK[:, : best.shape[1]] = best
    scores_BK = np.take_along_axis(total_BV, best_BK, axis=1)
    return np.where(np.isneginf(scores_BK), PAD, best_BK).astype(np.int32), scores_BK.astype(np.float32)


def _log_softmax(scores_RV: np.ndarray) -> np.ndarray:
    """Return log-probabilities, float32 [R, V]; a row without a finite score stays -inf."""
    highest_R1 = np.maximum(scores_RV.max(axis=1, keepdims=True), np.finfo(np.float32).min)
    shifted_RV = scores_RV - highest_R1
    with np.errstate(divide="ignore", invalid="ignore"):
        logs: np.ndarray = shifted_RV - np.log(np.exp(shifted_RV).sum(axis=1, keepdims=True))
    return np.where(np.isneginf(shifted_RV), np.float32(-np.inf), logs)


_GENERATORS: dict[str, Callable[[_Decoding], tuple[np.ndarray, np.ndarray]]] = {
    "top-k": _top_k,
    "greedy": _greedy,
    "beam": _beam,
    "sample": _sample,
    "reciprocal-rank": _reciprocal_rank,
    "relevance": _relevance,
}
