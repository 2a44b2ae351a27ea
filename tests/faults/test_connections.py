"""Kinds 1 and 9 with a real server: stuck connections of every state, hostile bytes, roles in every process."""

import http.client
import json
import os
import random
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.serving.conftest import save_model
from tests.support.server_process import ServerProcess, wait_until

from segue.data.sequences import Sequences

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
import connections  # type: ignore[import-not-found]  # noqa: E402

ROLES = ("api", "ingest", "serve", "admin", "erase")
KEYS = {role: f"{role}-key-0123456789abcdef" for role in ROLES}
KEYS["api"] = connections.KEY
ALLOWED = {
    "ingest": {("POST", "/v1/events")},
    "serve": {("POST", "/v1/recommend"), ("POST", "/v1/similar"), ("POST", "/v1/next"), ("GET", "/v1/items"),
              ("GET", "/v1/items/a")},
    "admin": {("GET", "/v1/users/u"), ("GET", "/v1/admin/models"), ("GET", "/v1/admin/report"),
              ("POST", "/v1/admin/promote"), ("POST", "/v1/admin/rollback"), ("POST", "/v1/admin/reload"),
              ("GET", "/metrics")},
    "erase": {("DELETE", "/v1/users/u")},
}  # fmt: skip
BODIES = {
    "/v1/events": {"item_id": "a", "user_id": "u"},
    "/v1/similar": {"item_id": "zz"},
    "/v1/admin/promote": {"version": "x"},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    walks = [[(start + step) % 12 + 1 for step in range(8)] for start in range(12)]
    return save_model(tmp_path_factory.mktemp("connections") / "model", "markov", Sequences.from_lists(walks))


@pytest.fixture(scope="module")
def server(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Server of two processes with a key for each role."""
    keys = {f"SEGUE_{role.upper()}_KEY": key for role, key in KEYS.items()}
    running = ServerProcess(run, tmp_path_factory.mktemp("data") / "data", "--workers", "2", **keys)
    try:
        running.wait_ready()
        line = 'segue_workers_ready{worker="0"} 1.0'
        wait_until(lambda: line in answer(running.port, "GET", "/metrics", KEYS["admin"])[1])
        yield running
    finally:
        running.kill()


def answer(port: int, method: str, path: str, key: str | None, body: object = None) -> tuple[int, str]:
    """Return status and body of a response on a new connection, which any of the processes may get."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    headers = {"Content-Type": "application/json"} | ({} if key is None else {"Authorization": f"Bearer {key}"})
    try:
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def request(port: int, method: str, path: str, key: str | None, body: object = None) -> int:
    """Return the status of a request."""
    return answer(port, method, path, key, body)[0]


def num_sockets(server: ServerProcess) -> int:
    """Return the number of open sockets of all processes of a server."""
    folders = [Path(f"/proc/{pid}/fd") for pid in (server.process.pid, *server.children())]
    links = [os.readlink(link) for folder in folders for link in folder.iterdir() if link.is_symlink()]
    return sum(link.startswith("socket:") for link in links)


def test_stuck_connections_of_every_state_are_closed_in_time(server: ServerProcess) -> None:
    """Ten of each beside honest requests; benchmarks/connections.py does it with ten thousand.

    A client that does not read does not see the end behind the bytes in its buffer: the server's descriptors count.
    """
    rows: dict[str, dict[str, float]] = {}
    before = num_sockets(server)

    def attack(state: str) -> None:
        rows[state] = connections.attack(server.port, state, 10, wait_s=connections.CLOSED_WITHIN_S)

    threads = [threading.Thread(target=attack, args=(state,)) for state in connections.STUCK]
    for thread in threads:
        thread.start()
    statuses = set()
    while any(thread.is_alive() for thread in threads):
        statuses.add(request(server.port, "POST", "/v1/recommend", KEYS["serve"], {"k": 1}))
        time.sleep(0.1)
    assert statuses == {200}
    open_states = {state for state, row in rows.items() if row["still_open"]}
    assert open_states <= {"does not read", "does not read refusals"}
    assert num_sockets(server) <= before + 1, "beside the last honest connection"


def test_hostile_bytes_of_every_shape_leave_the_server_well(server: ServerProcess) -> None:
    for key in (b"", f"Authorization: Bearer {KEYS['api']}\r\n".encode()):
        for shape, sent in connections.shapes(random.Random(1), key).items():
            answer = connections.talk(server.port, sent[:20_000], timeout_s=0.02)
            assert b"HTTP/1.1 500" not in answer, shape
    assert request(server.port, "POST", "/v1/recommend", KEYS["serve"], {"k": 1}) == 200


def test_random_walks_over_roles_and_endpoints(server: ServerProcess) -> None:
    """Every endpoint with every key, in a random order, by every process: no answer depends on what came before."""
    rng = random.Random(0)
    endpoints = sorted(set().union(*ALLOWED.values()))
    steps = [(role, *endpoint) for role in (None, "wrong", *ROLES) for endpoint in endpoints] * 3
    rng.shuffle(steps)
    for role, method, path in steps:
        key = None if role is None else KEYS.get(role, "wrong-key-0123456789")
        body = BODIES.get(path, {}) if method == "POST" else None
        status = request(server.port, method, path, key, body)
        if role not in ROLES:
            assert status == 401, (role, method, path)
        elif role == "api" or (method, path) in ALLOWED[role]:
            assert status not in (401, 403), (role, method, path, status)
        else:
            assert status == 403, (role, method, path, status)
    event = {"user_id": "u", "event": {"item_id": "a"}}
    assert request(server.port, "POST", "/v1/recommend", KEYS["serve"], event) == 403
    assert not [role for role, key in KEYS.items() if key in server.output]
