"""Explanations of a recommended item, in numbers and in a sentence for the user.

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
from segue.pipeline.explanations.templates import Reason, Sentence, choose_reason, reason_sentence
from segue.pipeline.pipeline import Pipeline
from segue.pipeline.ranked_list import PlacementReason, RankedList

MAX_HISTORY = 20
"""Number of newest events that are left out one by one."""
MIN_EFFECT = 0.05
"""Smallest gain in log probability of an event that is a reason for an item; about its relative gain in probability."""
MAX_NAMED_ITEMS = 2
"""Largest number of events that a sentence names."""


@dataclass(frozen=True)
class Influence:
    """Effect of one event of the history on an item."""

    item: int
    """Item of the event."""
    position: int
    """Position of the event in the history, from 0."""
    log_probability_gain: float
    """Log probability of the item with the event minus that without it."""


@dataclass(frozen=True)
class Explanation:
    """Reasons for an item of a list."""

    item: int
    """Item index."""
    ranks: dict[str, int]
    """Source or fallback step -> rank of the item in its list, for those that gave it."""
    shares: dict[str, float]
    """Source -> its part of the score, relative to the mean candidate; empty without learned weights."""
    influences: tuple[Influence, ...]
    """Events with the largest effect, the largest first."""
    reason: Reason
    """Type of the reason."""
    sentence: Sentence
    """Sentence for the user, in English and Chinese."""


def explain(
    pipeline: Pipeline, history: Sequences, recommended: RankedList, titles: Mapping[int, str] | None = None
) -> list[Explanation]:
    """Explain each item of a list.

    Influence is measured: the whole pipeline scores the history again without each of its newest events (leave-one-out;
    Koh & Liang 2017 call it the ground truth that influence functions approach).

    Args:
        pipeline: the pipeline.
        history: one row.
        recommended: the list that it returned for this history.
        titles: item index -> title, for the sentences; None: sentences name no items.

    Returns:
        One explanation per item of the list.
    """
    known = history.drop_unknown()
    candidates, _ = pipeline.score_candidates(known, include=_same(recommended.items_C, 1))
    effects_TC = influences(pipeline, known, recommended.items_C)
    events_T = known.tail(MAX_HISTORY).to_lists()[0]
    first = int(known.lengths[0]) - len(events_T)
    column_of = {item: column for column, item in enumerate(candidates.items_BC[0].tolist())}
    columns = [column_of[item] for item in recommended.items_C.tolist()]
    shares_C = score_shares(pipeline, known, candidates, columns)
    out = []
    for c, (item, shares) in enumerate(zip(recommended.items_C.tolist(), shares_C, strict=True)):
        order = order_by_score_then_index(effects_TC[:, c])
        large = [t for t in order.tolist() if effects_TC[t, c] > MIN_EFFECT]
        item_influences = tuple(Influence(events_T[t], first + t, float(effects_TC[t, c])) for t in large)
        ranks = {
            name: int(p) for name, p in zip(recommended.sources, recommended.source_ranks_CS[c], strict=True) if p > 0
        }
        # A source has a share in every candidate's score; only those that gave the item are its reason.
        main_source = max(ranks, key=lambda name: (shares.get(name, -np.inf), -ranks[name]), default="")
        models = {source.name: source.config.model for source in pipeline.sources}
        reason = choose_reason(
            PlacementReason(int(recommended.reasons_C[c])),
            models.get(main_source, main_source),
            item in events_T,
            bool(item_influences),
        )
        named = [part.item for part in item_influences if part.item != item]
        named_titles = [(titles or {}).get(i, "") for i in list(dict.fromkeys(named))[:MAX_NAMED_ITEMS]]
        out.append(
            Explanation(
                item,
                ranks,
                shares,
                item_influences,
                reason,
                reason_sentence(reason, [title for title in named_titles if title]),
            )
        )
    return out


def influences(pipeline: Pipeline, history: Sequences, items_C: np.ndarray) -> np.ndarray:
    """Return the gain in log probability of each item by each of the newest events, oldest first, float64 [T, C].

    Args:
        pipeline: the pipeline.
        history: one row.
        items_C: item indices.
    """
    rows = leave_one_out(history)
    probabilities = pipeline.probabilities(rows, _same(items_C, len(rows)))
    logs = np.log(np.maximum(np.stack(probabilities), 1e-30))
    return np.asarray(logs[:1] - logs[1:])


def leave_one_out(history: Sequences) -> Sequences:
    """Return the history, then the same without each of its newest events, all at the same query time."""
    positions_T = history.positions()[1]
    newest = range(max(0, len(positions_T) - MAX_HISTORY), len(positions_T))
    kept = [positions_T, *[np.delete(positions_T, t) for t in newest]]
    positions_N, offsets = np.concatenate(kept), np.cumsum([0, *map(len, kept)])
    times = None if history.times is None else history.times[positions_N]
    contexts = None if history.contexts is None else history.contexts.take(positions_N)
    query_times_B = None if history.query_times is None else np.repeat(history.query_times, len(kept))
    return Sequences.from_offsets(history.items[positions_N], offsets, times, contexts).as_of(query_times_B)


def score_shares(
    pipeline: Pipeline, history: Sequences, candidates: CandidateSet, columns: Sequence[int]
) -> list[dict[str, float]]:
    """Return the part of each serving source in each candidate's score, relative to the mean candidate.

    Empty for every candidate without learned weights, and for a cold item, which they do not score.

    Args:
        pipeline: the pipeline.
        history: one row.
        candidates: its candidates.
        columns: columns of the candidates to explain.
    """
    blend = pipeline.scoring.blend
    if not isinstance(blend, LearnedBlend):
        return [{} for _ in columns]
    is_candidate_C = candidates.items_BC[0] != PAD
    features_BCF = blend_features(candidates, history, pipeline.item_statistics, pipeline.scoring.scales)
    weighted_CF = blend.clip(features_BCF)[0][is_candidate_C]
    group = int(np.searchsorted(blend.edges_G, history.drop_unknown().lengths[0], side="right")) - 1
    parts_CF = (weighted_CF - weighted_CF.mean(axis=0)) * blend.weights_GF[group]
    has_cold_start = pipeline.scoring.cold_start is not None
    is_cold_C = (pipeline.item_statistics.counts_V[candidates.items_BC[0]] == 0) & has_cold_start
    served = [(s, name) for s, name in enumerate(candidates.sources) if candidates.is_served_BS[0, s]]
    return [
        {} if is_cold_C[c] else {name: float(parts_CF[c, 2 * s : 2 * s + 2].sum()) for s, name in served}
        for c in columns
    ]


def _same(items: Sequence[int] | np.ndarray, count: int) -> Sequences:
    """Return the same items for each of ``count`` histories."""
    return Sequences.from_lists([np.asarray(items).tolist()] * count)
