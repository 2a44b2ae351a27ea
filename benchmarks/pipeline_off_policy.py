"""Off-policy estimates from a pipeline's exploration, against the true value in a click simulator, 100 runs per method.

A logging pipeline recommends lists and logs propensities. A target pipeline with other scores and another exploration
is evaluated from that log. Its true value is exact in the simulator. The doubly robust model is fitted on another
log.
"""

from typing import Any

import numpy as np

from segue.evaluation.click_simulator import ClickSimulator
from segue.evaluation.off_policy import Estimate, doubly_robust, inverse_propensity, self_normalized
from segue.pipeline.placements.exploration import ExploreConfig, Explorer, LoggedPropensity
from segue.pipeline.placements.fallback import FallbackChain
from segue.pipeline.placements.list_builder import build_list
from segue.pipeline.ranked_list import RankedList

RUNS = 100
REQUESTS = 1500
USER_TYPES, ITEMS, POSITIONS = 4, 8, 3
LOGGED = {
    "epsilon": ExploreConfig("epsilon", first_position=2, epsilon=0.5),
    "plackett-luce": ExploreConfig("plackett-luce", first_position=1, temperature=1.5),
    "thompson": ExploreConfig("thompson", first_position=1, prior_strength=10.0, epsilon=0.2),
    "thompson alone": ExploreConfig("thompson", first_position=1, prior_strength=10.0, epsilon=0.0),
}
TARGET = ExploreConfig("plackett-luce", first_position=2, temperature=0.7)
"""Exploration of the target pipeline, after its first position. The logging pipeline with epsilon explores from the
second position too, and both rank the same item first, so that every target list can be logged."""


class TwoPipelines:
    """Logging and target pipeline in one click simulator."""

    def __init__(self, world: ClickSimulator, logged: ExploreConfig, rng: np.random.Generator) -> None:
        size = ITEMS + 1
        self.world = world
        self.fallback = FallbackChain({}, size)
        self.allowed_V = np.arange(size) > 0
        noise_XA = np.clip(world.click_XA + rng.normal(0, 0.12, world.click_XA.shape), 0.01, 0.99)
        first_X = noise_XA[:, 1:].argmax(axis=1) + 1
        self.old = Explorer(logged)
        self.new = Explorer(TARGET)
        self.old_ranked = [self._ranked(row) for row in noise_XA]
        better_XA = world.click_XA + 0.0
        better_XA[np.arange(USER_TYPES), first_X] = 1.0
        self.new_ranked = [self._ranked(row) for row in better_XA]
        self._replayed: dict[tuple[int, tuple[int, ...]], list[LoggedPropensity]] = {}

    def _ranked(self, score_A: np.ndarray) -> RankedList:
        return RankedList.top_k(score_A, ITEMS, source="scores", allowed_V=self.allowed_V)

    def recommend(self, user_type: int, rng: np.random.Generator) -> RankedList:
        """Return a list of the logging pipeline."""
        ranked = self.old_ranked[user_type]
        return build_list(ranked, POSITIONS, self.allowed_V, fallback=self.fallback, policy=self.old.policy(rng))

    def replay(self, user_type: int, items: tuple[int, ...]) -> list[LoggedPropensity]:
        """Return the propensities of the target pipeline at each position of a list.

        Args:
            user_type: type of the user.
            items: the logged list.
        """
        if (user_type, items) not in self._replayed:
            propensities: list[LoggedPropensity] = []
            policy = self.new.replay_policy(np.array(items), propensities)
            build_list(self.new_ranked[user_type], POSITIONS, self.allowed_V, fallback=self.fallback, policy=policy)
            self._replayed[user_type, items] = propensities
        return self._replayed[user_type, items]

    def policy(self, user_type: int, items: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        """Return candidates and probabilities of the target pipeline after the first items of a list.

        Args:
            user_type: type of the user.
            items: items at the first positions.
        """
        others = tuple(i for i in range(1, ITEMS + 1) if i not in items)
        propensities = self.replay(user_type, items + others[: POSITIONS - len(items)])
        return propensities[len(items)].items, propensities[len(items)].probabilities


def logged(
    pipelines: TwoPipelines, model_XA: np.ndarray, rng: np.random.Generator, requests: int
) -> dict[str, np.ndarray]:
    """Return a log of the logging pipeline, with the propensities of the target pipeline.

    Args:
        pipelines: both pipelines.
        model_XA: click model of the doubly robust estimate.
        rng: generator of users, lists and clicks.
        requests: number of lists.
    """
    type_B = rng.integers(0, USER_TYPES, requests)
    lists_BK = np.zeros((requests, POSITIONS), dtype=np.int64)
    logged_BK, target_BK, expected_BK = (np.zeros((requests, POSITIONS)) for _ in range(3))
    for b, user_type in enumerate(type_B.tolist()):
        ranked = pipelines.recommend(user_type, rng)
        lists_BK[b], logged_BK[b] = ranked.items_C, ranked.propensity_C
        for position, logged_draw in enumerate(pipelines.replay(user_type, tuple(ranked.items_C.tolist()))):
            target_BK[b, position] = logged_draw.probability
            expected_BK[b, position] = logged_draw.probabilities @ model_XA[user_type, logged_draw.items]
    return {
        "rewards_BK": pipelines.world.simulate_clicks(type_B, lists_BK, rng),
        "logged_BK": logged_BK,
        "target_BK": target_BK,
        "predicted_BK": model_XA[type_B[:, None], lists_BK],
        "expected_BK": expected_BK,
        "type_B": type_B,
        "lists_BK": lists_BK,
    }


def click_model(log: dict[str, np.ndarray]) -> np.ndarray:
    """Return the smoothed click rate of each item by type of user; biased, because it ignores positions."""
    views_XA, clicks_XA = np.full((USER_TYPES, ITEMS + 1), 5.0), np.full((USER_TYPES, ITEMS + 1), 1.0)
    index = (np.repeat(log["type_B"], POSITIONS), log["lists_BK"].ravel())
    np.add.at(views_XA, index, 1.0)
    np.add.at(clicks_XA, index, log["rewards_BK"].ravel())
    return clicks_XA / views_XA


def estimates(log: dict[str, np.ndarray]) -> dict[str, Estimate]:
    """Return the three estimates of a log."""
    propensities = {name: log[name] for name in ("rewards_BK", "logged_BK", "target_BK")}
    model = {name: log[name] for name in ("predicted_BK", "expected_BK")}
    return {
        "ips": inverse_propensity(**propensities),
        "snips": self_normalized(**propensities),
        "dr": doubly_robust(**propensities, **model),
    }


def measure(method: str, seed: int, runs: int = RUNS, requests: int = REQUESTS) -> dict[str, Any]:
    """Measure one exploration method: coverage and width of the intervals, error of the means.

    Args:
        method: key of LOGGED.
        seed: random seed.
        runs: number of logs.
        requests: number of lists of a log.
    """
    rng = np.random.default_rng((seed, list(LOGGED).index(method)))
    pipelines = TwoPipelines(ClickSimulator.random(rng, USER_TYPES, ITEMS + 1), LOGGED[method], rng)
    truth = pipelines.world.expected_clicks(pipelines.policy, POSITIONS)
    model_XA = click_model(logged(pipelines, np.zeros((USER_TYPES, ITEMS + 1)), rng, requests))
    estimates_of: dict[str, list[Estimate]] = {name: [] for name in ("ips", "snips", "dr")}
    rewards = []
    for _ in range(runs):
        log = logged(pipelines, model_XA, rng, requests)
        rewards.append(float(log["rewards_BK"].sum(axis=1).mean()))
        for name, estimate in estimates(log).items():
            estimates_of[name].append(estimate)
    rows = {}
    for name, of_runs in estimates_of.items():
        value = np.array([e.value for e in of_runs])
        rows[name] = {
            "within": sum(e.low <= truth <= e.high for e in of_runs),
            "mean": float(value.mean()),
            "mean_error_in_standard_errors": float((value.mean() - truth) / (value.std(ddof=1) / np.sqrt(runs))),
            "mean_width": float(np.mean([e.high - e.low for e in of_runs])),
            "effective_requests": float(np.mean([e.effective_sample_size for e in of_runs])),
        }
    about = {"runs": runs, "requests": requests, "truth": truth, "old_pipeline": float(np.mean(rewards))}
    return about | {"estimates": rows}


def run(seed: int = 0) -> dict[str, Any]:
    """Measure every exploration method."""
    return {method: measure(method, seed) for method in LOGGED}
