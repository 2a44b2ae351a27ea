"""The degradation ladder and the probes: every combination gets a list, flagged where it was not scored, never 5xx."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.serving.conftest import InProcessServer, opened, save_model
from tests.support.shop_pipelines import HIDDEN, IDS, save_pipeline

from segue.data.sequences import Sequences
from segue.models import artifact

KNOWN, NEW = {"user_id": "ann"}, {"user_id": "unknown user"}
CALLERS: list[dict[str, Any]] = [
    {}, KNOWN, NEW, {"session_id": "s1"}, {"history": []}, {"history": ["i3", "unknown item"]}, {"history": IDS},
]  # fmt: skip
CHOICES: list[dict[str, Any]] = [{}, {"allow": []}, {"allow": ["unknown item"]}, {"exclude": IDS}, {"k": 1000}]
MODELS = ("single", "pipeline")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder, rng = tmp_path_factory.mktemp("runs"), np.random.default_rng(2)
    log = Sequences.from_lists([rng.integers(1, 41, 6).tolist() for _ in range(60)])
    return {
        "single": save_model(folder / "single", "markov", log, 40),
        "pipeline": save_pipeline("ranks", folder / "p"),
    }


@pytest.fixture(params=MODELS)
def server(request: pytest.FixtureRequest, runs: dict[str, Path], tmp_path: Path) -> Iterator[InProcessServer]:
    with opened(tmp_path / "data", runs[request.param]) as running:
        events = [{"user_id": "ann", "item_id": item, "session_id": "s1"} for item in ("i3", "i8")]
        events += [{"user_id": f"other {number}", "item_id": IDS[number % 40]} for number in range(400)]
        assert running.web.post("/v1/events", json={"events": events}).status_code == 200
        yield running


def sound(server: InProcessServer) -> None:
    """Change nothing."""


def unreadable(server: InProcessServer) -> None:
    """Overwrite every page of the event log but the first, and drop the copies of pages in memory."""
    store = server.admin.store
    store._write.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    with open(store.path, "r+b") as file:
        size = file.seek(0, 2)
        file.seek(4096)
        file.write(b"\xa5" * (size - 4096))
    store.connection.execute("PRAGMA shrink_memory").fetchall()


def failing(server: InProcessServer) -> None:
    """Let the model raise for every history, with no previous version."""

    def fail(*given: Any, **options: Any) -> Any:
        raise ZeroDivisionError

    model = server.admin.router.deployment.live.engine.model
    object.__setattr__(model, "scorer", None)
    model.retrieval.top_k = fail  # type: ignore[method-assign]
    if model.pipeline_service is not None:
        model.pipeline_service.pipeline.score_candidates = fail  # type: ignore[method-assign]


@pytest.mark.parametrize("harm", [sound, unreadable, failing])
def test_every_combination_gets_a_list(server: InProcessServer, harm: Callable[[InProcessServer], None]) -> None:
    harm(server)
    hidden = set(HIDDEN) if server.admin.router.deployment.live.engine.model.pipeline_service else set()
    for caller, choice in itertools.product(CALLERS, CHOICES):
        response = server.web.post("/v1/recommend", json={**caller, **choice})
        assert response.status_code == 200, (caller, choice, response.text)
        body = response.json()
        items = {item["id"] for item in body["items"]}
        assert not items & hidden
        is_stored = "user_id" in caller or "session_id" in caller
        if harm is failing or (harm is unreadable and is_stored):
            assert body["fallback"] == "popular"
        else:
            assert "fallback" not in body
        assert bool(items) == ("allow" not in choice and "exclude" not in choice and caller.get("history") != IDS)
        if "history" not in caller and choice == {"k": 1000}:
            seen = {"i3", "i8"} if is_stored and caller != NEW and harm is not unreadable else set()
            assert items == set(IDS) - hidden - seen
    for caller in CALLERS:
        response = server.web.post("/v1/next", json={**caller, "steps": 3})
        assert response.status_code == 200, response.text
        assert not {item["id"] for item in response.json()["items"]} & hidden
    assert server.web.post("/v1/similar", json={"item_id": "i3", "k": 5}).status_code == 200
    assert server.web.post("/v1/similar", json={"item_id": "unknown item"}).status_code == 404
    assert server.admin.router.writable
    text = server.web.get("/metrics").text
    assert ("segue_unreadable_histories 0.0" in text) == (harm is not unreadable)
    if harm is unreadable:
        assert 'segue_recommendation_failures_total{role="live"}' not in text, "no fault of the version"
        assert server.web.get("/health/ready").status_code == 200


def test_a_readable_history_in_memory_needs_no_log(server: InProcessServer) -> None:
    before = server.web.post("/v1/recommend", json={**KNOWN, "k": 5}).json()
    unreadable(server)
    after = server.web.post("/v1/recommend", json={**KNOWN, "k": 5}).json()
    assert after["items"] == before["items"] and "fallback" not in after


@contextmanager
def full_disk(server: InProcessServer) -> Iterator[None]:
    write = server.admin.store._write
    pages = write.execute("PRAGMA page_count").get
    write.execute(f"PRAGMA max_page_count = {pages}").fetchall()
    batch = {"events": [{"user_id": "ann", "item_id": "a" * 500} for _ in range(300)]}
    assert server.web.post("/v1/events", json=batch).status_code in (503, 507)
    yield
    write.execute("PRAGMA max_page_count = 1000000").fetchall()
    assert server.web.post("/v1/events", json={"user_id": "ann", "item_id": "i4"}).status_code == 200


@contextmanager
def draining(server: InProcessServer) -> Iterator[None]:
    server.state.draining = True
    yield
    server.state.draining = False


@contextmanager
def failed_reload(server: InProcessServer) -> Iterator[None]:
    """Let the model folder hold no model."""
    manifest = server.admin.reloader.models._folder / artifact.MANIFEST  # type: ignore[attr-defined]
    whole = manifest.read_bytes()
    manifest.write_bytes(b"{}")
    server.web.post("/v1/admin/reload")
    yield
    manifest.write_bytes(whole)


@contextmanager
def failed_model(server: InProcessServer) -> Iterator[None]:
    failing(server)
    yield


@contextmanager
def damaged_log(server: InProcessServer) -> Iterator[None]:
    unreadable(server)
    server.web.post("/v1/recommend", json=NEW)
    yield


PROBES: list[tuple[Any, int, dict[str, bool], bool]] = [
    (full_disk, 503, {"model": True, "store": False, "serving": True}, True),
    (draining, 503, {"model": True, "store": True, "serving": False}, True),
    (failed_reload, 200, {"model": True, "store": True, "serving": True}, True),
    (failed_model, 200, {"model": True, "store": True, "serving": True}, False),
    (damaged_log, 200, {"model": True, "store": True, "serving": True}, False),
]
"""Condition, status of /health/ready, its checks, and whether the condition passes. docs/guide/deployment.md has the
table. Its rows about stopped and stuck processes are in tests/faults/test_stuck_processes.py."""


@pytest.mark.parametrize(("condition", "ready", "checks", "passes"), PROBES)
@pytest.mark.parametrize("server", ["single"], indirect=True)
def test_the_probes_state_the_truth(
    server: InProcessServer, condition: Any, ready: int, checks: dict[str, bool], passes: bool
) -> None:
    assert server.web.get("/health/ready").status_code == 200
    with condition(server):
        response = server.web.get("/health/ready")
        assert (response.status_code, response.json()["checks"]) == (ready, checks)
        assert response.json()["status"] == ("ready" if ready == 200 else "not ready")
        assert server.web.get("/health/live").status_code == 200
        assert server.web.post("/v1/recommend", json={"history": ["i3"]}).status_code == 200, "lists go on"
    if passes:
        assert server.web.get("/health/ready").status_code == 200
