"""Ids of a user and keys, followed through every endpoint: none reaches a log, a metric or an error, and after the
erasure none is on disk."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import pytest
from tests.serving.conftest import free_port
from tests.support import power_cut_workloads

pytestmark = pytest.mark.timeout(400)

USER = "canary-user-5d1e77"
SESSION = "canary-session-9b02c4"
KEY = "canary-key-of-the-server-0f3a"
WRONG_KEY = "canary-wrong-key-77aa01"
CANARIES = (USER, SESSION, KEY, WRONG_KEY)
PROGRAM = """
import sys
from pathlib import Path
from segue.serving.config import AccessConfig, LoggingConfig, ServingConfig
from segue.serving.server import serve
run, data, port, as_json = sys.argv[1:]
logs = LoggingConfig(requests=True, as_json=as_json == "json")
config = ServingConfig(logs=logs, access=AccessConfig(show_demo=True))
serve(Path(run), data_dir=Path(data), port=int(port), config=config)
"""
JSON_TYPE = {"Content-Type": "application/json"}
BODIES = [
    {"user_id": USER, "item_id": "a"},
    {"user_id": USER, "session_id": SESSION, "item_id": "b", "event_id": "1"},
    {"session_id": SESSION, "item_id": "c"},
    {"events": [{"user_id": USER, "item_id": "a"}, {"user_id": USER, "item_id": "d", "session_id": SESSION}]},
    {"user_id": USER, "k": 3},
    {"user_id": USER, "k": 3, "event": {"item_id": "d", "session_id": SESSION}},
    {"session_id": SESSION, "k": 2, "exclude": ["a"]},
    {"user_id": USER, "steps": 2},
    {"user_id": USER, "item_id": 5},
    {"user_id": [USER], "item_id": "a"},
    {"user_id": USER + "\x00", "item_id": "a"},
    {"user_id": USER * 100, "item_id": "a"},
    {"user_id": USER, "item_id": "other", "session_id": SESSION, "event_id": "1"},
    {"user_id": USER, "k": 100_000},
]
"""Bodies whose ids stand in the fields of ids, the last ones with another mistake."""
ODD_BODIES = [
    {"user_id": USER, "item_id": "a", USER: SESSION},
    {"user_id": USER, "item_id": "a", "timestamp": SESSION},
    {"user_id": USER, "filter": f"user == '{USER}'"},
    {"version": USER},
    [USER, SESSION],
    USER,
]
"""Bodies whose ids stand in other places, which an answer to their sender may repeat."""
RAW = [
    b'{"user_id": "' + USER.encode(),
    b'{"user_id": "' + USER.encode() + b'\xff"}',
    USER.encode() + b"\x00" * 9,
    b"[" * 2000 + USER.encode(),
]


@dataclass
class Running:
    """A server in a process of its own, and its refusals."""

    process: "subprocess.Popen[bytes]"
    port: int
    shown: list[tuple[str, int, bytes]] = field(default_factory=list)
    """Refusals that show an id or a key."""
    may_be_shown: tuple[str, ...] = ()
    statuses: set[int] = field(default_factory=set)

    def send(self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None) -> bytes:
        """Send a request and return the answer; note a refusal that shows more than its sender put into odd places."""
        content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            authorization = {"Authorization": f"Bearer {KEY}"}
            connection.request(method, path, content, {**JSON_TYPE, **authorization, **(headers or {})})
            answer = connection.getresponse()
            told = answer.read() + str(answer.headers).encode()
        finally:
            connection.close()
        self.statuses.add(answer.status)
        allowed = (USER, SESSION) if "canary" in path else self.may_be_shown
        if answer.status >= 400 and any(one.encode() in told for one in CANARIES if one not in allowed):
            self.shown.append((f"{method} {path} {content!r:.80}", answer.status, told))
        return told


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("canary")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(power_cut_workloads.MODELS, "")
        power_cut_workloads.save_models(folder / "models")
        yield folder


def started(folder: Path, log_format: str) -> Running:
    port = free_port()
    arguments = [str(folder / "models" / "a"), str(folder / "data"), str(port), log_format]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "SEGUE_API_KEY": KEY}
    with (folder / "printed").open("ab") as printed:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *arguments], stdout=printed, stderr=printed, env=environment
        )
    running = Running(process, port)
    for _ in range(600):
        try:
            running.send("GET", "/health/ready")
            return running
        except OSError:
            assert process.poll() is None, (folder / "printed").read_text()
            time.sleep(0.05)
    raise AssertionError((folder / "printed").read_text())


def everything(server: Running, *, only: str = "") -> None:
    """Send the canaries to every endpoint: in bodies, paths, queries, headers and keys, sound and malformed."""
    described = json.JSONDecoder().raw_decode(server.send("GET", "/openapi.json").decode())[0]["paths"]
    endpoints = [(method.upper(), path) for path, methods in described.items() for method in methods]
    assert len(endpoints) > 10
    endpoints = [one for one in endpoints if only in one[1]]
    for method, described_path in endpoints:
        path = re.sub(r"\{\w+\}", quote(USER), described_path)
        if method == "DELETE":
            continue
        if method == "GET":
            server.send("GET", path)
            server.send("GET", f"{path}?days={USER}&after={SESSION}&limit={USER}")
        else:
            for body in BODIES:
                server.send(method, described_path, body)
            server.may_be_shown = (USER, SESSION)
            for body in [*ODD_BODIES, *RAW]:
                server.send(method, path, body)
        server.may_be_shown = (USER, SESSION)
        for headers in (
            {"Authorization": f"Bearer {WRONG_KEY}"},
            {"Authorization": f"Basic {WRONG_KEY}"},
            {"Authorization": WRONG_KEY},
            {"Content-Type": f"text/{USER}"},
            {"X-Request-Id": USER, "traceparent": f"00-{SESSION}-01", "User-Agent": USER, "Cookie": f"id={SESSION}"},
            {"Host": f"{USER}.example"},
            {"Origin": f"https://{USER}.example"},
            {"Expect": USER},
        ):
            server.send(method, path, BODIES[0], headers)
        server.may_be_shown = ()
        server.send("PATCH", path, BODIES[0])
        server.send(method, f"{path}/{SESSION}%ff", BODIES[0])
    server.send("GET", f"/{USER}/{SESSION}")
    server.send("GET", "/", None, {"If-None-Match": USER})


def test_an_id_of_a_user_reaches_no_log_no_metric_and_no_error(folder: Path) -> None:
    printed = folder / "printed"
    for log_format in ("json", "text"):
        server = started(folder, log_format)
        try:
            everything(server, only="" if log_format == "json" else "recommend")
            assert server.statuses >= {200, 400, 401, 404, 405, 422} | ({409} if log_format == "json" else set())
            metrics = server.send("GET", "/metrics")
            assert b"segue" in metrics and not [canary for canary in CANARIES if canary.encode() in metrics]
            assert not server.shown, server.shown[:3]
            server.process.send_signal(signal.SIGTERM)
            server.process.wait(30)
        finally:
            server.process.kill()
            server.process.wait(30)
        text = printed.read_bytes()
        assert b"recommend" in text, "requests are logged"
        assert not [canary for canary in CANARIES if canary.encode() in text]


def files_with(folder: Path, *canaries: str) -> list[str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [path.name for path in files for canary in canaries if canary.encode() in path.read_bytes()]


def test_after_an_erasure_no_byte_of_the_user_is_on_disk(folder: Path) -> None:
    server = started(folder, "text")
    try:
        for body in BODIES[:8]:
            server.send("POST", "/v1/events", body)
            server.send("POST", "/v1/recommend", body)
        assert set(files_with(folder, USER, SESSION)) <= {"events.sqlite", "events.sqlite-wal"}
        assert files_with(folder, USER)
        assert not files_with(folder, KEY, WRONG_KEY)
        receipt = json.JSONDecoder().raw_decode(server.send("DELETE", f"/v1/users/{USER}").decode())[0]
        assert receipt["events"] > 0
        # The session of the user goes with him; both are gone while the server runs.
        assert not files_with(folder, USER, SESSION)
        assert json.loads(server.send("GET", f"/v1/users/{USER}").partition(b"}")[0] + b"}")["status"] == 404
        os.kill(server.process.pid, signal.SIGKILL)
        server.process.wait(30)
        assert not files_with(folder, USER, SESSION)
    finally:
        server.process.kill()
        server.process.wait(30)
    again = started(folder, "text")
    again.process.terminate()
    again.process.wait(30)
    assert not files_with(folder, USER, SESSION)
