"""Shared fixtures of the serving tests: fitted models on disk, events, stores, and servers in and out of process."""

import os
import shutil
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
from tests.support.artifact_cache import ArtifactCache, data_key
from tests.support.live_server import live_client

from segue.data.catalog import Catalog
from segue.data.evaluation_cases import EvaluationCases, Split
from segue.data.sequences import Sequences
from segue.models import artifact
from segue.models.zoo import ZOO, ClassicEntry
from segue.serving.client.client import Client
from segue.serving.config import ServingConfig
from segue.serving.deployment.model_source import model_source
from segue.serving.http.app import App
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
    """Histories that walk a ring of twelve items, a to l; a is the most popular item."""
    rng = np.random.default_rng(3)
    walks = [[(start + step) % ITEMS + 1 for step in range(8)] for start in rng.integers(0, ITEMS, 60).tolist()]
    return Sequences.from_lists([*walks, *[[12, 1, 2]] * 20])


@pytest.fixture(scope="session")
def replay_items() -> int:
    """Number of items in the catalog of ``replay_log``."""
    return 60


@pytest.fixture(scope="session")
def replay_log(replay_items: int) -> Sequences:
    """Random histories with popular and rare items, on which every model is trained once per test run."""
    rng = np.random.default_rng(11)
    return Sequences.from_lists([rng.zipf(1.4, 9).clip(1, replay_items).tolist() for _ in range(200)])


def save_model(folder: Path, name: str, sequences: Sequences, size: int = ITEMS) -> Path:
    """Fit a model, a network for one epoch only, and write its artifact."""
    catalog = Catalog("abcdefghijkl" if size == ITEMS else [f"i{i}" for i in range(size)])
    small = {} if isinstance(ZOO[name], ClassicEntry) else {"epochs": 1, "embedding_dim": 8}
    fitted = fit_model(name, split_of(sequences, catalog), small)
    items = {"a": {"title": "The first"}, "b": {"price": 3}}
    about = {"exclude_seen": True}
    artifact.save(artifact.Artifact(name, fitted.settings, catalog, fitted.scorer.arrays(), items, about), folder)
    return folder


def split_of(sequences: Sequences, catalog: Catalog) -> Split:
    """Return a split with all sequences for training, and their last items as validation targets."""
    targets = sequences.items[sequences.stops - 1]
    cases = EvaluationCases(sequences.prefixes([-1] * len(sequences)), targets, np.arange(len(targets)), None, {})
    return Split("none", catalog, sequences, cases, sequences, cases, True, "", "")


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> ArtifactCache:
    """Cache of trained artifacts for the whole test run."""
    return ArtifactCache.for_session(tmp_path_factory)


@pytest.fixture(scope="session")
def save(artifacts: ArtifactCache) -> Callable[..., Path]:
    """Write the artifact of a model to a folder: a copy of the one that is fitted once per test run."""

    def copy(folder: Path, name: str, sequences: Sequences, size: int = ITEMS) -> Path:
        key = f"served {name} {size} {data_key(sequences)}"
        made = artifacts.get(key, lambda partial: save_model(partial, name, sequences, size))
        shutil.rmtree(folder, ignore_errors=True)
        return Path(shutil.copytree(made, folder))

    return copy


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory, save: Callable[..., Path], ring: Sequences) -> Path:
    """Artifact of a Markov chain on the ring."""
    return save(tmp_path_factory.mktemp("model") / "markov", "markov", ring)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EventStore]:
    opened = EventStore(tmp_path / "events.sqlite")
    yield opened
    opened.close()


def make_event(item: str = "a", user: str | None = "ann", *, now_us: int = 1_000_000_000, **fields: object) -> Event:
    """Return a validated event; timestamp, event_id and the rest by name."""
    return validate_event(EventIn(item_id=item, user_id=user, **fields), now_us)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def event() -> Callable[..., Event]:
    return make_event


class RunningServer:
    """A server in a process of its own."""

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
        self.output = self.process.stdout.readline()

    def client(self, **options: object) -> Client:
        """Return a client, once the port accepts connections."""
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", int(self.url.rpartition(":")[2])), timeout=1).close()
                return Client(self.url, **options)  # type: ignore[arg-type]
            except OSError:
                time.sleep(0.02)
        raise AssertionError(f"The server does not respond: {self.output}")

    def end(self, number: int = signal.SIGTERM, timeout_s: float = 15) -> int:
        """Send a signal and return the exit code; the text printed meanwhile is added to ``output``."""
        self.process.send_signal(number)
        out, _ = self.process.communicate(timeout=timeout_s)
        self.output += out
        return self.process.returncode


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def launch() -> Callable[..., RunningServer]:
    """Start a server that the caller ends: ``launch(run, data_dir, **environment)``."""
    return lambda run, data_dir, **env: RunningServer(run, data_dir, free_port(), env)


@pytest.fixture
def start(tmp_path: Path, run: Path) -> Iterator[Callable[..., RunningServer]]:
    """Start servers on free loopback ports; those that still run at the end are killed, by their own process number."""
    running: list[RunningServer] = []

    def starter(model: Path = run, data: str = "data", **env: str) -> RunningServer:
        running.append(RunningServer(model, tmp_path / data, free_port(), env))
        return running[-1]

    yield starter
    for server in running:
        if server.process.poll() is None:
            server.process.kill()
        server.process.communicate(timeout=15)


class InProcessServer:
    """All parts of a server in this process, and an HTTP client of it."""

    def __init__(self, folder: Path, run: Path, stack: ExitStack) -> None:
        self.folder = folder
        self.messages: list[str] = []
        folder.mkdir(exist_ok=True)
        config = ServingConfig(reload_interval_s=60)
        self.admin = open_services(folder, model_source(run), config, self.messages.append, stack)
        self.state = AppState(self.admin.router, admin=self.admin)
        self.state.loop_lag.limit_ms = 10_000  # a slow test machine is no overload
        self.web = stack.enter_context(live_client(App(self.state)))

    def bytes_with(self, text: str) -> list[str]:
        """Return the files of the data directory that contain a text."""
        files = [path for path in self.folder.rglob("*") if path.is_file()]
        return [path.name for path in files if text.encode() in path.read_bytes()]


@contextmanager
def opened(folder: Path, run: Path) -> Iterator[InProcessServer]:
    """Open a server on a data directory, new or existing, and close it."""
    with ExitStack() as stack:
        yield InProcessServer(folder, run, stack)


@pytest.fixture(scope="session")
def open_server() -> Callable[..., Any]:
    return opened


@pytest.fixture
def server(tmp_path: Path, run: Path) -> Iterator[InProcessServer]:
    with opened(tmp_path / "server", run) as running:
        yield running
