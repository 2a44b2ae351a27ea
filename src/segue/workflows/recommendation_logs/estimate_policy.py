"""Off-policy evaluation of a model or pipeline on the recorded lists of a server that explores.

Shape letters: B lists, K positions.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from segue.data.catalog import PAD
from segue.evaluation.off_policy import (
    MIN_EFFECTIVE_SAMPLE_SIZE,
    Estimate,
    doubly_robust,
    importance_weights,
    inverse_propensity,
    mean_estimate,
    self_normalized,
)
from segue.models.top_k import default_seen_rule, seen_items
from segue.pipeline.placements.exploration import LoggedPropensity
from segue.serving.inference.served_model import ServedModel
from segue.workflows.recommendation_logs.logged_requests import LoggedRequest, logged_requests

REWARDS = ("clicks", "purchases")
PRIOR_VIEWS = 20.0
"""Number of impressions that the mean reward of a position counts for in the reward model."""
FOLDS = 2
"""Number of groups of users; the reward model of one is fitted on the others."""


@dataclass(frozen=True)
class PolicyEstimate:
    """Estimates of one reward a list for a placement, each with its 95 % interval."""

    placement: str
    reward: str
    """'clicks' or 'purchases'."""
    lists: int
    users: int
    logged: Estimate
    """Mean reward of the recorded lists."""
    inverse_propensity: Estimate
    self_normalized: Estimate | None
    """None where no recorded list could have come from the evaluated model."""
    doubly_robust: Estimate
    mean_weight: Estimate
    """Mean importance weight of whole lists; 1 in expectation where the server could have returned each list of the
    evaluated model."""

    @property
    def is_supported(self) -> bool:
        """Return whether the mean weight agrees with 1. Else the server never draws some lists of the evaluated model:
        the log holds no clicks on them, and IPS is a lower bound."""
        return self.mean_weight.high >= 1.0

    @property
    def is_reliable(self) -> bool:
        """Return whether the lists have enough information for the intervals, ``MIN_EFFECTIVE_SAMPLE_SIZE``."""
        return self.inverse_propensity.effective_sample_size >= MIN_EFFECTIVE_SAMPLE_SIZE

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {**asdict(self), "is_supported": self.is_supported, "is_reliable": self.is_reliable}


@dataclass(frozen=True)
class OffPolicyReport:
    """Estimates by placement and reward, with the number of recorded lists that were not used."""

    model: str
    estimates: list[PolicyEstimate]
    skipped: dict[str, int]
    """Number of lists that were not used, by reason."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {**asdict(self), "estimates": [estimate.to_dict() for estimate in self.estimates]}


def estimate_policy(
    data_dir: Path, run: Path, *, days: float = 7.0, placement: str | None = None, now_us: int | None = None
) -> OffPolicyReport:
    """Estimate the clicks and purchases a list that a model would have had, from the log of a server that explored.

    Every recorded list is made again by the evaluated model, with the history, rules and time of its request. The
    probability that it returns the same items is compared with the recorded propensities.

    Args:
        data_dir: data directory of the server.
        run: folder of the evaluated pipeline or model; a pipeline explores as its placements state, a model does not.
        days: length of the interval.
        placement: only lists of this placement; None: each placement apart.
        now_us: end of the interval, UTC microseconds, excluded; None: the newest list.

    Raises:
        ValueError: no recorded list has propensities, or the evaluated pipeline lacks a placement.
    """
    model, skipped = ServedModel.open(run), Counter[str]()
    since_us = (time.time_ns() // 1000 if now_us is None else now_us) - round(days * 86_400e6)
    replayed: dict[str, list[tuple[LoggedRequest, list[LoggedPropensity]]]] = defaultdict(list)
    for logged in logged_requests(data_dir, model, skipped, since_us=since_us, until_us=now_us, placement=placement):
        replayed[logged.request.placement].append((logged, replay(model, logged)))
    if not replayed:
        counts = ", ".join(f"{count:,} {reason}" for reason, count in skipped.items()) or "none at all"
        raise ValueError(
            f"No list of {data_dir} in {days:g} days has propensities (lists: {counts}): off-policy estimates need a "
            "served pipeline with a placement that explores (explore.method)."
        )
    estimates = [_estimate(name, reward, lists) for name, lists in sorted(replayed.items()) for reward in REWARDS]
    return OffPolicyReport(str(run), estimates, dict(skipped))


def replay(model: ServedModel, logged: LoggedRequest) -> list[LoggedPropensity]:
    """Return the probabilities of a model at each position of a recorded list.

    Args:
        model: the evaluated model.
        logged: the list, with the inputs of its request.
    """
    propensities: list[LoggedPropensity] = []
    if model.pipeline_service is not None:
        model.pipeline_service.placements.recommend(
            logged.query.as_sequences(),
            logged.k,
            logged.request,
            now_us=logged.shown.time_us,
            policy=lambda explorer: explorer.replay_policy(logged.items, propensities),
        )
        return propensities[: len(logged.items)]
    rule = default_seen_rule(model.exclude_seen) if logged.request.exclude_seen is None else logged.request.exclude_seen
    seen = seen_items(logged.query.as_sequences(), rule)
    exclude = [*logged.request.exclude, *(() if seen is None else seen.to_lists()[0])]
    allowed_V = logged.request.allowed_V
    allow = None if allowed_V is None else np.flatnonzero(allowed_V).tolist()
    query = replace(logged.query, exclude=exclude, allow=allow)
    best = model.retrieval.top_k([query], logged.k)[0][0].tolist()
    follows = True
    for item, own in zip(logged.items.tolist(), best, strict=False):
        one = np.ones(1) if follows else np.zeros(1)
        follows = follows and item == own
        propensities.append(LoggedPropensity(float(follows), np.array([own], dtype=np.int32), one))
    return propensities


def _estimate(
    placement: str, reward: str, lists: Sequence[tuple[LoggedRequest, list[LoggedPropensity]]]
) -> PolicyEstimate:
    width = max(len(logged.items) for logged, _ in lists)
    rewards_BK, logged_BK, target_BK = np.zeros((len(lists), width)), *np.ones((2, len(lists), width))
    for b, (logged, propensities) in enumerate(lists):
        count = len(logged.items)
        outcomes = logged.shown.clicks if reward == "clicks" else logged.shown.purchases
        for position in outcomes:
            if 1 <= position <= count:
                rewards_BK[b, position - 1] = 1.0
        logged_BK[b, :count] = [item.propensity for item in logged.shown.items]
        target_BK[b, :count] = 0.0
        target_BK[b, : len(propensities)] = [one.probability for one in propensities]
    names = [logged.shown.user or logged.shown.list_id for logged, _ in lists]
    groups_B = np.unique(names, return_inverse=True)[1]
    predicted_BK, expected_BK = _predict(lists, rewards_BK, groups_B)
    weights_BK = importance_weights(rewards_BK, logged_BK, target_BK)
    parts = (rewards_BK, logged_BK, target_BK)
    return PolicyEstimate(
        placement=placement,
        reward=reward,
        lists=len(lists),
        users=int(groups_B.max()) + 1,
        logged=mean_estimate(rewards_BK.sum(axis=1), groups_B=groups_B),
        inverse_propensity=inverse_propensity(*parts, groups_B=groups_B),
        self_normalized=self_normalized(*parts, groups_B=groups_B) if weights_BK.any(axis=0).all() else None,
        doubly_robust=doubly_robust(*parts, predicted_BK=predicted_BK, expected_BK=expected_BK, groups_B=groups_B),
        mean_weight=mean_estimate(weights_BK[:, -1], groups_B=groups_B),
    )


def _predict(
    lists: Sequence[tuple[LoggedRequest, list[LoggedPropensity]]], rewards_BK: np.ndarray, groups_B: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the predicted reward of each logged item, and its mean under the evaluated model, float64 [B, K] each.

    The reward model is the mean reward of an item, pulled to the mean of the position by ``PRIOR_VIEWS``. It is fitted
    on the lists of other users than those it predicts for, so that it knows none of their rewards.
    """
    used = [array for logged, propensities in lists for array in (logged.items, *(one.items for one in propensities))]
    size = 1 + max(int(items.max(initial=PAD)) for items in used)
    fold_B = groups_B % FOLDS
    views_FV, sums_FV = np.zeros((2, FOLDS, size))
    shown_FK, rewards_FK = np.zeros((2, FOLDS, rewards_BK.shape[1]))
    for b, (logged, _) in enumerate(lists):
        count, fold = len(logged.items), fold_B[b]
        np.add.at(views_FV[fold], logged.items, 1.0)
        np.add.at(sums_FV[fold], logged.items, rewards_BK[b, :count])
        shown_FK[fold, :count] += 1.0
        rewards_FK[fold, :count] += rewards_BK[b, :count]
    predicted_BK, expected_BK = np.zeros((2, *rewards_BK.shape))
    for b, (logged, propensities) in enumerate(lists):
        others = [fold for fold in range(FOLDS) if fold != fold_B[b]]
        mean_K = rewards_FK[others].sum(axis=0) / np.maximum(shown_FK[others].sum(axis=0), 1.0)
        views_V, sums_V = views_FV[others].sum(axis=0), sums_FV[others].sum(axis=0)
        for position, item in enumerate(logged.items.tolist()):
            prior = PRIOR_VIEWS * mean_K[position]
            predicted_BK[b, position] = (sums_V[item] + prior) / (views_V[item] + PRIOR_VIEWS)
            if position < len(propensities):
                one = propensities[position]
                rates = (sums_V[one.items] + prior) / (views_V[one.items] + PRIOR_VIEWS)
                expected_BK[b, position] = float(one.probabilities @ rates)
    return predicted_BK, expected_BK
