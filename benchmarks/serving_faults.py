"""Part "faults" of benchmarks/serving.py: version swaps, signals, crashes, overload and slow clients.

Each fault is written to the result file when it is measured, with its own machine, commit and options.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw

from machine import RESULTS, about, save
from segue.serving.client.client import Client
from segue.serving.deployment.model_registry import ModelRegistry
from segue.serving.inference.served_model import ServedModel
from segue.serving.schemas.requests import EventIn, Recommendation, RecommendRequest
from segue.serving.store.event_store import EventStore
from serving_world import Server, free_port, load, load_process, model, post, serving, start

NORMAL_RATE = 200
SWAP_RATE = 100
ITEMS = 100_000
MANY_ITEMS = 1_000_000
K = 20


def faults(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Measure the chosen faults; the results of others stay in the file."""
    path = RESULTS / "serving-faults.json"
    result = {"about": about(), **(json.loads(path.read_text(encoding="utf-8")) if path.exists() else {})}
    run = model("gru4rec", ITEMS, folder)
    for name in options.faults:
        given = {key: getattr(options, key) for key in ("seconds", "workers", *FAULTS[name][1])}
        row = FAULTS[name][0](run, folder, options)
        key = f"{name}, {options.workers} processes" if options.workers > 1 else name
        result[key] = {"about": about(), "options": given, **row}
        print(key, {k: v for k, v in result[key].items() if not isinstance(v, dict)}, file=sys.stderr, flush=True)
        save("serving-faults", {**result, "about": about()})
    return result


def swaps(run: Path, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Swap two versions under a load of events, while two clients compare every list with the one of its version."""
    registry = ModelRegistry(folder / "registry")
    versions = [registry.add(run), registry.add(model("gru4rec", ITEMS, folder, seed=1))]
    registry.promote(versions[0])
    rng = random.Random(0)
    probes = [[f"item-{rng.randrange(ITEMS)}" for _ in range(rng.randint(1, 15))] for _ in range(40)]
    expected = {version: lists_of(registry.path(version), probes) for version in versions}
    overlap = max(equal_share(*pair) for pair in zip(*expected.values(), strict=True))
    counts, stop, failed, took_ms = ListCounts(), threading.Event(), 0, []
    with serving(registry.folder, folder / "data-swaps") as server:
        clients = [threading.Thread(target=compare, args=(server, probes, expected, counts, stop)) for _ in range(2)]
        for client in clients:
            client.start()
        job = {"connections": 64, "users": 20_000, "warm_s": 0.5, "ports": [server.port], "kind": "event"}
        generator = load_process({**job, "items": ITEMS, "rate": SWAP_RATE, "seconds": 0.7 * options.swaps})
        for n in range(options.swaps):
            time.sleep(0.2)
            started, version = time.perf_counter(), versions[(n + 1) % 2]
            response = post(server.port, "/v1/admin/promote", {"version": version}, timeout_s=60)
            failed += response is None or response["roles"]["live"] != version
            took_ms.append(round((time.perf_counter() - started) * 1e3, 1))
        out, _ = generator.communicate(timeout=options.swaps + 120)
        stop.set()
        for client in clients:
            client.join(60)
    load_result = json.loads(out)
    return {
        "swaps": options.swaps,
        "failed_swaps": failed,
        "swap_p50_ms": sorted(took_ms)[len(took_ms) // 2],
        "failed_requests": failures(load_result) + counts.failed,
        "compared_lists": sum(counts.by_version.values()),
        "compared_by_version": counts.by_version,
        "mixed_versions": counts.mixed,
        "lists_of_both_versions_share_at_most": overlap,
        "load": load_result,
    }


@dataclass
class ListCounts:
    """Numbers of compared lists."""

    by_version: dict[str, int] = field(default_factory=dict)
    mixed: int = 0
    failed: int = 0


def lists_of(path: Path, probes: list[list[str]]) -> list[list[Recommendation]]:
    """Return the lists of a version for the histories, without a server."""
    served_model = ServedModel.open(path)
    histories = [served_model.catalog.to_indices(history).tolist() for history in probes]
    return [served_model.top_k(history, K, exclude=history) for history in histories]


def equal_share(served: list[Recommendation], expected: list[Recommendation]) -> float:
    """Return the share of positions with equal scores; 0 for lists that differ in more than one item."""
    close = [abs(a.score - b.score) <= 1e-4 * max(1.0, abs(b.score)) for a, b in zip(served, expected, strict=True)]
    return sum(close) / K if len({a.id for a in served} - {b.id for b in expected}) <= 1 else 0.0


def compare(
    server: Server, probes: list[list[str]], expected: dict[str, Any], counts: ListCounts, stop: threading.Event
) -> None:
    """Request lists until stopped, and compare each with the one of the version that it names."""
    with Client(f"http://127.0.0.1:{server.port}") as client:
        while not stop.is_set():
            for n, history in enumerate(probes):
                try:
                    response = client.recommend(RecommendRequest(history=history, k=K))
                except Exception:
                    counts.failed += 1
                    continue
                version = response.model_version
                counts.by_version[version] = counts.by_version.get(version, 0) + 1
                is_equal = equal_share(response.items, expected[version][n]) == 1.0
                counts.mixed += response.fallback is None and not is_equal


def failures(result: dict[str, Any]) -> int:
    """Return the number of requests without a response of status 200."""
    return sum(result["failures"].values()) + sum(v for k, v in result["statuses"].items() if k != "200")


def sigterms(run: Path, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Restart two servers in turn under load; the generator leaves a server that announces its end."""
    ports = [free_port(), free_port()]
    folder, workers = folder / f"term-{options.workers}", {"workers": options.workers}
    servers = [start(run, folder / f"data-{n}", port=ports[n], **workers) for n in (0, 1)]
    job = {"connections": 64, "users": 20_000, "warm_s": 0.5, "ports": ports, "kind": "event", "items": ITEMS}
    started, codes = time.perf_counter(), []
    # Long enough for every restart.
    generator = load_process({**job, "rate": NORMAL_RATE, "seconds": 4.0 * options.terms})
    for n in range(options.terms):
        codes.append(servers[n % 2].end(signal.SIGTERM))
        servers[n % 2] = start(run, folder / f"data-{n % 2}", port=ports[n % 2], **workers)
        time.sleep(0.3)
    took_s = round(time.perf_counter() - started, 1)
    out, _ = generator.communicate(timeout=4 * options.terms + 120)
    load_result = json.loads(out)
    for server in servers:
        server.end()
    return {
        "signals": options.terms,
        "exit_codes": sorted(set(codes)),
        "took_s": took_s,
        "failed_requests": failures(load_result),
        "load": load_result,
    }


def kills(run: Path, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Kill the server at random times under eight senders, and look up every acknowledged event in the store.

    With several processes the workers and the primary process are killed in turn.
    """
    data, rng = folder / f"data-kill-{options.workers}", random.Random(0)
    acknowledged: set[str] = set()
    for round_ in range(options.kills):
        server = start(run, data, workers=options.workers)
        senders = [threading.Thread(target=send, args=(server, f"{round_}-{n}", acknowledged)) for n in range(8)]
        for sender in senders:
            sender.start()
        time.sleep(rng.uniform(0.05, 0.8))
        for pid in server.worker_pids()[: round_ % 2]:
            os.kill(pid, signal.SIGKILL)
            time.sleep(rng.uniform(0.05, 0.4))
        server.end(signal.SIGKILL)
        for sender in senders:
            sender.join(30)
    store = EventStore(data / "events.sqlite")
    num_damaged = store.num_damaged
    store.close()
    database = apsw.Connection(str(data / "events.sqlite"))
    ids = [row[0] for row in database.execute("SELECT event_id FROM events")]
    integrity = database.execute("PRAGMA integrity_check").get
    database.close()
    return {
        "kills": options.kills,
        "acknowledged": len(acknowledged),
        "lost": len(acknowledged - set(ids)),
        "doubled": len(ids) - len(set(ids)),
        "integrity": integrity,
        "damaged_rows": num_damaged,
    }


def send(server: Server, name: str, acknowledged: set[str]) -> None:
    """Send events until the server ends, and add the acknowledged ones to the set."""
    with contextlib.suppress(Exception), Client(f"http://127.0.0.1:{server.port}") as client:
        for number in range(100_000):
            event_id = f"{name}-{number}"
            client.events([EventIn(item_id="item-1", session_id=name, event_id=event_id)])
            acknowledged.add(event_id)


def overload(run: Path, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Measure the peak of a closed loop, then the scored responses at four times that rate.

    The catalog is large enough for the generator, which shares the two cores, to send four times the peak.
    """
    run = model("gru4rec", MANY_ITEMS, folder)
    with serving(run, folder / f"data-overload-{options.workers}", workers=options.workers) as server:
        time.sleep(3.0 * (options.workers - 1))  # until all processes serve
        peak = load(server, "history", None, options.seconds, items=MANY_ITEMS, connections=32)
        rate = 4 * peak["good_per_s"]
        overloaded = load(server, "history", rate, options.seconds, items=MANY_ITEMS, connections=900, warm_s=2.0)
        after = load(server, "history", NORMAL_RATE / 4, 3.0, items=MANY_ITEMS)
    return {
        "items": MANY_ITEMS,
        "peak_per_s": peak["good_per_s"],
        "offered_per_s": round(rate),
        "goodput_share_of_peak": round(overloaded["good_per_s"] / peak["good_per_s"], 3),
        "accepted_p99_ms": overloaded["p99_ms"],
        "p99_ms_afterwards": after["p99_ms"],
        "load": overloaded,
    }


def slow_clients(run: Path, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Open connections that send a byte per second, half in the head and half in the body, beside normal traffic."""
    with serving(run, folder / "data-slow") as server:
        alone = load(server, "history", NORMAL_RATE, options.seconds, items=ITEMS)
        closed_after_s: list[float] = []
        stop = threading.Event()
        slow = threading.Thread(target=trickle, args=(server.port, options.slow, closed_after_s, stop))
        slow.start()
        time.sleep(2)
        beside = load(server, "history", NORMAL_RATE, max(options.seconds, 12.0), items=ITEMS)
        stop.set()
        slow.join()
    return {
        "clients": options.slow,
        "closed_by_the_server": len(closed_after_s),
        "longest_s": round(max(closed_after_s, default=0.0), 1),
        "p99_ms_alone": alone["p99_ms"],
        "p99_ms_beside": beside["p99_ms"],
        "failed_honest_requests": sum(beside["failures"].values()),
        "load": beside,
    }


def trickle(port: int, count: int, closed_after_s: list[float], stop: threading.Event) -> None:
    """Open slow connections, feed them, and append the lifetime of each that the server closes."""
    body = b"POST /v1/recommend HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n"
    alive: dict[socket.socket, float] = {}
    for n in range(count):
        connection = socket.create_connection(("127.0.0.1", port), timeout=10)
        connection.sendall(b"POST /v1/recommend HTTP/1.1\r\nX: " if n % 2 else body)
        connection.setblocking(False)
        alive[connection] = time.monotonic()
    while alive and not stop.is_set():
        for connection, started in list(alive.items()):
            try:
                connection.send(b" ")
                is_closed = connection.recv(1000) is not None
            except BlockingIOError:
                is_closed = False
            except OSError:
                is_closed = True
            if is_closed:
                closed_after_s.append(time.monotonic() - started)
                connection.close()
                del alive[connection]
        time.sleep(1)
    for connection in alive:
        connection.close()


FAULTS: dict[str, tuple[Callable[[Path, Path, argparse.Namespace], dict[str, Any]], tuple[str, ...]]] = {
    "swaps": (swaps, ("swaps",)),
    "sigterm": (sigterms, ("terms",)),
    "kill": (kills, ("kills",)),
    "overload": (overload, ()),
    "slow": (slow_clients, ("slow",)),
}
"""Name -> measurement, and the options that it reads besides the seconds."""
