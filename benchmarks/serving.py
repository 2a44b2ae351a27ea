"""Speed, memory and faults of the server: `python benchmarks/serving.py PART ... [--seconds 10]`, load generator
included.

Parts: latency (GRU4Rec and SASRec with random weights, 10 k, 100 k and 1 M items, rising rates; a history, an event
acknowledged after fsync, one acknowledged before), floor (a popularity model), ingest (events alone), memory (resident
size with cached histories, restart, cold start, installed size), peer (a plain FastAPI service on the same machine and
load), faults (version swaps, SIGTERM, kill -9, overload, slow clients; --faults chooses). Each writes
benchmarks/results/serving-PART.json; latency also docs/results/plots/serving-latency.svg. Run nothing else meanwhile.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import serving_faults
from machine import ROOT, about, save
from serving_world import Server, free_port, fsync_ms, load, model, popularity_model, post, serving

RATES = (100, 250, 500, 750, 1000, 1250, 1500, 2000, 2500, 3000)
LIMITS_MS = {"history": 10.0, "event fsync": 40.0, "event memory": 10.0}
"""Largest p99 of a sustained rate at 100 k items, by request."""
PEER_LIMIT_MS = 100.0
"""Largest p99 of a sustained rate in the comparison; a response of the peer takes a fifth of it."""
SERVING_NEEDS = [
    "numpy",
    "msgspec",
    "safetensors",
    "apsw",
    "httptools",
    "uvloop",
    "onnxruntime",
    "prometheus-client",
]
"""Packages that serving imports; the other dependencies are for reading logs and fitting."""
PEER_NEEDS = ["fastapi", "uvicorn[standard]"]


def latency(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Measure each type of request at rising rates, for each model and size."""
    result: dict[str, Any] = {"disk": fsync_ms(folder)}
    for items in options.items:
        for name in options.models:
            rows = result.setdefault(f"{name} {items}", {})
            data = folder / f"data-{name}-{items}-{options.workers}-{options.approximate}"
            server_options = {"workers": options.workers, "approximate": options.approximate}
            with serving(model(name, items, folder), data, **server_options) as server:
                time.sleep(3.0 * (options.workers - 1))  # until all processes serve
                rows["started_s"] = server.started_s
                rows["rss_mb"] = server.rss_mb()
                for request in LIMITS_MS:
                    rows[request] = rising_rates(server, request, items, options)
                    print(name, items, request, best_rate(rows[request]), file=sys.stderr, flush=True)
    result["disk after"] = fsync_ms(folder)
    import plots

    (ROOT / "docs" / "results" / "plots").mkdir(parents=True, exist_ok=True)
    plots.write(plots.serving_latency(result), ROOT / "docs" / "results" / "plots" / "serving-latency.svg")
    return result


def rising_rates(
    server: Server, request: str, items: int, options: argparse.Namespace, limit: float | None = None
) -> dict[str, Any]:
    """Measure rates until two in a row are far from sustained.

    Args:
        server: the server.
        request: type of request, with the durability of an event.
        items: number of items.
        options: rates and seconds.
        limit: largest p99 in milliseconds; None: that of LIMITS_MS.
    """
    kind, _, durability = request.partition(" ")
    limit = limit or LIMITS_MS[request] * (2.5 if items > 500_000 else 1)
    steps, failed = [], 0
    for rate in options.rates:
        step = load(server, kind, rate, options.seconds, items=items, durability=durability or None, seed=rate)
        step["sustained"] = sustained(step, limit, options.seconds)
        steps.append(step)
        near = sustained(step, 3 * limit, options.seconds)
        failed = 0 if near else failed + 1
        if failed == 2:
            break
    return {"limit_p99_ms": limit, "steps": steps, "sustainable_per_s": best_rate({"steps": steps})}


def sustained(step: dict[str, Any], limit_ms: float, seconds: float) -> bool:
    """Return True if (nearly) all requests were scored in time.

    Requests come at random, so that the number of responses may be three standard deviations below the expected one.

    Args:
        step: result of one rate.
        limit_ms: largest p99.
        seconds: duration of the measurement.
    """
    expected = step["offered_per_s"] * seconds
    minimum = 0.97 * expected - 3 * expected**0.5
    is_complete = step["answered_per_s"] * seconds >= minimum and not step["failures"] and not step["fallbacks"]
    return bool(is_complete and step["p99_ms"] is not None and step["p99_ms"] <= limit_ms)


def best_rate(result: dict[str, Any]) -> int:
    """Return the largest sustained rate."""
    return max((step["offered_per_s"] for step in result["steps"] if step["sustained"]), default=0)


def floor(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Measure a popularity model: the time of HTTP, attribution and the machine."""
    with serving(popularity_model(folder), folder / "data-floor") as server:
        return {"popularity 1000": {"history": rising_rates(server, "history", 1000, options)}}


def ingest(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Measure events in a closed loop, each acknowledged after fsync."""
    result: dict[str, Any] = {"disk": fsync_ms(folder)}
    with serving(model("gru4rec", 10_000, folder), folder / "data-ingest") as server:
        for batch, connections in ((100, 4), (100, 8), (1, 32), (1, 64), (1, 128)):
            row = load(server, "events", None, options.seconds, items=10_000, batch=batch, connections=connections)
            row["events_per_s"] = round(row["answered_per_s"] * batch)
            result[f"batches of {batch}, {connections} connections"] = row
            print(batch, connections, row["events_per_s"], row["p99_ms"], file=sys.stderr, flush=True)
    return result


def memory(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Measure the resident size with cached histories, the restart with a long log, and the installed size."""
    from segue.serving.store.event_store import EventStore, import_events

    users, events = options.users, options.users * 10
    run, data = model("gru4rec", 100_000, folder), folder / "data-memory"
    data.mkdir(exist_ok=True)
    store = EventStore(data / "events.sqlite")
    started = time.perf_counter()
    import_events(store, make_events(events, users))
    imported_s = round(time.perf_counter() - started, 1)
    store.close()
    result: dict[str, Any] = {"users": users, "events": events, "imported_s": imported_s}
    with serving(run, folder / "data-empty") as server:
        result["cold_start_s"] = server.started_s
        result["rss_mb_empty"] = server.rss_mb()
    with serving(run, data) as server:
        result["restart_s"] = server.started_s
        started = time.perf_counter()
        assert post(server.port, "/v1/recommend", {"user_id": "user-0"}) is not None
        result["first_response_of_a_user_ms"] = round((time.perf_counter() - started) * 1e3, 1)
        num_users = 0
        while num_users < users:
            job = {"users": users, "connections": 16, "warm_s": 0.0, "first": num_users}
            step = load(server, "user", None, options.seconds, items=100_000, **job)
            num_users += step["statuses"]["200"]
            result["first_answers_per_s"] = step["answered_per_s"]
        result["rss_mb"] = server.rss_mb()
    result["installed_mb"] = installed_mb(folder) if not options.skip_install else None
    return result


def make_events(count: int, users: int) -> Any:
    """Yield ``count`` events of ``users`` users, in the order of time."""
    from segue.serving.schemas.requests import EventIn
    from segue.serving.store.event import validate_event

    for n in range(count):
        item = f"item-{n * 7919 % 100_000}"
        yield validate_event(
            EventIn(item_id=item, user_id=f"user-{n % users}", event_id=str(n)), 1_700_000_000_000_000 + n
        )


def installed_mb(folder: Path) -> dict[str, float]:
    """Return the megabytes of new environments: the wheel with its 'serve' extra, and with the packages of serving."""
    wheels, sizes = folder / "wheels", {}
    subprocess.run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", wheels, ROOT], check=True)
    (wheel,) = wheels.glob("segue-*.whl")
    for name, needs in (("serve extra", [f"{wheel}[serve]"]), ("serving imports", [*SERVING_NEEDS])):
        env = folder / f"env-{name.split()[0]}"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", env], check=True)
        pip = [sys.executable, "-m", "pip", "--python", str(env / "bin" / "python"), "install", "-q"]
        subprocess.run([*pip, *needs], check=True)
        if name != "serve extra":
            subprocess.run([*pip, "--no-deps", str(wheel)], check=True)
            program = "import segue.serving.server; print('it can serve')"
            subprocess.run([str(env / "bin" / "python"), "-c", program], check=True)
        total = sum(path.stat().st_size for path in env.rglob("*") if path.is_file() and not path.is_symlink())
        sizes[name] = round(total / 1e6, 1)
    return sizes


def peer(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Measure a FastAPI service with PyTorch and a full sort, and Segue on the same weights: histories at rising
    rates."""
    site = folder / "peer-site"
    pip = [sys.executable, "-m", "pip", "install", "-q", "--target", str(site), *PEER_NEEDS]
    subprocess.run(pip, check=True)
    result: dict[str, Any] = {}
    items = 100_000
    run = model("gru4rec", items, folder)
    port = free_port()
    script = ROOT / "benchmarks" / "peers" / "afternoon_service.py"
    rates = (5, 10, 20, 40, 60, 80, 100, 150, 200, 300)
    server = Server([sys.executable, str(script), str(run), str(port)], port, PYTHONPATH=python_path(site))
    try:
        options_of_peer = argparse.Namespace(rates=rates, seconds=options.seconds)
        result["afternoon service"] = {"started_s": server.started_s, "rss_mb": server.rss_mb()}
        result["afternoon service"] |= rising_rates(server, "history", items, options_of_peer, PEER_LIMIT_MS)
        closed = load(server, "history", None, options.seconds, items=items, connections=16)
        result["afternoon service"]["closed loop"] = closed
    finally:
        server.end()
    for workers in (1, 2):
        with serving(run, folder / f"data-peer-{workers}", workers=workers) as server:
            time.sleep(3.0 * (workers - 1))  # until all processes serve
            row: dict[str, Any] = {"workers": workers, "started_s": server.started_s, "rss_mb": server.rss_mb()}
            row |= rising_rates(server, "history", items, options, PEER_LIMIT_MS)
            row["closed loop"] = load(server, "history", None, options.seconds, items=items, connections=16)
        service = result["afternoon service"]
        segue_rate, peer_rate = (measured["sustainable_per_s"] for measured in (row, service))
        row["times_the_rate_at_equal_p99"] = round(segue_rate / peer_rate, 1) if peer_rate else None
        segue_rate, peer_rate = (measured["closed loop"]["answered_per_s"] for measured in (row, service))
        row["times_the_rate_at_any_latency"] = round(segue_rate / peer_rate, 1)
        result[f"segue, {workers} process{'es' if workers > 1 else ''}"] = row
    return result


def python_path(site: Path) -> str:
    """Return PYTHONPATH with a folder of packages before the others."""
    import os

    return os.pathsep.join([str(site), os.environ.get("PYTHONPATH", str(ROOT / "src"))])


PARTS = {
    "latency": latency,
    "floor": floor,
    "ingest": ingest,
    "memory": memory,
    "peer": peer,
    "faults": serving_faults.faults,
}


def main() -> None:
    """Measure the named parts and write their results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", choices=PARTS)
    parser.add_argument("--seconds", type=float, default=10.0, help="duration of each measurement")
    parser.add_argument("--rates", type=int, nargs="+", default=list(RATES))
    parser.add_argument("--items", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--models", nargs="+", default=["gru4rec", "sasrec"])
    parser.add_argument(
        "--workers", type=int, default=1, help="processes of the server, in the parts latency and faults"
    )
    parser.add_argument("--approximate", action="store_true", help="approximate search in the part latency")
    parser.add_argument("--users", type=int, default=100_000, help="users of the part memory")
    parser.add_argument("--faults", nargs="+", choices=serving_faults.FAULTS, default=list(serving_faults.FAULTS))
    parser.add_argument("--swaps", type=int, default=50, help="version swaps of the part faults")
    parser.add_argument("--terms", type=int, default=20, help="SIGTERMs of the part faults")
    parser.add_argument("--kills", type=int, default=100, help="kill -9s of the part faults")
    parser.add_argument("--slow", type=int, default=1000, help="slow clients of the part faults")
    parser.add_argument("--skip-install", action="store_true", help="do not measure environments in the part memory")
    parser.add_argument("--folder", type=Path, help="folder of models and logs; default: a temporary one")
    options = parser.parse_args()
    for part in options.parts:
        with tempfile.TemporaryDirectory() as temporary:
            folder = options.folder or Path(temporary)
            folder.mkdir(parents=True, exist_ok=True)
            given = {key: value for key, value in vars(options).items() if key not in ("folder", "parts")}
            result = PARTS[part](options, folder)
            if part == "faults":  # it writes its own file, fault by fault
                continue
            suffix = ""
            if part == "latency":
                suffix += "-approximate" if options.approximate else ""
                suffix += f"-{options.workers}-workers" if options.workers > 1 else ""
            save(f"serving-{part}{suffix}", {"about": about(), "options": given, **result})


if __name__ == "__main__":
    main()
