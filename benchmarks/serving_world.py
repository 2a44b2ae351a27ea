"""Random models, servers, load and disk speed, for benchmarks/serving.py and others."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from machine import ROOT
from segue.data.catalog import Catalog
from segue.data.sequences import Sequences
from segue.models import artifact
from segue.models.counting.popularity import Popularity

SERVER = """
import sys, pathlib
from segue.serving.config import EngineConfig, ServingConfig, SessionsConfig
from segue.serving.server import serve
run, data, port, durability, keys, workers, approximate = sys.argv[1:]
engine = EngineConfig(durability=durability, sessions=SessionsConfig(max_histories=int(keys)))
config = ServingConfig(engine=engine, workers=int(workers), approximate=approximate == "True")
serve(pathlib.Path(run), data_dir=pathlib.Path(data), port=int(port), config=config)
"""


def model(name: str, items: int, folder: Path, dim: int = 64, seed: int = 0) -> Path:
    """Save a network with random weights, as fast and as large as a trained one, and return its folder.

    Args:
        name: name of the model.
        items: number of items.
        folder: folder of the models.
        dim: embedding dimension.
        seed: seed of the weights.
    """
    path = folder / (f"{name}-{items}" if seed == 0 else f"{name}-{items}-{seed}")
    if (path / "manifest.json").exists():
        return path
    from segue.models.zoo import ZOO
    from segue.training.build_net import build_net
    from segue.training.export import export_scorer

    config = ZOO[name].config(embedding_dim=dim, spectral_init=False)
    net = build_net(config, Sequences.from_lists([]), items + 1, seed)
    scorer = export_scorer(name, net, np.random.default_rng(seed).integers(0, 1000, items + 1))
    catalog = Catalog(f"item-{n}" for n in range(items))
    artifact.save(artifact.Artifact(name, asdict(config), catalog, scorer.arrays(), {}, {"exclude_seen": True}), path)
    return path


def popularity_model(folder: Path, items: int = 1000) -> Path:
    """Save a popularity model, whose responses take hardly any time to score, and return its folder."""
    path = folder / "popularity"
    counts = np.arange(items + 1, dtype=np.float32)
    catalog = Catalog(f"item-{n}" for n in range(items))
    about = {"exclude_seen": True}
    artifact.save(artifact.Artifact("popularity", {}, catalog, Popularity(counts).arrays(), {}, about), path)
    return path


def free_port() -> int:
    """Return a free port of the loopback address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """Server in a process of its own; ``started_s`` is the time from its start to its first response."""

    def __init__(self, command: list[str], port: int, **env: str) -> None:
        self.port = port
        started = time.perf_counter()
        threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self.process = subprocess.Popen(command, env={**os.environ, **threads, **env}, stderr=subprocess.DEVNULL)
        self.started_s = self._wait(started)

    def _wait(self, started: float) -> float:
        while time.perf_counter() - started < 120:
            if self.process.poll() is not None:
                raise RuntimeError(f"The server ended with {self.process.returncode}: {self.process.args!r}.")
            if post(self.port, "/v1/recommend", {"history": [], "k": 1}) is not None:
                return round(time.perf_counter() - started, 2)
            time.sleep(0.01)
        raise RuntimeError("The server does not respond.")

    def rss_mb(self) -> float:
        """Return the resident memory in MB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return round(int(status.split("VmRSS:")[1].split()[0]) / 1024, 1)

    def cpu_s(self) -> float:
        """Return the processor seconds so far, with those of the workers."""
        ticks = 0
        for pid in [self.process.pid, *self.worker_pids()]:
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def worker_pids(self) -> list[int]:
        """Return the process ids of the workers."""
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        return [int(pid) for children in tasks for pid in children.read_text(encoding="ascii").split()]

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, wait, and return the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(60)


def post(port: int, path: str, body: Any, *, timeout_s: float = 10.0) -> dict[str, Any] | None:
    """Send one request on a new connection and return its response; None without a response of status 200.

    Args:
        port: port of the server.
        path: path of the endpoint.
        body: plain values.
        timeout_s: timeout in seconds.
    """
    text = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nConnection: close\r\n"
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=timeout_s) as connection:
            connection.sendall(head.encode() + f"Content-Length: {len(text)}\r\n\r\n".encode() + text)
            received = b""
            while part := connection.recv(65536):
                received += part
    except OSError:
        return None
    body_bytes = received.partition(b"\r\n\r\n")[2]
    return json.loads(body_bytes) if received.startswith(b"HTTP/1.1 200") else None


def start(
    run: Path,
    data: Path,
    *,
    durability: str = "fsync",
    keys: int = 100_000,
    port: int = 0,
    workers: int = 1,
    approximate: bool = False,
) -> Server:
    """Start Segue's server.

    Args:
        run: model folder or registry.
        data: data directory.
        durability: default durability.
        keys: number of cached histories.
        port: port; 0: a free one.
        workers: number of processes.
        approximate: search by product quantization.
    """
    port = port or free_port()
    arguments = [str(run), str(data), str(port), durability, str(keys), str(workers), str(approximate)]
    return Server([sys.executable, "-c", SERVER, *arguments], port)


@contextmanager
def serving(run: Path, data: Path, **options: Any) -> Iterator[Server]:
    """Run a server until the block ends. See ``start``."""
    server = start(run, data, **options)
    try:
        yield server
    finally:
        server.end()


def load_process(job: dict[str, Any]) -> "subprocess.Popen[str]":
    """Start the load generator; it prints its result."""
    command = [sys.executable, str(ROOT / "benchmarks" / "load.py")]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    process.stdin.write(json.dumps(job))
    process.stdin.close()
    process.stdin = None
    return process


def load(server: Server, kind: str, rate: float | None, seconds: float, **job: Any) -> dict[str, Any]:
    """Run the load generator and return its result, with the server's processor time per response.

    Args:
        server: the server.
        kind: history, user, event or events.
        rate: requests per second; None: a closed loop.
        seconds: duration of the measurement.
        job: other values of the job.
    """
    base = {"connections": 64, "users": 20_000, "warm_s": 1.0}
    full = {**base, "ports": [server.port], "kind": kind, "rate": rate, "seconds": seconds, **job}
    before = server.cpu_s()
    out, _ = load_process(full).communicate(timeout=seconds + 90)
    result: dict[str, Any] = json.loads(out)
    responses = sum(result["statuses"].values()) * (1 + full["warm_s"] / seconds)
    result["server_cpu_ms_per_response"] = round((server.cpu_s() - before) * 1e3 / max(1, responses), 3)
    return result


def fsync_ms(folder: Path, count: int = 200) -> dict[str, float]:
    """Measure the disk's time to store 4 KiB in a folder, in milliseconds.

    Args:
        folder: folder of the events.
        count: number of writes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path, times = folder / "fsync-probe", []
    with path.open("wb", buffering=0) as file:
        for _ in range(count):
            file.write(os.urandom(4096))
            started = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append((time.perf_counter() - started) * 1e3)
    path.unlink()
    times.sort()
    return {"p50_ms": round(times[count // 2], 2), "p99_ms": round(times[int(count * 0.99)], 2)}
