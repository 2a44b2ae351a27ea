"""Erasures over HTTP: killed at every step, on a full disk, many at once, and with old events on their way."""

import json
import resource
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.serving.conftest import save_model
from tests.support.server_process import ServerProcess, wait_until

from segue.data.sequences import Sequences

CANARY = "canary-7f31"
OLD_S = 1_700_000_000
KILLED = """
import os, signal, sys
from segue.data.erasure_list import ErasureList
from segue.serving.__main__ import main
from segue.serving.store.event_erasure import EventErasure

armed, owner, name = sys.argv[1:4]
owner = {"ErasureList": ErasureList, "EventErasure": EventErasure}[owner]
real = getattr(owner, name)


def step(*arguments):
    result = real(*arguments)
    if os.path.exists(armed):
        os.kill(os.getpid(), signal.SIGKILL)
    return result


setattr(owner, name, step)
sys.argv[1:4] = []
main()
"""
"""A server that is killed after a step, once a file exists."""
STEPS = [("ErasureList", "add_digests"), ("EventErasure", "delete"), ("EventErasure", "compact")]
Start = Callable[..., ServerProcess]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    walks = [[(start + step) % 12 + 1 for step in range(8)] for start in range(12)]
    return save_model(tmp_path_factory.mktemp("erasure") / "model", "markov", Sequences.from_lists(walks))


@pytest.fixture
def start(run: Path, tmp_path: Path) -> Iterator[Start]:
    started: list[ServerProcess] = []

    def starter(*options: str, data: str = "data", **more: Any) -> ServerProcess:
        started.append(ServerProcess(run, tmp_path / data, *options, **more))
        return started[-1]

    yield starter
    for server in started:
        server.kill()


def send(server: ServerProcess, *events: dict[str, Any]) -> dict[str, Any]:
    status, text = server.request("POST", "/v1/events", {"events": [{"item_id": "a", **event} for event in events]})
    assert status == 200, text
    return dict(json.loads(text))


def items(server: ServerProcess, **key: str) -> list[str]:
    status, text = server.request("POST", "/v1/recommend", {**key, "k": 12, "exclude_seen": False})
    assert status == 200, text
    return [item["id"] for item in json.loads(text)["items"]]


def store_canary(server: ServerProcess, user: str = CANARY) -> None:
    session = {"session_id": f"{user}-session", "timestamp": OLD_S}
    send(server, {**session, "item_id": "c"}, {**session, "user_id": user, "item_id": "d", "context": {"mail": user}})
    send(server, {"user_id": user, "item_id": "e"})


def files_with(folder: Path, text: str) -> list[str]:
    return [path.name for path in folder.iterdir() if path.is_file() and text.encode() in path.read_bytes()]


def test_a_killed_erasure_is_completed_at_the_next_start(start: Start, tmp_path: Path) -> None:
    """The repeated request has the counts of what was erased before the kill."""
    data, armed, killed = tmp_path / "data", tmp_path / "armed", ""
    for number, step in enumerate([*STEPS, None]):
        command = (sys.executable, "-c", KILLED, str(armed), *step) if step else ()
        server = start(command=command).wait_ready()
        if killed:
            assert files_with(data, killed) == []
            assert items(server, user_id=killed) == items(server, session_id=f"{killed}-session") == items(server)
            old = {"session_id": f"{killed}-session", "timestamp": OLD_S}
            assert send(server, old, {**old, "user_id": killed})["erased"] == 2
            status, text = server.request("DELETE", f"/v1/users/{killed}")
            receipt = json.loads(text)
            assert status == 200 and (receipt["events"], receipt["sessions"], receipt["compacted"]) == (3, 1, True)
            assert receipt["user_digest"] in json.loads((data / "erasures.json").read_text())
        if step:
            killed = f"{CANARY}-{number}"
            store_canary(server, killed)
            assert items(server, session_id=f"{killed}-session") != items(server)
            armed.touch()
            with pytest.raises(OSError):
                server.request("DELETE", f"/v1/users/{killed}")
            server.process.wait(20)
            armed.unlink()
    assert server.end()[0] == 0 and files_with(data, CANARY) == []


def test_a_full_disk_refuses_an_erasure_and_its_repeat_is_whole(start: Start, tmp_path: Path) -> None:
    data = tmp_path / "data"
    server = start().wait_ready()
    send(server, *({"user_id": f"u{i}", "context": {"x": "y" * 400}} for i in range(2000)))
    store_canary(server)
    known = items(server, session_id=f"{CANARY}-session")
    new = items(server)
    assert known != new
    hard = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)[1]
    statuses = []
    largest = max(path.stat().st_size for path in data.iterdir())
    for room in (0, 20_000, 200_000):  # for nothing, for the list, for the deletion
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (largest + room, hard))
        status, text = server.request("DELETE", f"/v1/users/{CANARY}")
        statuses.append(status)
        assert status == 503 and "send the request again" in json.loads(text)["detail"], text
        gone = server.request("GET", f"/v1/users/{CANARY}")[0] == 404
        shown = items(server, session_id=f"{CANARY}-session")
        assert shown == (new if gone else known), "memory shows the log's state"
    assert gone, "the last attempt had room for the deletion, not for the compaction"
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (hard, hard))
    status, text = server.request("DELETE", f"/v1/users/{CANARY}")
    receipt = json.loads(text)
    assert status == 200 and (receipt["events"], receipt["sessions"], receipt["compacted"]) == (3, 1, True)
    assert files_with(data, CANARY) == []
    assert send(server, {"session_id": f"{CANARY}-session", "timestamp": OLD_S})["accepted"] == 0
    wait_until(lambda: server.request("GET", "/health/ready")[0] == 200)
    assert send(server, {"user_id": "bob"})["accepted"] == 1


@pytest.mark.parametrize("workers", [1, 2])
def test_many_erasures_at_once_with_old_events_on_their_way(start: Start, tmp_path: Path, workers: int) -> None:
    """Each receipt has its entry, no old event is stored behind it, and no process shows the history any more."""
    data, ended, statuses = tmp_path / "data", threading.Event(), Counter[int]()
    server = start("--workers", str(workers)).wait_ready(workers - 1)
    users = [f"{CANARY}-{i}" for i in range(12)]
    for user in users:
        store_canary(server, user)

    def resend(number: int) -> None:
        count = 0
        while not ended.is_set():
            count += 1
            user, session = users[count % len(users)], f"{CANARY}-late-{number}-{count}"
            late = {"item_id": "b", "session_id": session, "timestamp": OLD_S}
            send(server, late, {**late, "user_id": user}, {**late, "session_id": f"{user}-session"})
            statuses[server.request("POST", "/v1/recommend", {"user_id": user})[0]] += 1

    threads = [threading.Thread(target=resend, args=(number,)) for number in range(3)]
    with ThreadPoolExecutor(len(users)) as pool:
        for thread in threads:
            thread.start()
        replies = list(pool.map(lambda user: server.request("DELETE", f"/v1/users/{user}"), users))
    time.sleep(0.1)  # old events go on for a while
    ended.set()
    for thread in threads:
        thread.join()
    assert [status for status, _ in replies] == [200] * len(users) and set(statuses) == {200}
    receipts = [json.loads(text) for _, text in replies]
    listed = json.loads((data / "erasures.json").read_text())
    assert all(listed[receipt["user_digest"]] >= receipt["time_us"] for receipt in receipts)
    assert all(receipt["events"] >= 3 for receipt in receipts)
    new = items(server)
    for user in users:
        assert server.request("GET", f"/v1/users/{user}")[0] == 404
        assert items(server, user_id=user) == items(server, session_id=f"{user}-session") == new
    assert server.request("POST", "/v1/users/x", {})[0] in (404, 405)
    wait_until(lambda: not files_with(data, CANARY))
    assert server.end()[0] == 0 and files_with(data, CANARY) == []
