"""Ends of a server by SIGTERM, with slow readers, streams, stopped workers and work under way.

    python benchmarks/shutdown.py             # 200 rounds, two at a time, about 15 minutes
    python benchmarks/shutdown.py --rounds 20

Each round starts a server of one to three processes, opens connections that never end by themselves, sends events, does
something to a process, sends SIGTERM, and measures the time to the end. Then every acknowledged event is looked up.
The result is ``benchmarks/results/shutdown.json``.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw
import numpy as np

from machine import about, save
from segue.data.catalog import Catalog
from segue.models import artifact
from segue.models.counting.popularity import Popularity
from segue.serving.deployment.model_registry import ModelRegistry
from serving_world import free_port, post

GRACE_S = 5.0
TOLERANCE_S = 0.5
"""Time from the end of the grace to the time when this script sees it, in seconds."""
PAUSE_S = 1.0
"""Time for which a primary process is stopped, in seconds."""
ITEMS = 100_000
GET = b"GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
POST = b"POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
STATES = {
    "idle": GET % b"/health/live",
    "silent": b"",
    "slow reader": GET % b"/openapi.json" * 300,
    "half body": POST % (b"/v1/events", 100_000) + b'{"user_id": "u',
    "refused body": POST % (b"/nowhere", 100_000) + b"{",
    "half head": b"POST /v1/events HTTP/1.1\r\nHost:",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}
"""State of a connection -> bytes that lead to it."""
SITUATIONS = {
    "serving": (0, "nothing else"),
    "start": (0, "SIGTERM before the server listens"),
    "swap": (0, "another version is being deployed"),
    "erasure": (0, "a user is being erased"),
    "stopped worker": (1, "a worker is stopped before SIGTERM"),
    "stopped while draining": (1, "a worker is stopped after SIGTERM"),
    "killed worker": (1, "a worker is killed before SIGTERM"),
    "all workers stopped": (1, "all workers are stopped before SIGTERM"),
    "stopped primary": (0, "the primary process is stopped for a second after SIGTERM"),
}
"""Situation -> smallest number of workers, and its description."""


@dataclass
class Round:
    """Outcome of one round."""

    situation: str
    processes: int
    code: int | None = None
    took_s: float = 0.0
    orphans: int = 0
    traceback: bool = False
    acknowledged: set[str] = field(default_factory=set)

    @property
    def is_within_grace(self) -> bool:
        """Return whether the server ended in order and in time; before it listens the signal itself may end it."""
        in_order = self.code == 0 or (self.situation == "start" and self.code == -signal.SIGTERM)
        stopped_s = PAUSE_S if self.situation == "stopped primary" else 0.0  # it may not see the signal before
        in_time = self.took_s <= GRACE_S + TOLERANCE_S + stopped_s
        return in_order and in_time and not self.orphans and not self.traceback


def popularity(folder: Path, items: int) -> Path:
    """Save a popularity model and return its folder.

    Args:
        folder: folder of the model.
        items: number of items.
    """
    catalog = Catalog(f"item-{n}" for n in range(items))
    arrays = Popularity(np.arange(items + 1, dtype=np.float32)).arrays()
    artifact.save(artifact.Artifact("popularity", {}, catalog, arrays, {}, {"exclude_seen": True}), folder)
    return folder


def children(pid: int) -> list[int]:
    """Return the process numbers of a process's children."""
    found: list[int] = []
    for tasks in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += map(int, tasks.read_text(encoding="ascii").split())
    return found


def is_alive(pid: int) -> bool:
    """Return whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def connect(port: int, content: bytes) -> socket.socket | None:
    """Return a connection on which bytes were sent and nothing is read; None if it was refused."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(5)
    try:
        connection.connect(("127.0.0.1", port))
        connection.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            connection.send(content)
    except OSError:
        connection.close()
        return None
    return connection


def send_events(port: int, name: str, outcome: Round, ended: threading.Event) -> None:
    """Send events until the end, each on a connection of its own, and note the acknowledged ones."""
    number = 0
    while not ended.is_set():
        number += 1
        event_id = f"{name}-{number}"
        event = {"user_id": name, "item_id": "item-1", "event_id": event_id}
        if post(port, "/v1/events", event, timeout_s=10) is not None:
            outcome.acknowledged.add(event_id)
        else:
            ended.wait(0.02)


def stream(port: int, ended: threading.Event) -> None:
    """Send pipelined requests without an end, and read the responses."""
    while not ended.is_set():
        try:
            with socket.create_connection(("127.0.0.1", port), 1) as connection:
                while not ended.is_set():
                    connection.sendall(GET % b"/health/live" * 50)
                    connection.recv(65_536)
        except OSError:
            ended.wait(0.05)


def delete(port: int, user: str) -> None:
    """Erase a user; the response is not awaited for long."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.sendall(f"DELETE /v1/users/{user} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        connection.settimeout(10)
        connection.recv(1000)


def play(number: int, models: ModelRegistry, versions: list[str], data: Path, rng: random.Random) -> Round:
    """Run one round.

    Args:
        number: its number.
        models: registry that is served.
        versions: its two versions.
        data: data directory.
        rng: source of the choices.
    """
    names = list(SITUATIONS)
    situation = names[number % len(names)]
    processes = max(1 + SITUATIONS[situation][0], 1 + number // len(names) % 3)
    outcome = Round(situation, processes)
    port = free_port()
    command = [sys.executable, "-m", "segue.serving", str(models.folder), "--data", str(data), "--port", str(port)]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryFile() as log:
        options = ["--workers", str(processes), "--grace", str(GRACE_S)]
        server = subprocess.Popen([*command, *options], env=env, stdout=log, stderr=log)
        try:
            if situation == "start":
                time.sleep(rng.uniform(0.05, 1.5))
                end(server, outcome)
            else:
                serve(server, port, number, outcome, versions, rng)
        finally:
            if server.poll() is None:
                server.kill()
                server.wait()
        log.seek(0)
        text = log.read().decode(errors="replace")
    outcome.traceback = "Traceback" in text
    if not outcome.is_within_grace:
        print(outcome.situation, outcome.processes, outcome.code, outcome.took_s, text[-2000:], file=sys.stderr)
    return outcome


def end(server: "subprocess.Popen[bytes]", outcome: Round, *after: Any) -> None:
    """Send SIGTERM, call functions, and wait for the end."""
    workers, started_s = children(server.pid), time.monotonic()
    server.send_signal(signal.SIGTERM)
    for function in after:
        function()
    with contextlib.suppress(subprocess.TimeoutExpired):
        outcome.code = server.wait(4 * GRACE_S)
    outcome.took_s = round(time.monotonic() - started_s, 3)
    time.sleep(0.1)  # the kernel needs a little to end killed workers
    outcome.orphans = sum(map(is_alive, workers))


def serve(
    server: "subprocess.Popen[bytes]", port: int, number: int, outcome: Round, versions: list[str], rng: random.Random
) -> None:
    """Load the server, do what the situation demands, and end it."""
    until_s = time.monotonic() + 120
    while post(port, "/v1/recommend", {"k": 1}) is None or len(children(server.pid)) < outcome.processes - 1:
        assert server.poll() is None and time.monotonic() < until_s, "The server does not start."
        time.sleep(0.05)
    time.sleep(rng.uniform(0.5, 2.0))
    ended = threading.Event()
    jobs = [(send_events, (port, f"{number}-{n}", outcome, ended)) for n in range(2)] + [(stream, (port, ended))] * 2
    if outcome.situation == "swap":
        jobs.append((lambda version: post(port, "/v1/admin/promote", {"version": version}), (rng.choice(versions),)))
    if outcome.situation == "erasure":
        post(port, "/v1/events", {"user_id": f"gone-{number}", "item_id": "item-1"})
        jobs.append((delete, (port, f"gone-{number}")))
    counts = {state: rng.choice([3, 10, 30]) for state in STATES} | {"idle": rng.choice([10, 100, 1000])}
    clients = [connect(port, STATES[state]) for state, count in counts.items() for _ in range(count)]
    threads = [threading.Thread(target=function, args=arguments) for function, arguments in jobs]
    for thread in threads:
        thread.start()
    time.sleep(rng.uniform(0.1, 1.0))
    workers = children(server.pid)
    try:
        for pid, signal_number in harm(outcome.situation, workers):
            os.kill(pid, signal_number)
        end(server, outcome, lambda: harm_while_draining(outcome.situation, server.pid, workers, rng))
    finally:
        ended.set()
        for thread in threads:
            thread.join()
        for client in clients:
            if client is not None:
                client.close()


def harm(situation: str, workers: list[int]) -> list[tuple[int, int]]:
    """Return the signals before SIGTERM: (process number, signal) each.

    Args:
        situation: the situation.
        workers: process numbers of the workers.
    """
    if situation == "killed worker":
        return [(workers[0], signal.SIGKILL)]
    num_stopped = {"stopped worker": 1, "all workers stopped": len(workers)}.get(situation, 0)
    return [(worker, signal.SIGSTOP) for worker in workers[:num_stopped]]


def harm_while_draining(situation: str, primary: int, workers: list[int], rng: random.Random) -> None:
    """Stop a process after SIGTERM, where the situation demands it; one that has ended already is no error."""
    with contextlib.suppress(OSError):
        if situation == "stopped while draining":
            time.sleep(rng.uniform(0, 1.2))
            os.kill(workers[0], signal.SIGSTOP)
        elif situation == "stopped primary":
            os.kill(primary, signal.SIGSTOP)
            time.sleep(PAUSE_S)
            os.kill(primary, signal.SIGCONT)


def lane(number: int, rounds: range, folder: Path, seed: int) -> tuple[list[Round], int]:
    """Run rounds one after the other on one data directory; return them and the number of lost events."""
    folder.mkdir()
    models = ModelRegistry(folder / "models")
    versions = [models.add(popularity(folder / f"model-{n}", ITEMS + n)) for n in (0, 1)]
    models.promote(versions[0])
    rng = random.Random(seed + number)
    outcomes = [play(n, models, versions, folder / "data", rng) for n in rounds]
    acknowledged = set().union(*(outcome.acknowledged for outcome in outcomes))
    database = apsw.Connection(str(folder / "data" / "events.sqlite"))
    stored = [row[0] for row in database.execute("SELECT event_id FROM events")]
    database.close()
    return outcomes, len(acknowledged - set(stored)) + len(stored) - len(set(stored))


def main() -> int:
    """Run all rounds and write the result; return 1 if one server did not end as it should."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--lanes", type=int, default=2, help="servers at the same time")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    parts = [range(n, options.rounds, options.lanes) for n in range(options.lanes)]
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(options.lanes) as pool:
        jobs = [pool.submit(lane, n, part, Path(folder) / str(n), options.seed) for n, part in enumerate(parts)]
        results = [job.result() for job in jobs]
    outcomes = [outcome for part, _ in results for outcome in part]
    took_s = sorted(outcome.took_s for outcome in outcomes)
    num_within = sum(outcome.is_within_grace for outcome in outcomes)
    result = {
        "about": about(options.seed),
        "rounds": len(outcomes),
        "grace_s": GRACE_S,
        "within_grace": num_within,
        "exit_codes": dict(Counter(str(outcome.code) for outcome in outcomes)),
        "took_s": {"p50": took_s[len(took_s) // 2], "max": took_s[-1]},
        "max_s_by_situation": {
            name: max((outcome.took_s for outcome in outcomes if outcome.situation == name), default=0.0)
            for name in SITUATIONS
        },
        "rounds_by_processes": dict(Counter(outcome.processes for outcome in outcomes)),
        "orphans": sum(outcome.orphans for outcome in outcomes),
        "acknowledged": sum(len(outcome.acknowledged) for outcome in outcomes),
        "lost_or_doubled": sum(lost for _, lost in results),
    }
    print(json.dumps(result, indent=1))
    if options.rounds >= 200:
        save("shutdown", result)
    return 0 if num_within == len(outcomes) and not result["lost_or_doubled"] else 1


if __name__ == "__main__":
    sys.exit(main())
