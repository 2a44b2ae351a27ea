"""The part "faults" of benchmarks/serving.py: swaps, signals, crashes, too much load, slow clients, and what they cost.

Each fault is written to the result file as soon as it is measured, with its own machine, commit and options.
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

from machine import RESULTS, about, save
from segue.serving.client.client import Client
from segue.serving.deployment.model_registry import ModelRegistry
from segue.serving.inference.served_model import ServedModel
from segue.serving.schemas.requests import EventIn, Recommendation, RecommendRequest
from segue.serving.store.event_store import EventStore
from serving_world import Server, ask, free_port, load, load_process, model, serving, start

HONEST_RATE = 200
SWAP_RATE = 100
ITEMS = 100_000
MANY_ITEMS = 1_000_000
K = 20


def faults(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The chosen faults in turn; what the result file says of the others stays."""
    path = RESULTS / "serving-faults.json"
    result = {"about": about(), **(json.loads(path.read_text(encoding="utf-8")) if path.exists() else {})}
    run = model("gru4rec", ITEMS, folder)
    for name in options.faults:
        asked = {key: getattr(options, key) for key in ("seconds", "workers", *FAULTS[name][1])}
        found = FAULTS[name][0](run, folder, options)
        key = f"{name}, {options.workers} processes" if options.workers > 1 else name
        result[key] = {"about": about(), "asked": asked, **found}
        print(key, {k: v for k, v in result[key].items() if not isinstance(v, dict)}, file=sys.stderr, flush=True)
        save("serving-faults", {**result, "about": about()})
    return result


def swaps(run: Path, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Two versions take turns while events come in and two people in a hurry compare every list with what the version
    that it names would say."""
    registry = ModelRegistry(folder / "registry")
    versions = [registry.add(run), registry.add(model("gru4rec", ITEMS, folder, seed=1))]
    registry.promote(versions[0])
    rng = random.Random(0)
    probes = [[f"item-{rng.randrange(ITEMS)}" for _ in range(rng.randint(1, 15))] for _ in range(40)]
    truth = {version: answers(registry.path(version), probes) for version in versions}
    apart = max(same(*pair) for pair in zip(*truth.values(), strict=True))
    seen, stop, failed, took_ms = Seen(), threading.Event(), 0, []
    with serving(registry.folder, folder / "data-swaps") as server:
        hurried = [threading.Thread(target=compare, args=(server, probes, truth, seen, stop)) for _ in range(2)]
        for one in hurried:
            one.start()
        job = {"connections": 64, "people": 20_000, "warm_s": 0.5, "ports": [server.port], "kind": "event"}
        generator = load_process({**job, "items": ITEMS, "rate": SWAP_RATE, "seconds": 0.7 * options.swaps})
        for n in range(options.swaps):
            time.sleep(0.2)
            began, wanted = time.perf_counter(), versions[(n + 1) % 2]
            answer = ask(server.port, "/v1/admin/promote", {"version": wanted}, timeout_s=60)
            failed += answer is None or answer["roles"]["live"] != wanted
            took_ms.append(round((time.perf_counter() - began) * 1e3, 1))
        out, _ = generator.communicate(timeout=options.swaps + 120)
        stop.set()
        for one in hurried:
            one.join(60)
    found = json.loads(out)
    return {
        "swaps": options.swaps,
        "failed_swaps": failed,
        "swap_p50_ms": sorted(took_ms)[len(took_ms) // 2],
        "failed_requests": failures(found) + seen.failed,
        "compared_lists": sum(seen.by_version.values()),
        "compared_by_version": seen.by_version,
        "mixed_versions": seen.mixed,
        "lists_of_both_versions_share_at_most": apart,
        "load": found,
    }


@dataclass
class Seen:
    """What those who compare have seen."""

    by_version: dict[str, int] = field(default_factory=dict)
    mixed: int = 0
    failed: int = 0


def answers(path: Path, probes: list[list[str]]) -> list[list[Recommendation]]:
    """What a version says to each of the histories, asked of the model itself."""
    opened = ServedModel.open(path)
    histories = [opened.catalog.to_indices(one).tolist() for one in probes]
    return [opened.top_k(history, K, exclude=history) for history in histories]


def same(found: list[Recommendation], wanted: list[Recommendation]) -> float:
    """Share of the places with equal scores, whose items are equal but for neighbors that rounding may exchange."""
    close = [abs(a.score - b.score) <= 1e-4 * max(1.0, abs(b.score)) for a, b in zip(found, wanted, strict=True)]
    return sum(close) / K if len({one.id for one in found} - {one.id for one in wanted}) <= 1 else 0.0


def compare(server: Server, probes: list[list[str]], truth: dict[str, Any], seen: Seen, stop: threading.Event) -> None:
    """Asks one of the histories after the other, and holds each answer against the version that it names."""
    with Client(f"http://127.0.0.1:{server.port}") as client:
        while not stop.is_set():
            for n, history in enumerate(probes):
                try:
                    answer = client.recommend(RecommendRequest(history=history, k=K))
                except Exception:
                    seen.failed += 1
                    continue
                version = answer.model_version
                seen.by_version[version] = seen.by_version.get(version, 0) + 1
                seen.mixed += answer.fallback is None and same(answer.items, truth[version][n]) < 1.0


def failures(found: dict[str, Any]) -> int:
    """Requests of a load without a good answer."""
    return sum(found["failures"].values()) + sum(v for k, v in found["statuses"].items() if k != "200")


def sigterms(run: Path, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Two servers behind a generator that leaves whoever says it is closing: restarted in turn, under load."""
    ports = [free_port(), free_port()]
    folder, many = folder / f"term-{options.workers}", {"workers": options.workers}
    servers = [start(run, folder / f"data-{n}", port=ports[n], **many) for n in (0, 1)]
    job = {"connections": 64, "people": 20_000, "warm_s": 0.5, "ports": ports, "kind": "event", "items": ITEMS}
    began, codes = time.perf_counter(), []
    # Long enough for every restart; ended by what is left of it once the last server is back.
    generator = load_process({**job, "rate": HONEST_RATE, "seconds": 4.0 * options.terms})
    for n in range(options.terms):
        codes.append(servers[n % 2].end(signal.SIGTERM))
        servers[n % 2] = start(run, folder / f"data-{n % 2}", port=ports[n % 2], **many)
        time.sleep(0.3)
    took_s = round(time.perf_counter() - began, 1)
    out, _ = generator.communicate(timeout=4 * options.terms + 120)
    found = json.loads(out)
    for server in servers:
        server.end()
    return {
        "signals": options.terms,
        "exit_codes": sorted(set(codes)),
        "took_s": took_s,
        "failed_requests": failures(found),
        "load": found,
    }


def kills(run: Path, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Eight senders, kill -9 at a random moment, and the log is asked for every event that was acknowledged. Of several
    processes the one that is killed is now the keeper and now another."""
    data, rng = folder / f"data-kill-{options.workers}", random.Random(0)
    acknowledged: set[str] = set()
    for round_ in range(options.kills):
        server = start(run, data, workers=options.workers)
        senders = [threading.Thread(target=send, args=(server, f"{round_}-{n}", acknowledged)) for n in range(8)]
        for sender in senders:
            sender.start()
        time.sleep(rng.uniform(0.05, 0.8))
        for branch in server.branches()[: round_ % 2]:
            os.kill(branch, signal.SIGKILL)
            time.sleep(rng.uniform(0.05, 0.4))
        server.end(signal.SIGKILL)
        for sender in senders:
            sender.join(30)
    store = EventStore(data / "events.sqlite")
    ids = [row[0] for row in store._read.execute("SELECT event_id FROM events")]
    sound = store._read.execute("PRAGMA integrity_check").get
    store.close()
    return {
        "kills": options.kills,
        "acknowledged": len(acknowledged),
        "lost": len(acknowledged - set(ids)),
        "doubled": len(ids) - len(set(ids)),
        "integrity": sound,
        "damaged_rows": store.num_damaged,
    }


def send(server: Server, name: str, acknowledged: set[str]) -> None:
    with contextlib.suppress(Exception), Client(f"http://127.0.0.1:{server.port}") as client:
        for number in range(100_000):
            event_id = f"{name}-{number}"
            client.events([EventIn(item_id="item-1", session_id=name, event_id=event_id)])
            acknowledged.add(event_id)


def overload(run: Path, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """The peak of a closed loop, then four times as much: how much of it is still answered, and how the rest is. Of a
    catalog that is large enough for the generator, which shares the two cores, to send four times the peak."""
    run = model("gru4rec", MANY_ITEMS, folder)
    with serving(run, folder / f"data-overload-{options.workers}", workers=options.workers) as server:
        time.sleep(3.0 * (options.workers - 1))  # until all of them answer
        peak = load(server, "history", None, options.seconds, items=MANY_ITEMS, connections=32)
        rate = 4 * peak["good_per_s"]
        found = load(server, "history", rate, options.seconds, items=MANY_ITEMS, connections=900, warm_s=2.0)
        after = load(server, "history", HONEST_RATE / 4, 3.0, items=MANY_ITEMS)
    return {
        "items": MANY_ITEMS,
        "peak_per_s": peak["good_per_s"],
        "offered_per_s": round(rate),
        "goodput_share_of_peak": round(found["good_per_s"] / peak["good_per_s"], 3),
        "accepted_p99_ms": found["p99_ms"],
        "p99_ms_afterwards": after["p99_ms"],
        "load": found,
    }


def slow_clients(run: Path, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Connections that send a byte a second, half in their headers and half in their bodies, beside honest traffic."""
    with serving(run, folder / "data-slow") as server:
        alone = load(server, "history", HONEST_RATE, options.seconds, items=ITEMS)
        ended: list[float] = []
        stop = threading.Event()
        crowd = threading.Thread(target=trickle, args=(server.port, options.slow, ended, stop))
        crowd.start()
        time.sleep(2)
        beside = load(server, "history", HONEST_RATE, max(options.seconds, 12.0), items=ITEMS)
        stop.set()
        crowd.join()
    return {
        "clients": options.slow,
        "closed_by_the_server": len(ended),
        "longest_s": round(max(ended, default=0.0), 1),
        "p99_ms_alone": alone["p99_ms"],
        "p99_ms_beside": beside["p99_ms"],
        "failed_honest_requests": sum(beside["failures"].values()),
        "load": beside,
    }


def trickle(port: int, count: int, ended: list[float], stop: threading.Event) -> None:
    """Opens the connections and feeds them; ``ended`` hears how long each was let live."""
    body = b"POST /v1/recommend HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n"
    alive: dict[socket.socket, float] = {}
    for n in range(count):
        connection = socket.create_connection(("127.0.0.1", port), timeout=10)
        connection.sendall(b"POST /v1/recommend HTTP/1.1\r\nX: " if n % 2 else body)
        connection.setblocking(False)
        alive[connection] = time.monotonic()
    while alive and not stop.is_set():
        for connection, began in list(alive.items()):
            try:
                connection.send(b" ")
                over = connection.recv(1000) is not None
            except BlockingIOError:
                over = False
            except OSError:
                over = True
            if over:
                ended.append(time.monotonic() - began)
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
"""Name -> what is done, and the options that it reads beside the seconds."""
