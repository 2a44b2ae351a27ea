"""What the parts of benchmarks/serving.py share: random models, servers, load, the disk's own speed."""

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
    """A network with random weights as an artifact: as fast as a trained one, and as large."""
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


def hardly_a_model(folder: Path, items: int = 1000) -> Path:
    """The same popular list for everybody: what is left of an answer's time is not the model's."""
    path = folder / "popularity"
    counts = np.arange(items + 1, dtype=np.float32)
    catalog = Catalog(f"item-{n}" for n in range(items))
    about = {"exclude_seen": True}
    artifact.save(artifact.Artifact("popularity", {}, catalog, Popularity(counts).arrays(), {}, about), path)
    return path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """A server in a process of its own; ``started_s`` is the time from its start to its first answer."""

    def __init__(self, command: list[str], port: int, **env: str) -> None:
        self.port = port
        started = time.perf_counter()
        threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self.process = subprocess.Popen(command, env={**os.environ, **threads, **env}, stderr=subprocess.DEVNULL)
        self.started_s = self._wait(started)

    def _wait(self, started: float) -> float:
        while time.perf_counter() - started < 120:
            if self.process.poll() is not None:
                raise RuntimeError(f"The server ended with {self.process.returncode}: {self.process.args}.")
            if ask(self.port, "/v1/recommend", {"history": [], "k": 1}) is not None:
                return round(time.perf_counter() - started, 2)
            time.sleep(0.01)
        raise RuntimeError("The server does not answer.")

    def rss_mb(self) -> float:
        """Resident memory now."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return round(int(status.split("VmRSS:")[1].split()[0]) / 1024, 1)

    def cpu_s(self) -> float:
        """Processor seconds so far, those of its other processes among them."""
        ticks = 0
        for pid in [self.process.pid, *self.branches()]:
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def branches(self) -> list[int]:
        """The numbers of its other processes."""
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        return [int(one) for children in tasks for one in children.read_text(encoding="ascii").split()]

    def end(self, number: int = signal.SIGTERM) -> int:
        """Sends a signal and waits."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(60)


def ask(port: int, path: str, body: Any, *, timeout_s: float = 10.0) -> dict[str, Any] | None:
    """One request on a connection of its own; nothing where there is no good answer."""
    text = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nConnection: close\r\n"
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=timeout_s) as connection:
            connection.sendall(head.encode() + f"Content-Length: {len(text)}\r\n\r\n".encode() + text)
            got = b""
            while part := connection.recv(65536):
                got += part
    except OSError:
        return None
    answer = got.partition(b"\r\n\r\n")[2]
    return json.loads(answer) if got.startswith(b"HTTP/1.1 200") else None


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
    """Segue's own server."""
    port = port or free_port()
    told = [str(run), str(data), str(port), durability, str(keys), str(workers), str(approximate)]
    return Server([sys.executable, "-c", SERVER, *told], port)


@contextmanager
def serving(run: Path, data: Path, **options: Any) -> Iterator[Server]:
    """A server for the length of a block."""
    server = start(run, data, **options)
    try:
        yield server
    finally:
        server.end()


def load_process(job: dict[str, Any]) -> "subprocess.Popen[str]":
    """The generator, at work; its result is what it prints."""
    command = [sys.executable, str(ROOT / "benchmarks" / "load.py")]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    process.stdin.write(json.dumps(job))
    process.stdin.close()
    process.stdin = None
    return process


def load(server: Server, kind: str, rate: float | None, seconds: float, **job: Any) -> dict[str, Any]:
    """One measurement; also the processor time of the server for each answer."""
    base = {"connections": 64, "people": 20_000, "warm_s": 1.0}
    full = {**base, "ports": [server.port], "kind": kind, "rate": rate, "seconds": seconds, **job}
    before = server.cpu_s()
    out, _ = load_process(full).communicate(timeout=seconds + 90)
    result: dict[str, Any] = json.loads(out)
    answered = sum(result["statuses"].values()) * (1 + full["warm_s"] / seconds)
    result["server_cpu_ms_per_answer"] = round((server.cpu_s() - before) * 1e3 / max(1, answered), 3)
    return result


def fsync_ms(folder: Path, count: int = 200) -> dict[str, float]:
    """What the disk itself takes to keep 4 KiB, in the very folder where events will go."""
    folder.mkdir(parents=True, exist_ok=True)
    path, times = folder / "fsync-probe", []
    with path.open("wb", buffering=0) as file:
        for _ in range(count):
            file.write(os.urandom(4096))
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append((time.perf_counter() - began) * 1e3)
    path.unlink()
    times.sort()
    return {"p50_ms": round(times[count // 2], 2), "p99_ms": round(times[int(count * 0.99)], 2)}
