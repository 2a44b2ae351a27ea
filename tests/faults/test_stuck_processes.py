"""Kind 4, stuck processes: a stopped worker or primary process is noticed, and the others answer for it."""

import contextlib
import http.client
import itertools
import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.serving.conftest import save_model
from tests.support.server_process import ServerProcess, is_alive, wait_until

from segue.data.sequences import Sequences
from segue.serving.config import ServingConfig
from segue.serving.sockets import SocketGroups
from segue.serving.store.event_store import EventStore
from segue.serving.workers import messages, worker_process

WORKERS = 2
NOTICED_S = 3.0
"""Longest time of a request while a process is stopped, on a busy machine."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    walks = [[(start + step) % 12 + 1 for step in range(8)] for start in range(12)]
    return save_model(tmp_path_factory.mktemp("stuck") / "model", "markov", Sequences.from_lists(walks))


@pytest.fixture(scope="module")
def shared(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    running = ServerProcess(run, tmp_path_factory.mktemp("data") / "data", "--workers", str(WORKERS + 1))
    yield running
    for pid in [running.process.pid, *running.children()]:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGCONT)
    code, _ = running.end()
    assert code == 0, running.output
    assert "Traceback" not in running.output
    running.kill()


@pytest.fixture
def server(shared: ServerProcess) -> ServerProcess:
    return shared.wait_ready(WORKERS)


class Counts:
    """Outcomes of requests: status or name of the error, and the longest time."""

    def __init__(self) -> None:
        self.outcomes: Counter[Any] = Counter()
        self.max_s = 0.0
        self.bodies: list[str] = []

    def request(self, server: ServerProcess, method: str, path: str, body: Any = None) -> Any:
        started_s = time.monotonic()
        try:
            outcome, text = server.request(method, path, body)
            self.bodies.append(text)
        except (OSError, http.client.HTTPException) as error:
            outcome = type(error).__name__
        self.outcomes[outcome] += 1
        self.max_s = max(self.max_s, time.monotonic() - started_s)
        return outcome


def at_once(count: int, function: Callable[[int], Any]) -> None:
    threads = [threading.Thread(target=function, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_a_stopped_worker_delays_nobody_and_is_replaced(server: ServerProcess) -> None:
    stopped, *others = server.children()
    counts, lists = Counts(), Counts()
    os.kill(stopped, signal.SIGSTOP)
    at_once(15, lambda n: counts.request(server, "POST", "/v1/events", {"user_id": "bo", "item_id": "a"}))
    at_once(15, lambda n: lists.request(server, "POST", "/v1/recommend", {"user_id": "bo", "k": 1}))
    # No connection is lost: those that waited for the stopped process are accepted by the primary process.
    assert counts.outcomes == lists.outcomes == {200: 15}
    assert counts.max_s < NOTICED_S
    assert lists.max_s < NOTICED_S
    server.wait_ready(WORKERS)
    assert not is_alive(stopped)
    assert set(others) < set(server.children())
    assert "stopped by a signal" in server.output


def test_a_stopped_primary_process_is_answered_for_with_503(server: ServerProcess) -> None:
    children, numbers = set(server.children()), itertools.count()
    before, refused, after = Counts(), [], Counts()
    os.kill(server.process.pid, signal.SIGSTOP)
    try:

        def send(_: int) -> None:
            event_id = f"stopped-{next(numbers)}"
            if before.request(server, "POST", "/v1/events", _event("cy", event_id)) == 503:
                refused.append(event_id)

        at_once(15, send)
        # 503 before the silence is noticed and after it; connections of the primary process are accepted by the workers
        assert before.outcomes == {503: 15}
        assert before.max_s < NOTICED_S
        assert all("same event_id" in json.loads(body)["detail"] for body in before.bodies)
        at_once(10, lambda n: after.request(server, "POST", "/v1/recommend", {"history": ["a"], "k": 1}))
        assert after.outcomes == {200: 10}
        for path in ("/health/ready", "/metrics", "/v1/users/cy"):
            after.request(server, "GET", path)
        assert after.outcomes == {200: 10, 503: 3}
        assert after.request(server, "GET", "/health/live") == 200
        assert after.max_s < NOTICED_S
    finally:
        os.kill(server.process.pid, signal.SIGCONT)
    server.wait_ready(WORKERS)
    assert set(server.children()) == children, "no process is restarted"
    status, text = server.request("GET", "/v1/users/cy")
    stored = [event["event_id"] for event in json.loads(text)["events"]] if status == 200 else []
    assert not set(stored) & set(refused), "an event that was refused is not stored later"
    until_s = time.monotonic() + 10
    for event_id in refused:  # as the refusal says: again in a moment
        while server.request("POST", "/v1/events", _event("cy", event_id))[0] != 200:
            assert time.monotonic() < until_s
            time.sleep(0.1)
    events = json.loads(server.request("GET", "/v1/users/cy")[1])["events"]
    assert sorted(event["event_id"] for event in events) == sorted(refused)


def test_after_a_stop_of_all_processes_everything_goes_on(server: ServerProcess) -> None:
    children = server.children()
    for pid in (server.process.pid, *children):
        os.kill(pid, signal.SIGSTOP)
    time.sleep(messages.MAX_STALL_S + 0.5)  # longer than any deadline of a heartbeat
    for pid in (*children, server.process.pid):
        os.kill(pid, signal.SIGCONT)
    server.wait_ready(WORKERS)
    time.sleep(4 * messages.HEARTBEAT_S)
    assert set(server.children()) == set(children)
    assert server.request("POST", "/v1/events", _event("di", "di"))[0] == 200


def test_a_killed_worker_loses_no_waiting_connection(server: ServerProcess) -> None:
    """Connections that the kernel has given to a dead process are accepted by the primary process."""
    counts = Counts()
    os.kill(server.children()[0], signal.SIGKILL)
    at_once(30, lambda n: counts.request(server, "POST", "/v1/recommend", {"history": ["a"], "k": 1}))
    assert counts.outcomes == {200: 30}
    server.wait_ready(WORKERS)


def test_a_worker_whose_event_loop_is_stuck_is_killed(run: Path, tmp_path: Path) -> None:
    EventStore(tmp_path / "events.sqlite").close()
    sockets = SocketGroups.bind("127.0.0.1", 0, 2)
    start = messages.StartWorker(1, str(run), str(tmp_path), "127.0.0.1", sockets.descriptors(), ServingConfig())
    worker = worker_process.WorkerProcess(start)
    try:
        assert isinstance(worker.channel.receive(), messages.WorkerReady)
        worker.is_ready = worker.is_listening = True
        worker.beat(0.0)
        assert isinstance(worker.channel.receive(), messages.Heartbeat)
        worker.lag_s = messages.SILENCE_S + 0.1
        assert worker.is_overdue
        worker.beat(0.0)
        assert worker.process.poll() is None
        worker.lag_s = worker_process.MAX_LAG_S + 0.1
        worker.beat(0.0)
        assert worker.process.wait(10) == -signal.SIGKILL
        assert worker.failure == "event loop stuck"
    finally:
        worker.process.kill()
        worker.process.wait()
        sockets.close()


def test_workers_that_cannot_start_leave_a_server_of_one_process(run: Path, tmp_path: Path) -> None:
    """Without file descriptors for its channel no worker starts: the primary process serves all connections."""
    program = (
        "import sys; from segue.serving.__main__ import main; import segue.serving.workers.worker_process as w; "
        "w.sys = type(sys)('sys'); w.sys.executable = '/bin/false'; sys.exit(main())"
    )
    command = (sys.executable, "-c", program)
    server = ServerProcess(run, tmp_path / "data", "--workers", "3", command=command)
    try:
        counts = Counts()
        wait_until(lambda: "will be replaced" in server.output)
        at_once(20, lambda n: counts.request(server, "POST", "/v1/recommend", {"history": ["a"], "k": 1}))
        assert counts.outcomes == {200: 20}
        assert counts.request(server, "POST", "/v1/events", _event("ed", "ed")) == 200
        assert "segue_workers_ready 0.0" in server.request("GET", "/metrics")[1]
        assert server.end()[0] == 0, server.output
        assert server.output.count("will be replaced") < 20
    finally:
        server.kill()


def _event(user: str, event_id: str) -> dict[str, str]:
    return {"user_id": user, "item_id": "a", "event_id": event_id}
