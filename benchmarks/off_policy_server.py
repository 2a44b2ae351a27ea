"""Off-policy estimates from a server's own log against the true value: `python benchmarks/off_policy_server.py`.

A server with a pipeline that explores returns lists to simulated users, who click. Its data directory is all that
`segue report --off-policy` reads to estimate another pipeline, whose true value is enumerated. 100 logs for each method
of exploration, ten of each of ten servers with other users, items and pipelines: the logs of one server are all
easy or all hard. Some minutes on an idle machine. `python off_policy_server.py 50`: 50 logs of each server.
"""

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from machine import about, save
from segue.data.catalog import Catalog
from segue.data.evaluation_cases import EvaluationCases, Split
from segue.data.sequences import Sequences
from segue.evaluation.click_simulator import ClickSimulator
from segue.models import artifact
from segue.models.retrieval.retriever import RetrievalQuery
from segue.pipeline.config import decode_pipeline
from segue.pipeline.placements.placement import PlacementRequest
from segue.serving.config import BatchingConfig, EngineConfig, ServingConfig
from segue.serving.deployment.model_source import model_source
from segue.serving.experiments.shown_lists import ShownItem, ShownList
from segue.serving.inference.served_model import ServedModel
from segue.serving.schemas.requests import EventIn, RecommendRequest
from segue.serving.server import open_services
from segue.workflows.recommendation_logs.estimate_policy import PolicyEstimate, estimate_policy, replay
from segue.workflows.recommendation_logs.logged_requests import LoggedRequest
from segue.workflows.train_pipeline import fit_pipeline

SERVERS, LOGS, USERS, LISTS_OF_USER = 10, 10, 300, 2
TYPES, ITEMS, POSITIONS = 4, 8, 3
IDS = [f"a{item}" for item in range(1, ITEMS + 1)] + [f"type{x}" for x in range(TYPES)]
"""Items of the lists, and an item for each type of user, whose event tells the pipelines the type."""
PLACEMENT = "home"
PATIENT = BatchingConfig(max_queue_delay_ms=60_000, timeout_ms=60_000, queue_size=4096)
CONFIG = ServingConfig(engine=EngineConfig(batching=PATIENT))
"""No fallback lists on a busy machine: they have no propensities."""
LOGGING = {
    "epsilon": {"method": "epsilon", "first_position": 1, "epsilon": 0.5},
    "plackett-luce": {"method": "plackett-luce", "first_position": 1, "temperature": 1.5},
}
EVALUATED = {"method": "plackett-luce", "first_position": 1, "temperature": 0.7}


@dataclass(frozen=True)
class World:
    """Simulated users, and the saved pipelines of the server and of the estimate."""

    simulator: ClickSimulator
    served: Path
    evaluated: Path

    @classmethod
    def make(cls, folder: Path, explore: dict[str, Any], seed: int) -> "World":
        """Fit both pipelines on logs of users with random preferences; the served one on a distorted log.

        Args:
            folder: folder of the pipelines.
            explore: exploration of the served pipeline.
            seed: random seed.
        """
        rng = np.random.default_rng((seed, 1))
        small = ClickSimulator.random(rng, TYPES, ITEMS + 1)
        click_XA = np.zeros((TYPES, len(IDS) + 1))
        click_XA[:, : ITEMS + 1] = small.click_XA
        distorted_XA = np.clip(small.click_XA + rng.normal(0, 0.12, small.click_XA.shape), 0.02, 0.98)
        served = save_pipeline(folder / "served", distorted_XA, explore, rng)
        evaluated = save_pipeline(folder / "evaluated", small.click_XA, EVALUATED, rng)
        return cls(ClickSimulator(click_XA), served, evaluated)

    def true_value(self) -> float:
        """Return the expected clicks on a list of the evaluated pipeline."""
        model = ServedModel.open(self.evaluated)
        catalog = model.catalog

        def policy(user_type: int, items: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
            others = tuple(i for i in range(1, ITEMS + 1) if i not in items)
            logged = np.array((items + others)[:POSITIONS], dtype=np.int32)
            shown = ShownList("", 0, "", "live", 1.0, PLACEMENT, None, None, [ShownItem("")], None, {}, {})
            query = RetrievalQuery(catalog.to_indices_list([IDS[ITEMS + user_type]]))
            one = replay(model, LoggedRequest(shown, logged, query, PlacementRequest(PLACEMENT), POSITIONS))
            return one[len(items)].items, one[len(items)].probabilities

        return self.simulator.expected_clicks(policy, POSITIONS)


def save_pipeline(
    folder: Path, preferences_XA: np.ndarray, explore: dict[str, Any], rng: np.random.Generator, **rules: Any
) -> Path:
    """Fit a pipeline on walks of users of each type, and save it.

    Args:
        folder: folder to write.
        preferences_XA: preference of each type for each item.
        explore: exploration of its placement.
        rng: generator of the walks.
        **rules: rules of its placement.
    """
    rows = []
    for user in range(400):
        weights = preferences_XA[user % TYPES, 1:]
        drawn = rng.choice(np.arange(1, ITEMS + 1), 4, replace=False, p=weights / weights.sum())
        rows.append([ITEMS + 1 + user % TYPES, *drawn.tolist()])
    log = Sequences.from_lists(rows, [[1_000_000 * (user * 9 + step) for step in range(5)] for user in range(400)])
    cases = EvaluationCases(log.prefixes([4] * len(rows)), log.items[log.stops - 1], np.arange(len(rows)), None, {})
    catalog = Catalog(IDS)
    split = Split("none", catalog, log, cases, log, cases, True, "", "")
    settings = {
        "source": [{"model": "markov"}, {"model": "covisit"}, {"model": "popularity"}],
        "blend": {"method": "reciprocal-rank", "num_candidates": len(IDS)},
        "rank": {"method": "none"},
        "placement": [{"name": PLACEMENT, "rules": {"exclude": IDS[ITEMS:], **rules}, "explore": explore}],
    }
    fitted = fit_pipeline(split, decode_pipeline(settings))
    saved = artifact.Artifact("pipeline", fitted.settings, catalog, fitted.scorer.arrays(), {}, {"exclude_seen": True})
    artifact.save(saved, folder)
    return folder


@dataclass(frozen=True)
class ServedLog:
    """Interval of a server's log."""

    since_us: int
    until_us: int
    clicks: float
    """Mean number of clicks on a list."""


class SimulatedServer:
    """Server whose lists simulated users click on."""

    def __init__(self, world: World, data: Path, stack: ExitStack, seed: int) -> None:
        """Start the server.

        Args:
            world: users and the served pipeline.
            data: data directory.
            stack: ends the server.
            seed: seed of users, lists and clicks.
        """
        data.mkdir(parents=True)
        self._world, self._num_users = world, 0
        self._rng = np.random.default_rng((seed, 2))
        admin = open_services(data, model_source(world.served), CONFIG, lambda line: None, stack)
        self._router = admin.router
        service = self._router.deployment.live.engine.model.pipeline_service
        assert service is not None
        service._rng = np.random.default_rng((seed, 3))

    def serve(self, users: int = USERS, lists_of_user: int = LISTS_OF_USER) -> ServedLog:
        """Answer the requests of new users, and store the clicks. A user's lists have the same history.

        Args:
            users: number of users.
            lists_of_user: number of lists of each.
        """
        since_us = time.time_ns() // 1000
        type_U = self._rng.integers(0, TYPES, users)
        names = [f"u{self._num_users + u}" for u in range(users)]
        self._num_users += users
        self._router.store([EventIn(IDS[ITEMS + x], user_id=u) for u, x in zip(names, type_U, strict=True)])[0].result()
        user_B = np.tile(np.arange(users), lists_of_user)
        answers = asyncio.run(self._lists([names[u] for u in user_B]))
        number = {id: i for i, id in enumerate(IDS, 1)}
        lists_BK = np.array([[number[item.id] for item in answer.items] for answer in answers])
        clicks_BK = self._world.simulator.simulate_clicks(type_U[user_B], lists_BK, self._rng)
        clicked = [
            EventIn(
                answers[b].items[k].id,
                user_id=names[user_B[b]],
                event="click",
                recommendation_id=answers[b].recommendation_id,
            )
            for b, k in zip(*np.nonzero(clicks_BK), strict=True)
        ]
        if clicked:
            self._router.store(clicked, "memory")[0].result()
        return ServedLog(since_us, time.time_ns() // 1000, float(clicks_BK.sum(axis=1).mean()))

    async def _lists(self, users: Sequence[str]) -> list[Any]:
        requests = [RecommendRequest(user_id=user, k=POSITIONS, placement=PLACEMENT) for user in users]
        answers: list[Any] = []
        for start in range(0, len(requests), 20):
            answers += await asyncio.gather(*map(self._router.recommend, requests[start : start + 20]))
        return answers


def serve(world: World, data: Path, users: int, seed: int) -> ServedLog:
    """Return one log of a server, with one list of each user.

    Args:
        world: users and the served pipeline.
        data: data directory of the server.
        users: number of users.
        seed: seed of users, lists and clicks.
    """
    with ExitStack() as stack:
        return SimulatedServer(world, data, stack, seed).serve(users, 1)


def estimate(world: World, data: Path, log: ServedLog | None = None) -> PolicyEstimate:
    """Return the estimate of the clicks of the evaluated pipeline from a data directory.

    Args:
        world: holder of the evaluated pipeline.
        data: data directory of the server.
        log: interval of its log; None: the last day.
    """
    if log is None:
        report = estimate_policy(data, world.evaluated, days=1.0)
    else:
        days = (log.until_us - log.since_us) / 86_400e6
        report = estimate_policy(data, world.evaluated, days=days, now_us=log.until_us)
    return next(one for one in report.estimates if one.reward == "clicks")


def measure_server(method: str, seed: int, logs: int = LOGS) -> dict[str, Any]:
    """Return the true value and the estimates of each log of one server.

    Args:
        method: key of ``LOGGING``.
        seed: seed of users, items and pipelines.
        logs: number of logs.
    """
    with tempfile.TemporaryDirectory() as folder:
        world = World.make(Path(folder), LOGGING[method], seed)
        truth, data = world.true_value(), Path(folder) / "data"
        with ExitStack() as stack:
            server = SimulatedServer(world, data, stack, seed)
            served = [server.serve() for _ in range(logs)]
        estimates = [estimate(world, data, log) for log in served]
    assert all(one.lists == USERS * LISTS_OF_USER and one.users == USERS for one in estimates)
    rows = {name: _row([getattr(one, name) for one in estimates], truth) for name in ESTIMATORS}
    return {
        "truth": truth,
        "served": float(np.mean([log.clicks for log in served])),
        "mean weight agrees with 1": sum(one.is_supported for one in estimates),
        "reliable": sum(one.is_reliable for one in estimates),
    } | rows


ESTIMATORS = ("inverse_propensity", "self_normalized", "doubly_robust")


def _row(estimates: Sequence[Any], truth: float) -> dict[str, float]:
    return {
        "within": sum(one.low <= truth <= one.high for one in estimates),
        "mean_error": float(np.mean([one.value - truth for one in estimates])),
        "mean_width": float(np.mean([one.high - one.low for one in estimates])),
        "effective_lists": float(np.mean([one.effective_sample_size for one in estimates])),
    }


def main(logs: int = LOGS, seed: int = 0) -> None:
    """Measure every method, a process for each core, and write the result.

    Args:
        logs: number of logs of each server.
        seed: seed of the first server.
    """
    methods = [method for method in LOGGING for _ in range(SERVERS)]
    seeds = [seed + number for number in range(SERVERS)] * len(LOGGING)
    rows: dict[str, list[dict[str, Any]]] = {method: [] for method in LOGGING}
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as processes:
        for method, row in zip(methods, processes.map(measure_server, methods, seeds, repeat(logs)), strict=True):
            rows[method].append(row)
            print(
                method, len(rows[method]), {name: row[name]["within"] for name in ESTIMATORS}, f"of {logs}", flush=True
            )
    result = {}
    for method, servers in rows.items():
        within = {name: sum(row[name]["within"] for row in servers) for name in ESTIMATORS}
        size = {"logs": SERVERS * logs, "lists": USERS * LISTS_OF_USER, "users": USERS}
        result[method] = {**size, "within": within, "servers": servers}
        print(method, within, f"of {SERVERS * logs}", flush=True)
    save("off-policy-server", {"about": about(seed), "methods": result})


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
