"""Why this item, in numbers and in a sentence for a shopper; and why not another one.

Shape letters: C candidates, S sources, T events of one history.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from segue.data.catalog import PAD
from segue.data.sequences import Sequences
from segue.models.top_k import order_by_score_then_index
from segue.pipeline.blending.blend import LearnedBlend
from segue.pipeline.blending.features import blend_features
from segue.pipeline.candidates.candidate_set import CandidateSet
from segue.pipeline.explanations.templates import Reason, Sentence, choose_reason, reason_sentence, why_not_sentence
from segue.pipeline.pipeline import Pipeline
from segue.pipeline.ranked_list import PlacementReason, RankedList

MAX_HISTORY = 20
"""Newest events that are left out one by one."""
MIN_EFFECT = 0.05
"""An event that makes an item less than about so much likelier (as a share) is no reason for it."""
MAX_NAMED_ITEMS = 2
"""A sentence names at most so many events."""


@dataclass(frozen=True)
class Influence:
    """What one event of the history does for an item."""

    item: int
    """The event's item."""
    position: int
    """Its place in the history, from 0."""
    log_probability_gain: float
    """How much the event raises the log of the item's probability: with it minus without it."""


@dataclass(frozen=True)
class Explanation:
    """Why an item stands in a list."""

    item: int
    ranks: dict[str, int]
    """The sources that gave it, and its place in each one's list."""
    shares: dict[str, float]
    """What each source adds to its score, against the mean candidate; empty where weights are not learned."""
    influences: tuple[Influence, ...]
    """The events that mattered most, the strongest first."""
    reason: Reason
    sentence: Sentence
    """For people, in English and Chinese."""


def explain(
    pipeline: Pipeline, history: Sequences, recommended: RankedList, titles: Mapping[int, str] | None = None
) -> list[Explanation]:
    """One explanation for each item of ``shown``, an answer to the one row of ``history``.

    Influence is measured, not guessed: the whole pipeline answers again for the history without each of its newest
    events (leave-one-out; Koh & Liang 2017 call it the ground truth that influence functions approach).
    """
    known = history.drop_unknown()
    found, _ = pipeline.score_candidates(known, include=_same(recommended.items_C, 1))
    effects_TC = influences(pipeline, known, recommended.items_C)
    events_T = known.tail(MAX_HISTORY).to_lists()[0]
    first = int(known.lengths[0]) - len(events_T)
    out = []
    for c, item in enumerate(recommended.items_C.tolist()):
        order = order_by_score_then_index(effects_TC[:, c])
        strong = [t for t in order.tolist() if effects_TC[t, c] > MIN_EFFECT]
        because = tuple(Influence(events_T[t], first + t, float(effects_TC[t, c])) for t in strong)
        column = int(np.flatnonzero(found.items_BC[0] == item)[0])
        places = {name: int(p) for name, p in zip(found.sources, found.ranks_BCS[0, column], strict=True) if p > 0}
        shares = _shares(pipeline, known, found, column)
        lead = (
            max(shares, key=lambda name: shares[name]) if shares else min(places, key=lambda n: places[n], default="")
        )
        kinds = {source.name: source.config.model for source in pipeline.sources}
        reason = choose_reason(
            PlacementReason(int(recommended.reasons_C[c])), kinds.get(lead, ""), item in events_T, bool(because)
        )
        named = [part.item for part in because if part.item != item]
        words = [(titles or {}).get(i, "") for i in list(dict.fromkeys(named))[:MAX_NAMED_ITEMS]]
        out.append(Explanation(item, places, shares, because, reason, reason_sentence(reason, [w for w in words if w])))
    return out


def influences(pipeline: Pipeline, history: Sequences, items_C: np.ndarray) -> np.ndarray:
    """float64 [T, C]: by how much each of the newest events of the one history (oldest first) raises the log of each
    item's probability."""
    rows = leave_one_out(history)
    chances = pipeline.probabilities(rows, _same(items_C, len(rows)))
    logs = np.log(np.maximum(np.stack(chances), 1e-30))
    return np.asarray(logs[:1] - logs[1:])


def leave_one_out(history: Sequences) -> Sequences:
    """The one history, then the same without each of its newest events, asked at the same moment."""
    where_T = history.positions()[1]
    newest = range(max(0, len(where_T) - MAX_HISTORY), len(where_T))
    kept = [where_T, *[np.delete(where_T, t) for t in newest]]
    where_N, offsets = np.concatenate(kept), np.cumsum([0, *map(len, kept)])
    times = None if history.times is None else history.times[where_N]
    contexts = None if history.contexts is None else history.contexts.take(where_N)
    now_B = None if history.query_times is None else np.repeat(history.query_times, len(kept))
    return Sequences.from_offsets(history.items[where_N], offsets, times, contexts).as_of(now_B)


@dataclass(frozen=True)
class WhyNot:
    """Why an item is not in a list."""

    reason: Reason
    rank: int | None
    """Its place by score among everything that was looked at; None where it was not."""
    ranks: dict[str, tuple[int, int]]
    """Each source's own place for it among all items it may show, and how many candidates the source gives."""
    lowered_by: str | None
    """The source whose opinion costs it most, against the last item that is shown."""
    sentence: Sentence


def why_not(
    pipeline: Pipeline,
    history: Sequences,
    item: int,
    *,
    recommended: RankedList,
    exclude: Sequences | None = None,
    allowed_V: np.ndarray | None = None,
) -> WhyNot:
    """Why ``item`` is not in ``shown``, the answer that was given to the one row of ``history``; or that it is."""
    if item in recommended.items_C:
        place = int(np.flatnonzero(recommended.items_C == item)[0]) + 1
        return _why_not_result("shown", place=place, shown=len(recommended))
    if item == PAD:
        return _why_not_result("unknown")
    if exclude is not None and item in exclude.to_lists()[0]:
        return _why_not_result("seen")
    if allowed_V is not None and not allowed_V[item]:
        return _why_not_result("forbidden")
    places = _own_places(pipeline, history, item, exclude, allowed_V)
    found, scores_BC = pipeline.score_candidates(
        history, exclude=exclude, allowed_V=allowed_V, include=_same([item], 1)
    )
    column = int(np.flatnonzero(found.items_BC[0] == item)[0])
    place = 1 + int((scores_BC[0] > scores_BC[0, column]).sum())
    held_back = _most_lowering_source(pipeline, history, found, column, recommended)
    if not (found.ranks_BCS[0, column] > 0).any():
        return _why_not_result("not found", places=places, held_back=held_back)
    reason: Reason = "re-ranked" if place <= len(recommended) else "ranked lower"
    return _why_not_result(reason, place=place, places=places, held_back=held_back, shown=len(recommended))


def _why_not_result(
    reason: Reason,
    *,
    place: int | None = None,
    places: dict[str, tuple[int, int]] | None = None,
    held_back: str | None = None,
    shown: int = 0,
) -> WhyNot:
    words = why_not_sentence(reason, place=place, shown=shown, places=places or {}, held_back=held_back)
    return WhyNot(reason, place, places or {}, held_back, words)


def _own_places(
    pipeline: Pipeline, history: Sequences, item: int, exclude: Sequences | None, allowed_V: np.ndarray | None
) -> dict[str, tuple[int, int]]:
    """Of the sources that were asked and know the item, its place and how many they give."""
    free_V = np.ones(pipeline.size, dtype=bool) if allowed_V is None else allowed_V.copy()
    free_V[PAD] = False
    if exclude is not None:
        free_V[exclude.to_lists()[0]] = False
    out = {}
    for source in pipeline.sources:
        if source.serves(history)[0]:
            scores_V = source.score_histories(history).all_scores()[0]
            if np.isfinite(scores_V[item]):
                out[source.name] = (1 + int((scores_V[free_V] > scores_V[item]).sum()), source.config.num_candidates)
    return out


def _most_lowering_source(
    pipeline: Pipeline, history: Sequences, found: CandidateSet, column: int, shown: RankedList
) -> str | None:
    """The source that separates the item most from the last one shown; None where weights are not learned."""
    last = np.flatnonzero(found.items_BC[0] == shown.items_C[-1]) if len(shown) else np.empty(0, dtype=np.int64)
    if len(last) == 0:
        return None
    own, other = (_shares(pipeline, history, found, c) for c in (column, int(last[0])))
    gaps = {name: own[name] - other[name] for name in own if name in other}
    return min(gaps, key=lambda name: gaps[name]) if gaps and min(gaps.values()) < 0 else None


def _shares(pipeline: Pipeline, history: Sequences, found: CandidateSet, column: int) -> dict[str, float]:
    """What each source that was asked adds to a candidate's score, against the mean of all candidates."""
    blend = pipeline.scoring.blend
    weighed_apart = (
        pipeline.scoring.cold_start is not None and pipeline.item_statistics.counts_V[found.items_BC[0, column]] == 0
    )
    if not isinstance(blend, LearnedBlend) or weighed_apart:
        return {}
    is_candidate_C = found.items_BC[0] != PAD
    own_CF = blend.clip(blend_features(found, history, pipeline.item_statistics, pipeline.scoring.scales))[0][
        is_candidate_C
    ]
    away_F = own_CF[column] - own_CF.mean(axis=0)
    group = int(np.searchsorted(blend.edges_G, history.drop_unknown().lengths[0], side="right")) - 1
    parts_F = away_F * blend.weights_GF[group]
    names = zip(found.sources, found.is_served_BS[0], strict=True)
    return {name: float(parts_F[2 * s : 2 * s + 2].sum()) for s, (name, served) in enumerate(names) if served}


def _same(items: Sequence[int] | np.ndarray, count: int) -> Sequences:
    """The same items for each of so many histories."""
    return Sequences.from_lists([np.asarray(items).tolist()] * count)
