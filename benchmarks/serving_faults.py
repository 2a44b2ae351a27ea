"""The part "faults" of benchmarks/serving.py: signals, crashes, too much load, slow clients, and what they cost."""

import argparse
import contextlib
import json
import random
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

from segue.serving.client import Client
from segue.serving.schema import EventIn
from segue.serving.store import Store
from serving_world import Server, free_port, load, load_process, model, serving, start

HONEST_RATE = 200
ITEMS = 100_000


def faults(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Every fault in turn."""
    run = model("gru4rec", ITEMS, folder)
    result = {}
    for name, part in (("sigterm", sigterms), ("kill", kills), ("overload", overload), ("slow", slow_clients)):
        result[name] = part(run, folder, options)
        print(name, {k: v for k, v in result[name].items() if not isinstance(v, dict)}, file=sys.stderr, flush=True)
    return result


def sigterms(run: Path, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Two servers behind a generator that leaves whoever says it is closing: restarted in turn, under load."""
    ports = [free_port(), free_port()]
    servers = [start(run, folder / f"data-term-{n}", port=ports[n]) for n in (0, 1)]
    job = {"connections": 64, "people": 20_000, "warm_s": 0.5, "ports": ports, "kind": "event", "items": ITEMS}
    began, codes = time.perf_counter(), []
    # Long enough for every restart; ended by what is left of it once the last server is back.
    generator = load_process({**job, "rate": HONEST_RATE, "seconds": 4.0 * options.terms})
    for n in range(options.terms):
        codes.append(servers[n % 2].end(signal.SIGTERM))
        servers[n % 2] = start(run, folder / f"data-term-{n % 2}", port=ports[n % 2])
        time.sleep(0.3)
    took_s = round(time.perf_counter() - began, 1)
    out, _ = generator.communicate(timeout=4 * options.terms + 120)
    found = json.loads(out)
    for server in servers:
        server.end()
    failed = sum(found["failures"].values()) + sum(v for k, v in found["statuses"].items() if k != "200")
    return {
        "signals": options.terms,
        "exit_codes": sorted(set(codes)),
        "took_s": took_s,
        "failed_requests": failed,
        "load": found,
    }


def kills(run: Path, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Eight senders, kill -9 at a random moment, and the log is asked for every event that was acknowledged."""
    data, rng = folder / "data-kill", random.Random(0)
    acknowledged: set[str] = set()
    for round_ in range(options.kills):
        server = start(run, data)
        senders = [threading.Thread(target=send, args=(server, f"{round_}-{n}", acknowledged)) for n in range(8)]
        for sender in senders:
            sender.start()
        time.sleep(rng.uniform(0.05, 0.8))
        server.end(signal.SIGKILL)
        for sender in senders:
            sender.join(30)
    store = Store(data / "events.sqlite")
    ids = [row[0] for row in store._read.execute("SELECT event_id FROM events")]
    sound = store._read.execute("PRAGMA integrity_check").get
    store.close()
    return {
        "kills": options.kills,
        "acknowledged": len(acknowledged),
        "lost": len(acknowledged - set(ids)),
        "doubled": len(ids) - len(set(ids)),
        "integrity": sound,
        "damaged_rows": store.damaged,
    }


def send(server: Server, name: str, acknowledged: set[str]) -> None:
    with contextlib.suppress(Exception), Client(f"http://127.0.0.1:{server.port}") as client:
        for number in range(100_000):
            event_id = f"{name}-{number}"
            client.events([EventIn(item_id="item-1", session_id=name, event_id=event_id)])
            acknowledged.add(event_id)


def overload(run: Path, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """The peak of a closed loop, then four times as much: how much of it is still answered, and how the rest is."""
    with serving(run, folder / "data-overload") as server:
        peak = load(server, "history", None, options.seconds, items=ITEMS, connections=32)
        rate = 4 * peak["answered_per_s"]
        found = load(server, "history", rate, options.seconds, items=ITEMS, connections=900, warm_s=2.0)
        after = load(server, "history", HONEST_RATE, 3.0, items=ITEMS)
    good = found["answered_per_s"] - found["fallbacks"] / options.seconds
    return {
        "peak_per_s": peak["answered_per_s"],
        "offered_per_s": round(rate),
        "goodput_share_of_peak": round(good / peak["answered_per_s"], 3),
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
