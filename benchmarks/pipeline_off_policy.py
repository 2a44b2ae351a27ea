"""Off-policy estimates from the pipeline's own draws, against the simulator's truth, 100 runs for each way to explore.

An old pipeline shows lists and logs its odds; a new one, with other scores and other chance, is judged from that log
alone. The truth is its exact value in the simulated world. The doubly robust model is fitted on another log.
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
KINDS, ITEMS, PLACES = 4, 8, 3
LOGGED = {
    "epsilon": ExploreConfig("epsilon", first_position=2, epsilon=0.5),
    "plackett-luce": ExploreConfig("plackett-luce", first_position=1, temperature=1.5),
    "thompson": ExploreConfig("thompson", first_position=1, prior_strength=10.0, epsilon=0.2),
    "thompson alone": ExploreConfig("thompson", first_position=1, prior_strength=10.0, epsilon=0.0),
}
ASKED = ExploreConfig("plackett-luce", first_position=2, temperature=0.7)
"""The new pipeline draws with Plackett-Luce behind its first place; under epsilon from the second place on, its first
item must be the old one's, which it is: both rank the same item first."""


class Shop:
    """Two pipelines in one world."""

    def __init__(self, world: ClickSimulator, logged: ExploreConfig, rng: np.random.Generator) -> None:
        size = ITEMS + 1
        self.world = world
        self.ladder = FallbackChain({}, size)
        self.allowed_V = np.arange(size) > 0
        noise_XA = np.clip(world.click_XA + rng.normal(0, 0.12, world.click_XA.shape), 0.01, 0.99)
        first_X = noise_XA[:, 1:].argmax(axis=1) + 1
        self.old = Explorer(logged)
        self.new = Explorer(ASKED)
        self.old_ranked = [self._ranked(row) for row in noise_XA]
        better_XA = world.click_XA + 0.0
        better_XA[np.arange(KINDS), first_X] = 1.0
        self.new_ranked = [self._ranked(row) for row in better_XA]
        self._followed: dict[tuple[int, tuple[int, ...]], list[LoggedPropensity]] = {}

    def _ranked(self, score_A: np.ndarray) -> RankedList:
        return RankedList.top_k(score_A, ITEMS, source="scores", allowed_V=self.allowed_V)

    def show(self, kind: int, rng: np.random.Generator) -> RankedList:
        """What the old pipeline shows."""
        ranked = self.old_ranked[kind]
        return build_list(ranked, PLACES, self.allowed_V, fallback=self.ladder, policy=self.old.policy(rng))

    def follow(self, kind: int, shown: tuple[int, ...]) -> list[LoggedPropensity]:
        """What the new one would have done at each place of a list."""
        if (kind, shown) not in self._followed:
            found: list[LoggedPropensity] = []
            choose = self.new.replay_policy(np.array(shown), found)
            build_list(self.new_ranked[kind], PLACES, self.allowed_V, fallback=self.ladder, policy=choose)
            self._followed[kind, shown] = found
        return self._followed[kind, shown]

    def policy(self, kind: int, shown: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        """The new pipeline as the simulator asks for it."""
        at = self.follow(kind, shown + tuple(i for i in range(1, ITEMS + 1) if i not in shown)[: PLACES - len(shown)])
        return at[len(shown)].items, at[len(shown)].probabilities


def logged(shop: Shop, model_XA: np.ndarray, rng: np.random.Generator, requests: int) -> dict[str, np.ndarray]:
    """A log of the old pipeline, beside each row what the new one says."""
    kind_B = rng.integers(0, KINDS, requests)
    lists_BK = np.zeros((requests, PLACES), dtype=np.int64)
    logged_BK, target_BK, expected_BK = (np.zeros((requests, PLACES)) for _ in range(3))
    for b, kind in enumerate(kind_B.tolist()):
        found = shop.show(kind, rng)
        lists_BK[b], logged_BK[b] = found.items_C, found.propensity_C
        for place, at in enumerate(shop.follow(kind, tuple(found.items_C.tolist()))):
            target_BK[b, place] = at.probability
            expected_BK[b, place] = at.probabilities @ model_XA[kind, at.items]
    return {
        "rewards_BK": shop.world.simulate_clicks(kind_B, lists_BK, rng),
        "logged_BK": logged_BK,
        "target_BK": target_BK,
        "predicted_BK": model_XA[kind_B[:, None], lists_BK],
        "expected_BK": expected_BK,
        "kind_B": kind_B,
        "lists_BK": lists_BK,
    }


def click_model(log: dict[str, np.ndarray]) -> np.ndarray:
    """Clicks per view of each item by each kind of person, smoothed: knows nothing of places, so it is biased."""
    views_XA, clicks_XA = np.full((KINDS, ITEMS + 1), 5.0), np.full((KINDS, ITEMS + 1), 1.0)
    where = (np.repeat(log["kind_B"], PLACES), log["lists_BK"].ravel())
    np.add.at(views_XA, where, 1.0)
    np.add.at(clicks_XA, where, log["rewards_BK"].ravel())
    return clicks_XA / views_XA


def estimates(log: dict[str, np.ndarray]) -> dict[str, Estimate]:
    """By all three."""
    odds = {name: log[name] for name in ("rewards_BK", "logged_BK", "target_BK")}
    model = {name: log[name] for name in ("predicted_BK", "expected_BK")}
    return {"ips": inverse_propensity(**odds), "snips": self_normalized(**odds), "dr": doubly_robust(**odds, **model)}


def measure(method: str, seed: int, runs: int = RUNS, requests: int = REQUESTS) -> dict[str, Any]:
    """One way to explore: how often the truth lies within, how wide the intervals are, how far off the means."""
    rng = np.random.default_rng((seed, list(LOGGED).index(method)))
    shop = Shop(ClickSimulator.random(rng, KINDS, ITEMS + 1), LOGGED[method], rng)
    truth = shop.world.expected_clicks(shop.policy, PLACES)
    model_XA = click_model(logged(shop, np.zeros((KINDS, ITEMS + 1)), rng, requests))
    found: dict[str, list[Estimate]] = {name: [] for name in ("ips", "snips", "dr")}
    plain = []
    for _ in range(runs):
        log = logged(shop, model_XA, rng, requests)
        plain.append(float(log["rewards_BK"].sum(axis=1).mean()))
        for name, estimate in estimates(log).items():
            found[name].append(estimate)
    rows = {}
    for name, several in found.items():
        value = np.array([e.value for e in several])
        rows[name] = {
            "within": sum(e.low <= truth <= e.high for e in several),
            "mean": float(value.mean()),
            "mean_error_in_standard_errors": float((value.mean() - truth) / (value.std(ddof=1) / np.sqrt(runs))),
            "mean_width": float(np.mean([e.high - e.low for e in several])),
            "effective_requests": float(np.mean([e.effective_sample_size for e in several])),
        }
    about = {"runs": runs, "requests": requests, "truth": truth, "old_pipeline": float(np.mean(plain))}
    return about | {"estimates": rows}


def run(seed: int = 0) -> dict[str, Any]:
    """Every way to explore."""
    return {method: measure(method, seed) for method in LOGGED}
