"""What the serving tests share: a small fitted model on disk, events, stores, and real servers that always end."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from segue.data.catalog import Catalog
from segue.data.evaluation_cases import EvaluationCases, Split
from segue.data.sequences import Sequences
from segue.models import artifact
from segue.models.zoo import ZOO, ClassicEntry
from segue.serving.client.client import Client
from segue.serving.config import ServingConfig
from segue.serving.deployment.reloader import model_source
from segue.serving.http.app import build_app
from segue.serving.http.handlers import AppState
from segue.serving.schemas.requests import EventIn
from segue.serving.server import open_services
from segue.serving.store.event import Event, validate_event
from segue.serving.store.event_store import EventStore
from segue.workflows.fit_model import fit_model

ITEMS = 12
PROGRAM = "import os, sys, pathlib; from segue.serving.server import serve; run, data, port = sys.argv[1:]; "
PROGRAM += "from segue.serving.config import ServingConfig; "
PROGRAM += "config = ServingConfig(workers=int(os.environ.get('WORKERS', '1'))); "
PROGRAM += "serve(pathlib.Path(run), data_dir=pathlib.Path(data), port=int(port), config=config)"


@pytest.fixture(scope="session")
def ring() -> Sequences:
    """Everybody walks a ring of twelve items, a to l, from some place on; a is the most popular one."""
    rng = np.random.default_rng(3)
    walks = [[(start + step) % ITEMS + 1 for step in range(8)] for start in rng.integers(0, ITEMS, 60).tolist()]
    return Sequences.from_lists([*walks, *[[12, 1, 2]] * 20])


def save_model(folder: Path, name: str, sequences: Sequences, size: int = ITEMS) -> Path:
    """Fits a model, a network only for a moment, and writes its artifact."""
    catalog = Catalog("abcdefghijkl" if size == ITEMS else [f"i{i}" for i in range(size)])
    quick = {} if isinstance(ZOO[name], ClassicEntry) else {"epochs": 1, "embedding_dim": 8}
    fitted = fit_model(name, split_of(sequences, catalog), quick)
    items = {"a": {"title": "The first"}, "b": {"price": 3}}
    about = {"exclude_seen": True}
    artifact.save(artifact.Artifact(name, fitted.settings, catalog, fitted.scorer.arrays(), items, about), folder)
    return folder


def split_of(sequences: Sequences, catalog: Catalog) -> Split:
    """Everything is training data; the last item of each row is asked once more where a network wants validation."""
    targets = sequences.items[sequences.stops - 1]
    cases = EvaluationCases(sequences.prefixes([-1] * len(sequences)), targets, np.arange(len(targets)), None, {})
    return Split("none", catalog, sequences, cases, sequences, cases, True, "", "")


@pytest.fixture(scope="session")
def save() -> Callable[..., Path]:
    return save_model


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory, ring: Sequences) -> Path:
    """A Markov chain on the ring."""
    return save_model(tmp_path_factory.mktemp("model") / "markov", "markov", ring)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EventStore]:
    opened = EventStore(tmp_path / "events.sqlite")
    yield opened
    opened.close()


def make_event(item: str = "a", user: str | None = "ann", *, now_us: int = 1_000_000_000, **fields: object) -> Event:
    """An accepted event; timestamp, event_id and the rest by name."""
    return validate_event(EventIn(item_id=item, user_id=user, **fields), now_us)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def event() -> Callable[..., Event]:
    return make_event


class RunningServer:
    """A real server in a process of its own."""

    def __init__(self, run: Path, data_dir: Path, port: int, env: dict[str, str]) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(run), str(data_dir), str(port)],
            env={**os.environ, "OMP_NUM_THREADS": "1", **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self.process.stdout is not None
        self.said = self.process.stdout.readline()

    def client(self, **options: object) -> Client:
        """A client, once the port answers."""
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", int(self.url.rpartition(":")[2])), timeout=1).close()
                return Client(self.url, **options)  # type: ignore[arg-type]
            except OSError:
                time.sleep(0.02)
        raise AssertionError(f"The server does not answer: {self.said}")

    def end(self, number: int = signal.SIGTERM, timeout_s: float = 15) -> int:
        """Sends a signal and returns the exit code; what was printed meanwhile is added to ``said``."""
        self.process.send_signal(number)
        out, _ = self.process.communicate(timeout=timeout_s)
        self.said += out
        return self.process.returncode


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def start(tmp_path: Path, run: Path) -> Iterator[Callable[..., RunningServer]]:
    """Starts servers on free loopback ports; whatever still runs at the end is killed, by its own number."""
    running: list[RunningServer] = []

    def starter(model: Path = run, data: str = "data", **env: str) -> RunningServer:
        running.append(RunningServer(model, tmp_path / data, free_port(), env))
        return running[-1]

    yield starter
    for one in running:
        if one.process.poll() is None:
            one.process.kill()
        one.process.communicate(timeout=15)


class Shop:
    """A whole server without a socket: its parts, and a web client."""

    def __init__(self, folder: Path, run: Path, stack: ExitStack) -> None:
        self.folder = folder
        self.said: list[str] = []
        folder.mkdir(exist_ok=True)
        config = ServingConfig(reload_interval_s=60)
        self.office = open_services(folder, model_source(run), None, config, self.said.append, stack)
        self.door = AppState(self.office.router, admin=self.office)
        self.web = stack.enter_context(TestClient(build_app(self.door), raise_server_exceptions=False))

    def bytes_with(self, text: str) -> list[str]:
        """Files of the data directory that hold a text anywhere."""
        files = [path for path in self.folder.rglob("*") if path.is_file()]
        return [path.name for path in files if text.encode() in path.read_bytes()]


@contextmanager
def opened(folder: Path, run: Path) -> Iterator[Shop]:
    """A shop on a data directory, new or old, and its end."""
    with ExitStack() as stack:
        yield Shop(folder, run, stack)


@pytest.fixture(scope="session")
def open_shop() -> Callable[..., Any]:
    return opened


@pytest.fixture
def shop(tmp_path: Path, run: Path) -> Iterator[Shop]:
    with opened(tmp_path / "shop", run) as one:
        yield one
