"""Reasons why an item is not in a list: the rules against it, or the stage that put other items in its place.

Shape letters: C candidates, S sources, V catalog size with PAD.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from segue.data.catalog import PAD
from segue.data.sequences import Sequences
from segue.pipeline.candidates.candidate_set import CandidateSet
from segue.pipeline.explanations.explain import score_shares
from segue.pipeline.explanations.templates import NO_SENTENCE, Reason, Sentence, why_not_sentence
from segue.pipeline.pipeline import Pipeline
from segue.pipeline.placements.forbidding_rules import forbidding_rules
from segue.pipeline.placements.list_builder import build_list
from segue.pipeline.placements.placement import PlacementEngine, PlacementRequest
from segue.pipeline.placements.quotas import Quota
from segue.pipeline.placements.rules import Rules
from segue.pipeline.ranked_list import RankedList


@dataclass(frozen=True)
class WhyNot:
    """Reason for an item's absence from a list."""

    reason: Reason
    """Type of the reason."""
    rank: int | None
    """Rank by score among all candidates; None for an item that was no candidate."""
    ranks: dict[str, tuple[int, int]]
    """Source -> (rank among all items that it may give, number of candidates that it gives)."""
    lowered_by: str | None
    """Source that lowers the item's score most, relative to the last item of the list; None without one."""
    rules: tuple[str, ...]
    """Settings of the placement and fields of the request that keep the item out; empty without any."""
    sentence: Sentence
    """Sentence for the operator, in English and Chinese."""


def why_not(
    engine: PlacementEngine, history: Sequences, item: int, recommended: RankedList, request: PlacementRequest
) -> WhyNot:
    """Explain the absence of an item from a list; the reason is "listed" for an item of the list.

    Args:
        engine: the placements.
        history: one row.
        item: item index.
        recommended: the list that was returned for this history, without exploration.
        request: the request of the list.

    Raises:
        ValueError: an unknown placement or a wrong filter.
    """
    if item in recommended.items_C:
        rank = int(np.flatnonzero(recommended.items_C == item)[0]) + 1
        return _result("listed", rank=rank, num_recommended=len(recommended))
    if item == PAD:
        return _result("unknown")
    against = forbidding_rules(engine, item, history, request)
    if against:
        names = tuple(rule.name for rule in against)
        clauses = Sentence(", and ".join(r.english for r in against), "，".join(r.chinese for r in against))
        seen = all(name == "exclude_seen" for name in names)
        return _result("seen" if seen else "forbidden", rules=names, clauses=clauses)
    return _why_not_allowed(engine, history, item, recommended, request)


def _why_not_allowed(
    engine: PlacementEngine, history: Sequences, item: int, recommended: RankedList, request: PlacementRequest
) -> WhyNot:
    """Explain the absence of an allowed item: no source gave it, its score, or a later stage."""
    pipeline, k = engine.pipeline, len(recommended)
    allowed_V = engine.allowed_items(history, request)
    ranks: dict[str, tuple[int, int]] = {}
    lowered_by = None
    if item < pipeline.size:  # an item that joined after the training has no rank in the pipeline's sources
        own_history, own_V = engine.pipeline_history(history), allowed_V[: pipeline.size]
        ranks = own_ranks(pipeline, own_history, item, own_V)
        include = Sequences.from_lists([[item]])
        candidates, _ = pipeline.score_candidates(own_history, allowed_V=own_V, include=include)
        column = int(np.flatnonzero(candidates.items_BC[0] == item)[0])
        lowered_by = _most_lowering_source(pipeline, own_history, candidates, column, recommended)
    stages = engine.rank_candidates(history, k, request.placement, allowed_V)
    if item not in stages[0].items_C:
        return _result("not found", ranks=ranks, lowered_by=lowered_by)
    positions = [int(np.flatnonzero(stage.items_C == item)[0]) + 1 for stage in stages]
    rank, stage = positions[0], _displacing_stage(engine, item, positions, stages[-1], allowed_V, recommended, request)
    if stage is None:
        return _result("ranked lower", rank=rank, ranks=ranks, lowered_by=lowered_by, num_recommended=k)
    clauses = Sentence(stage[1], stage[2])
    return _result("re-ranked", rank=rank, ranks=ranks, lowered_by=lowered_by, rules=(stage[0],), clauses=clauses)


def _displacing_stage(
    engine: PlacementEngine,
    item: int,
    positions: Sequence[int],
    pool: RankedList,
    allowed_V: np.ndarray,
    recommended: RankedList,
    request: PlacementRequest,
) -> tuple[str, str, str] | None:
    """Return (setting, clause in English, clause in Chinese) of the stage that moved an item out; None: its score.

    Args:
        engine: the placements.
        item: item index.
        positions: rank of the item by score, after the factors, and after the diversification.
        pool: the candidates after the diversification.
        allowed_V: items that may be listed.
        recommended: the list.
        request: the request.
    """
    stages, k = engine.stages_of(request.placement), len(recommended)
    rules, config = stages.rules, stages.rules.config
    by_score, by_factors, by_mix = positions
    if by_score <= k < by_factors:
        settings = {
            "boosts": config.boosts,
            "freshness": config.freshness,
            "popularity_damping": config.popularity_damping,
        }
        names = " and ".join(name for name, value in settings.items() if value)
        return names, f"{names} move it to rank {by_factors}", f"{names} 把它移到了第{by_factors}位"
    if by_factors <= k < by_mix:
        method = stages.diversifier.config.method
        return (
            "rerank",
            f"the diversification ({method}) moves it to rank {by_mix}",
            f"多样化（{method}）把它移到了第{by_mix}位",
        )
    if by_mix > k:
        return None
    fallback = engine.fallback
    without = build_list(pool, k, allowed_V, fallback=fallback, pins=rules.pins)
    if item not in without.items_C:
        ids = engine.item_data.catalog.to_ids(recommended.items_C)
        pinned = ", ".join(pin.item for pin in config.pins if pin.item in ids)
        return "pins", f"pinned items take the positions: {pinned}", f"固定的商品占了位置：{pinned}"
    against = _quotas_against(rules, item, recommended.items_C) or [_OTHER_QUOTAS]
    english, chinese = ", and ".join(q.english for q in against), "，".join(q.chinese for q in against)
    return "quotas", f"a quota gives its place to others: {english}", f"配额把位置给了别的商品：{chinese}"


_OTHER_QUOTAS = Sentence("the quotas of the other items", "其他商品的配额")


def _quotas_against(rules: Rules, item: int, listed_K: np.ndarray) -> list[Sentence]:
    """Return the quotas that a list fills with others: upper limits of the item, lower limits it does not serve."""
    value_limits, out = iter(rules.quotas.value_limits), []
    for quota in rules.config.quotas:
        if quota.filter is None:
            column, at_most = next(value_limits)
            own, listed = (column.value_pairs(items)[1] for items in (np.array([item]), listed_K))
            is_against = any((listed == code).sum() >= at_most for code in own.tolist())
        else:
            mask_V = rules.mask_of(quota.filter)
            is_full = quota.at_most is not None and mask_V[listed_K].sum() >= quota.at_most
            is_against = is_full if mask_V[item] else bool(quota.at_least)
        if is_against:
            out.append(_described(quota))
    return out


def _described(quota: Quota) -> Sentence:
    limits = [Sentence(f"at least {quota.at_least}", f"至少 {quota.at_least} 个")] if quota.at_least else []
    if quota.at_most is not None:
        limits.append(Sentence(f"at most {quota.at_most}", f"至多 {quota.at_most} 个"))
    english, chinese = " and ".join(one.english for one in limits), "、".join(one.chinese for one in limits)
    if quota.column is not None:
        counted = f"of each {quota.column}", f"每种 {quota.column} "
    else:
        counted = f"where {quota.filter}", f"符合 {quota.filter} 的"
    return Sentence(f"{english} {counted[0]}", f"{counted[1]}{chinese}")


def _result(
    reason: Reason,
    *,
    rank: int | None = None,
    ranks: dict[str, tuple[int, int]] | None = None,
    lowered_by: str | None = None,
    num_recommended: int = 0,
    rules: tuple[str, ...] = (),
    clauses: Sentence = NO_SENTENCE,
) -> WhyNot:
    ranks = ranks or {}
    words = why_not_sentence(
        reason, rank=rank, num_recommended=num_recommended, ranks=ranks, lowered_by=lowered_by, clauses=clauses
    )
    return WhyNot(reason, rank, ranks, lowered_by, rules, words)


def own_ranks(pipeline: Pipeline, history: Sequences, item: int, allowed_V: np.ndarray) -> dict[str, tuple[int, int]]:
    """Return source -> (rank, number of candidates), for the sources that serve the history and score the item.

    Args:
        pipeline: the pipeline.
        history: one row.
        item: item index.
        allowed_V: bool, items that may be listed.
    """
    out = {}
    for source in pipeline.sources:
        if source.serves(history)[0]:
            scores_V = source.score_histories(history).all_scores()[0]
            if np.isfinite(scores_V[item]):
                out[source.name] = (1 + int((scores_V[allowed_V] > scores_V[item]).sum()), source.config.num_candidates)
    return out


def _most_lowering_source(
    pipeline: Pipeline, history: Sequences, candidates: CandidateSet, column: int, recommended: RankedList
) -> str | None:
    """Return the source that lowers the item most against the last item of the list; None without learned weights."""
    if not len(recommended):
        return None
    last = np.flatnonzero(candidates.items_BC[0] == recommended.items_C[-1])
    if len(last) == 0:
        return None
    item_shares, last_shares = score_shares(pipeline, history, candidates, [column, int(last[0])])
    gaps = {name: item_shares[name] - last_shares[name] for name in item_shares if name in last_shares}
    return min(gaps, key=lambda name: gaps[name]) if gaps and min(gaps.values()) < 0 else None
