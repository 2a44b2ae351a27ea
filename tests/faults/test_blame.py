"""A version is rolled back for failures that it reproduces; no caller and no storage fault can do it."""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.serving.conftest import save_model
from tests.support.shop_pipelines import IDS, save_pipeline

from segue.data.sequences import Sequences
from segue.serving.config import BatchingConfig, EngineConfig
from segue.serving.deployment import failure_examination
from segue.serving.deployment.deployment import LoadedModel
from segue.serving.deployment.failure_examination import find_reproduced_failure
from segue.serving.deployment.model_registry import ModelRegistry
from segue.serving.deployment.reloader import Reloader, initial_deployment
from segue.serving.deployment.variant_router import VariantRouter
from segue.serving.inference.engine import Engine
from segue.serving.inference.served_model import ServedModel
from segue.serving.schemas.requests import EventIn, NextRequest, RecommendRequest, SimilarRequest
from segue.serving.sessions.session_cache import SessionCache
from segue.serving.store.commit_listeners import CommitListeners
from segue.serving.store.event_store import EventStore
from segue.serving.store.group_commit import GroupCommitWriter

BAD_ITEM = "i31"


def ends_badly(history: Sequence[int]) -> bool:
    """Return whether a history ends with the bad item, as no golden one does."""
    return bool(len(history)) and int(history[-1]) == 32


class FailingScorer:
    """Scorer that fails for histories: raises, or gives scores of ``value``."""

    def __init__(self, scorer: Any, fails: Callable[[Sequence[int]], bool], value: float | None = None) -> None:
        self.scorer, self.size, self.fails, self.value, self.name = scorer, scorer.size, fails, value, scorer.name

    def scores(self, histories: Any) -> np.ndarray:
        fails_B = [self.fails(history) for history in histories.to_lists()]
        if any(fails_B) and self.value is None:
            raise ZeroDivisionError
        scores_BV: np.ndarray = self.scorer.scores(histories).copy()
        scores_BV[fails_B, 5] = self.value
        return scores_BV


class Server:
    """Registry with two promoted versions of a single model, the router and the reloader of its server."""

    def __init__(self, folder: Path, runs: Sequence[Path]) -> None:
        self.store = EventStore(folder / "events.sqlite")
        self.listeners = CommitListeners()
        self.writer = GroupCommitWriter(self.store, self.listeners.on_commit)
        self.registry = ModelRegistry(folder / "models")
        self.versions = [self.registry.add(run) for run in runs]
        self.registry.promote(self.versions[0])
        deployment, generation = initial_deployment(self.registry, self.load, print)
        self.router = VariantRouter(deployment, self.listeners)
        self.reloader = Reloader(self.registry, self.router, self.load, generation, interval_s=60)
        self.reports: list[str] = []
        report = self.router.on_reproduced_failure
        self.router.on_reproduced_failure = lambda *given: self.reports.append(given[1]) or report(*given)

    def load(self, model: ServedModel) -> LoadedModel:
        sessions = SessionCache(self.store, model.catalog)
        config = EngineConfig(BatchingConfig(timeout_ms=30_000, max_queue_delay_ms=30_000))
        return LoadedModel(Engine(model, sessions, self.writer, config), sessions)

    def promote(self, fails: Callable[[Sequence[int]], bool], value: float | None = None) -> str:
        """Deploy the second version, which fails for histories, and return it."""
        self.registry.promote(self.versions[1])
        self.reloader.reload()
        model = self.router.deployment.live.engine.model
        failing = FailingScorer(model.scorer, fails, value)
        model.retrieval.scorer = failing
        object.__setattr__(model, "scorer", failing)
        object.__setattr__(model, "probability_scorer", None)
        return self.versions[1]

    def add_users(self, names: Sequence[str], items: Sequence[str]) -> None:
        events = [EventIn(item_id=item, user_id=name) for name in names for item in items]
        self.router.store(events)[0].result(10)

    def respond(self, **fields: Any) -> Any:
        return asyncio.run(self.router.recommend(RecommendRequest(**fields)))

    def examine(self) -> bool:
        """Wait for the examinations and the rollback that they cause; return whether there was one."""
        self.router._examiner._pool.submit(lambda: None).result(30)
        deadline = time.monotonic() + 20
        while self.reports and b'outcome="rolled back"} 1.0' not in self.router.metrics.text():
            assert time.monotonic() < deadline
            time.sleep(0.005)
        return bool(self.reports)

    @property
    def live(self) -> str:
        return self.registry.pointer().current.live

    def close(self) -> None:
        self.reloader.close()
        self.router.close()
        self.writer.close()
        self.store.close()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder, rng = tmp_path_factory.mktemp("runs"), np.random.default_rng(1)
    log = Sequences.from_lists([rng.integers(1, 61, 6).tolist() for _ in range(80)])
    return [save_model(folder / name, name, log, 60) for name in ("popularity", "markov")]


@pytest.fixture
def server(tmp_path: Path, runs: list[Path]) -> Iterator[Server]:
    opened = Server(tmp_path, runs)
    yield opened
    opened.close()


USERS = [f"user {number}" for number in range(30)]


def test_no_caller_rolls_a_version_back(server: Server) -> None:
    """One key and address, many users, many bodies: histories in requests, and users that are made afterwards."""
    server.add_users(USERS, ["i2", "i3"])
    version = server.promote(ends_badly)
    for user in USERS:
        assert server.respond(user_id=user).fallback is None
    fakes = [f"fake {number}" for number in range(60)]
    server.add_users(fakes, [BAD_ITEM])
    for number, fake in enumerate(fakes):
        if number % 20 == 0:
            server.router._examiner.reset()  # as after the interval
        for request in ({"user_id": fake}, {"history": [f"i{number % 60}", BAD_ITEM], "k": number + 1}):
            response = server.respond(**request)
            assert response.variant == "previous" and response.items
    sequence = server.router.next(NextRequest(history=[BAD_ITEM], steps=2))
    similar = asyncio.run(server.router.similar(SimilarRequest(item_id=BAD_ITEM)))
    assert sequence.variant == similar.variant == "previous"
    assert not server.examine()
    assert server.live == version
    assert server.respond(user_id=USERS[0]).model_version == version


@pytest.mark.parametrize(("failing", "rolled_back"), [(9, False), (10, True)])
def test_failures_of_enough_known_users_roll_back(server: Server, failing: int, rolled_back: bool) -> None:
    server.add_users(USERS[:failing], ["i2", BAD_ITEM])
    server.add_users(USERS[failing:], ["i2", "i3"])
    version = server.promote(ends_badly)
    for user in reversed(USERS):
        server.respond(user_id=user)
    server.router._examiner.reset()
    server.respond(user_id=USERS[0])
    assert server.examine() == rolled_back
    assert (server.live != version) == rolled_back
    if rolled_back:
        reason = f"Rolled back: version {version} fails for 10 of 30 recent users (ZeroDivisionError)."
        assert server.registry.pointer().note == reason
        server.registry.promote(version)
        assert server.reloader.reload() == f"Version {version} is live.", "the operator may deploy it again"


def test_a_few_failing_users_among_many_do_not_roll_back(server: Server) -> None:
    """Ten users of 300 are below the share."""
    server.add_users([f"user {number}" for number in range(290)], ["i2"])
    server.add_users(failing := [f"poor {number}" for number in range(10)], [BAD_ITEM])
    version = server.promote(ends_badly)
    live = server.router.deployment.live
    for user in [f"user {number}" for number in range(290)] + failing:
        live.sessions.view(("user_id", user))
    assert find_reproduced_failure(live) is None
    server.respond(user_id="poor 1")
    assert not server.examine()
    assert server.live == version


def test_the_same_version_promoted_twice_is_rolled_back_to_another(server: Server) -> None:
    version = server.promote(lambda history: True)
    server.registry.promote(version)
    server.reloader.reload()
    deadline = time.monotonic() + 20
    while server.live == version:
        assert server.respond(user_id="ann").variant in ("previous", "live")
        assert time.monotonic() < deadline
    assert server.live == server.versions[0]
    assert f"version {version} fails its golden request after []" in server.registry.pointer().note


def test_a_score_that_is_not_finite_fails_its_request_alone(server: Server) -> None:
    """NaN and infinity: the request gets another list, those of the same batch their own."""
    for value in (np.nan, np.inf):
        server.registry.promote(server.versions[0])
        server.reloader.reload()
        version = server.promote(ends_badly, value)
        requests = [RecommendRequest(history=history) for history in (["i2"], [BAD_ITEM], ["i3"])]

        async def respond(requests: Sequence[RecommendRequest] = requests) -> list[Any]:
            return await asyncio.gather(*(server.router.recommend(request) for request in requests))

        good, bad, too = asyncio.run(respond())
        assert (good.model_version, too.model_version) == (version, version)
        assert (bad.variant, bad.model_version) == ("previous", server.versions[0])
        assert not server.examine()
        assert server.live == version, "no stored history and no golden request of it fails"


def test_a_score_that_is_not_finite_in_a_golden_request_rolls_back(server: Server) -> None:
    version = server.promote(lambda history: len(history) == 0, np.inf)
    assert server.respond(history=[]).variant == "previous"
    assert server.examine()
    assert server.live == server.versions[0]
    assert "NonFiniteScoreError" in server.registry.pointer().note
    assert server.versions[1] == version


def test_examinations_are_rare_and_failures_counted(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    examined: list[LoadedModel] = []
    monkeypatch.setattr(failure_examination, "find_reproduced_failure", examined.append)
    server.promote(ends_badly)
    for _ in range(50):
        server.respond(history=[BAD_ITEM])
    assert not server.examine()
    assert len(examined) == 1
    assert b'segue_recommendation_failures_total{role="live"} 50.0' in server.router.metrics.text()


def test_errors_outside_the_version_are_not_its_own(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Late and cancelled requests, full queues, disk errors and want of memory."""
    version = server.promote(lambda history: False)
    engine = server.router.deployment.live.engine
    for error in (MemoryError(), OSError(5, "Input/output error"), TimeoutError()):

        async def fail(request: Any, error: Exception = error) -> Any:
            raise error

        server.router._examiner.reset()
        with monkeypatch.context() as patch:
            patch.setattr(engine, "respond", fail)
            assert server.respond(user_id="ann").variant == "previous"
        assert not server.examine()
    monkeypatch.setattr(server.router, "_examiner", None)
    batcher = engine._batcher

    async def cancel() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(batcher, "_work", lambda requests: time.sleep(0.1))
            task = asyncio.ensure_future(server.router.recommend(RecommendRequest()))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(cancel())
    assert server.live == version


def test_failures_of_options_are_answered_and_not_blamed(
    runs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault of the explanations, which requests choose: each gets a list without reasons, and the version stays."""
    server = Server(tmp_path, [runs[0], save_pipeline("ranks", tmp_path / "pipeline")])
    server.registry.promote(server.versions[1])
    server.reloader.reload()

    def fail(*given: Any, **options: Any) -> Any:
        raise KeyError

    monkeypatch.setattr("segue.serving.inference.served_pipeline.explain_list", fail)
    for number in range(40):
        response = server.respond(history=[IDS[number]], k=number + 1, explain=True, placement="cheap")
        assert response.items and response.fallback == "popular", "the previous version explains nothing"
    assert not server.examine()
    assert server.live == server.versions[1]
    placements = server.router.deployment.live.engine.model.pipeline_service._placements._placements  # type: ignore[union-attr]
    monkeypatch.setattr(placements["stocked"].rules, "rescore", fail)
    server.router._examiner.reset()
    server.respond(history=["i3"], placement="stocked")
    assert server.examine()
    assert server.live == server.versions[0]
    reason = "fails its golden request after [] at placement 'stocked' (KeyError)"
    assert server.registry.pointer().note == f"Rolled back: version {server.versions[1]} {reason}."
    server.close()
