"""A server under input without end: ever new users, items, sessions, event types, sources, placements and paths.

Its caches are set small, so that they are full after a part of the input: what still grows afterwards grows for ever.
"""

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw
from tests.serving.conftest import free_port

KEY = "key-of-the-growth-measurement"
MAX_LISTS = 1000
MAX_HISTORIES = 500
MAX_LENGTH = 50
BATCH = 2000
PROGRAM = f"""
import sys
from pathlib import Path
from segue.serving.config import AttributionConfig, EngineConfig, ServingConfig, SessionsConfig
from segue.serving.server import serve
run, data, port = sys.argv[1:]
sessions = SessionsConfig(max_length={MAX_LENGTH}, max_histories={MAX_HISTORIES})
attribution = AttributionConfig(max_lists={MAX_LISTS}, queue_size=5000)
config = ServingConfig(engine=EngineConfig(sessions=sessions), attribution=attribution)
serve(Path(run), data_dir=Path(data), port=int(port), config=config)
"""


@dataclass
class Grown:
    """A running server, its process and what it prints."""

    process: "subprocess.Popen[bytes]"
    port: int
    data: Path
    printed: Path

    def __post_init__(self) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def send(self, method: str, path: str, body: Any = None, key: str = KEY) -> tuple[int, bytes]:
        """Send a request and return the status and the body of the answer."""
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
        content = None if body is None else json.dumps(body).encode()
        try:
            self._connection.request(method, path, content, headers)
            answer = self._connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()
            raise

    def memory_mb(self) -> float:
        """Return the resident memory of the process in MB."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) * 1024 / 1e6

    def descriptors(self) -> int:
        """Return the number of open files of the process."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def series(self) -> int:
        """Return the number of metric series."""
        lines = self.send("GET", "/metrics")[1].decode().splitlines()
        return sum(not line.startswith("#") for line in lines)

    def gauge(self, name: str) -> float:
        """Return the value of a metric without labels."""
        lines = self.send("GET", "/metrics")[1].decode().splitlines()
        return float(next(line for line in lines if line.startswith(f"{name} ")).split()[1])

    def rows(self, table: str) -> int:
        """Return the number of rows in a table of the attribution file."""
        connection = apsw.Connection(str(self.data / "attribution.sqlite"), flags=apsw.SQLITE_OPEN_READONLY)
        count = connection.execute(f"SELECT count(*) FROM {table}").get
        connection.close()
        return int(count)

    def state(self) -> dict[str, float]:
        """Return the sizes that must be bounded."""
        return {
            "memory_mb": round(self.memory_mb(), 1),
            "descriptors": self.descriptors(),
            "series": self.series(),
            "log_bytes": self.printed.stat().st_size,
        }


@contextmanager
def growing(folder: Path, run: Path) -> Iterator[Grown]:
    """Start a server, and end it afterwards.

    Args:
        folder: folder for its data.
        run: the model.
    """
    port, printed = free_port(), folder / "printed"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "SEGUE_API_KEY": KEY}
    with printed.open("wb") as out:
        command = [sys.executable, "-c", PROGRAM, str(run), str(folder / "data"), str(port)]
        process = subprocess.Popen(command, stdout=out, stderr=out, env=environment)
    server = Grown(process, port, folder / "data", printed)
    try:
        while True:
            try:
                server.send("GET", "/health/ready")
                break
            except OSError:
                assert process.poll() is None, printed.read_text()
                time.sleep(0.05)
        yield server
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(60)


def feed(server: Grown, first: int, events: int, lists: int) -> None:
    """Send events of ever new users, items, sessions, types and sources, then requests for lists.

    Args:
        server: the server.
        first: number of the first user.
        events: number of events; half as many go to one session on top.
        lists: number of lists for new users, and as many for one user.
    """
    for start in range(first, first + events, BATCH):
        batch = [
            {
                "user_id": f"user-{n}",
                "session_id": f"session-{n}",
                "item_id": f"item-{n}",
                "event": f"type-{n}",
                "source": f"source-{n}",
            }
            for n in range(start, min(start + BATCH, first + events))
        ]
        _sent(server, "/v1/events", {"events": batch})
        one = [{"session_id": "the one session", "item_id": "abcdefghijkl"[n % 12]} for n in range(len(batch) // 2)]
        _sent(server, "/v1/events", {"events": one})
    for n in range(first, first + lists):
        _sent(server, "/v1/recommend", {"user_id": f"user-{n}", "k": 3, "placement": f"placement-{n}"})
        event = {"item_id": "a", "event": "click", "context": {f"key-{n}": n}}
        _sent(server, "/v1/recommend", {"user_id": "the one user", "k": 3, "event": event})
        if n % 10 == 0:
            _sent(server, "/v1/recommend", {"session_id": "the one session", "k": 3})
            server.send("GET", f"/unknown/{n}")
            server.send("POST", f"/v1/users/user-{n}/more")
            server.send("GET", f"/v1/items/item-{n}")
            server.send(f"METHOD{n % 1000}", "/v1/recommend")
            server.send("GET", "/v1/items", key=f"wrong-key-of-nobody-{n}")
            server.send("POST", "/v1/recommend", {"user_id": f"user-{n}", "k": 3, f"field-{n}": n})


def _sent(server: Grown, path: str, body: Any) -> None:
    while True:
        status, answer = server.send("POST", path, body)
        if status == 200:
            return
        assert status in (429, 503), answer  # busy or too fast: wait, as the answer asks for
        time.sleep(0.05)
