"""How fast and how steadily it serves: `python benchmarks/serving.py PART ... [--seconds 10]`, load generator included.

Parts: latency (GRU4Rec and SASRec, random weights, 10 k, 100 k and 1 M items, rising rates; a history, an event
acknowledged after fsync, one acknowledged before), floor (hardly a model), ingest (events alone), memory (resident
size with live sessions, restart, cold start, installed size), peer (the service one writes in an afternoon, same
machine, same load), faults (hot swaps, SIGTERM, kill -9, four times too much, slow clients; --faults chooses). Each
writes benchmarks/results/serving-PART.json; latency also docs/results/plots/serving-latency.svg. Nothing else must
run meanwhile.
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
from serving_world import Server, ask, free_port, fsync_ms, hardly_a_model, load, model, serving

RATES = (100, 250, 500, 750, 1000, 1250, 1500, 2000, 2500, 3000)
LIMITS_MS = {"history": 10.0, "event fsync": 40.0, "event memory": 10.0}
"""The p99 that a rate must keep to be called sustainable at 100 k items."""
PEER_LIMIT_MS = 100.0
"""The p99 that both services must keep where they are compared: one answer of the other takes a fifth of it."""
LIGHT = [
    "numpy",
    "msgspec",
    "safetensors",
    "apsw",
    "httptools",
    "uvloop",
    "onnxruntime",
    "prometheus-client",
]
"""What serving imports: the core's other dependencies are for reading logs and fitting."""
PEER_NEEDS = ["fastapi", "uvicorn[standard]"]


def latency(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """For each model and size, each kind of request at rising rates, until one cannot be kept."""
    result: dict[str, Any] = {"disk": fsync_ms(folder)}
    for items in options.items:
        for name in options.models:
            found = result.setdefault(f"{name} {items}", {})
            data = folder / f"data-{name}-{items}-{options.workers}-{options.approximate}"
            how = {"workers": options.workers, "approximate": options.approximate}
            with serving(model(name, items, folder), data, **how) as server:
                time.sleep(3.0 * (options.workers - 1))  # until all of them answer
                found["started_s"] = server.started_s
                found["rss_mb"] = server.rss_mb()
                for kind in LIMITS_MS:
                    found[kind] = ladder(server, kind, items, options)
                    print(name, items, kind, best_of(found[kind]), file=sys.stderr, flush=True)
    result["disk after"] = fsync_ms(folder)
    import plots

    (ROOT / "docs" / "results" / "plots").mkdir(parents=True, exist_ok=True)
    plots.write(plots.serving_latency(result), ROOT / "docs" / "results" / "plots" / "serving-latency.svg")
    return result


def ladder(
    server: Server, kind: str, items: int, options: argparse.Namespace, limit: float | None = None
) -> dict[str, Any]:
    """Rate by rate, until two in a row are far from what is asked."""
    word, _, durability = kind.partition(" ")
    limit = limit or LIMITS_MS[kind] * (2.5 if items > 500_000 else 1)
    steps, failed = [], 0
    for rate in options.rates:
        step = load(server, word, rate, options.seconds, items=items, durability=durability or None, seed=rate)
        step["sustained"] = sustained(step, limit, options.seconds)
        steps.append(step)
        near = sustained(step, 3 * limit, options.seconds)
        failed = 0 if near else failed + 1
        if failed == 2:
            break
    return {"limit_p99_ms": limit, "steps": steps, "sustainable_per_s": best_of({"steps": steps})}


def sustained(step: dict[str, Any], limit_ms: float, seconds: float) -> bool:
    """Whether a rate was kept: (nearly) everything answered, in time, by scoring. Requests come at random, so that
    fewer than were announced may be chance: three standard deviations are allowed for."""
    expected = step["offered_per_s"] * seconds
    enough = 0.97 * expected - 3 * expected**0.5
    kept = step["answered_per_s"] * seconds >= enough and not step["failures"] and not step["fallbacks"]
    return bool(kept and step["p99_ms"] is not None and step["p99_ms"] <= limit_ms)


def best_of(found: dict[str, Any]) -> int:
    """The largest sustained rate."""
    return max((step["offered_per_s"] for step in found["steps"] if step["sustained"]), default=0)


def floor(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Histories answered by hardly a model: what HTTP, the notes and this machine take, whatever answers."""
    with serving(hardly_a_model(folder), folder / "data-floor") as server:
        return {"popularity 1000": {"history": ladder(server, "history", 1000, options)}}


def ingest(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Events alone, closed loop: as many as the server takes, each acknowledged after fsync."""
    result: dict[str, Any] = {"disk": fsync_ms(folder)}
    with serving(model("gru4rec", 10_000, folder), folder / "data-ingest") as server:
        for batch, connections in ((100, 4), (100, 8), (1, 32), (1, 64), (1, 128)):
            found = load(server, "events", None, options.seconds, items=10_000, batch=batch, connections=connections)
            found["events_per_s"] = round(found["answered_per_s"] * batch)
            result[f"batches of {batch}, {connections} connections"] = found
            print(batch, connections, found["events_per_s"], found["p99_ms"], file=sys.stderr, flush=True)
    return result


def memory(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Resident size with live sessions, the time a restart takes with a long log, and the size of what is installed."""
    from segue.serving.store.event_store import EventStore, import_events

    people, events = options.people, options.people * 10
    run, data = model("gru4rec", 100_000, folder), folder / "data-memory"
    data.mkdir(exist_ok=True)
    store = EventStore(data / "events.sqlite")
    began = time.perf_counter()
    import_events(store, made_events(events, people))
    imported_s = round(time.perf_counter() - began, 1)
    store.close()
    result: dict[str, Any] = {"people": people, "events": events, "imported_s": imported_s}
    with serving(run, folder / "data-empty") as server:
        result["cold_start_s"] = server.started_s
        result["rss_mb_empty"] = server.rss_mb()
    with serving(run, data) as server:
        result["restart_s"] = server.started_s
        began = time.perf_counter()
        assert ask(server.port, "/v1/recommend", {"user_id": "user-0"}) is not None
        result["first_answer_of_a_person_ms"] = round((time.perf_counter() - began) * 1e3, 1)
        asked = 0
        while asked < people:
            options_of_all = {"people": people, "connections": 16, "warm_s": 0.0, "first": asked}
            step = load(server, "user", None, options.seconds, items=100_000, **options_of_all)
            asked += step["statuses"]["200"]
            result["first_answers_per_s"] = step["answered_per_s"]
        result["rss_mb"] = server.rss_mb()
    result["installed_mb"] = installed_mb(folder) if not options.skip_install else None
    return result


def made_events(count: int, people: int) -> Any:
    """Ten events for each person, in the order of time."""
    from segue.serving.schemas.requests import EventIn
    from segue.serving.store.event import validate_event

    for n in range(count):
        item = f"item-{n * 7919 % 100_000}"
        yield validate_event(
            EventIn(item_id=item, user_id=f"user-{n % people}", event_id=str(n)), 1_700_000_000_000_000 + n
        )


def installed_mb(folder: Path) -> dict[str, float]:
    """Megabytes of fresh environments: the wheel with its 'serve' extra, and with only what serving imports."""
    wheels, sizes = folder / "wheels", {}
    subprocess.run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", wheels, ROOT], check=True)
    (wheel,) = wheels.glob("segue-*.whl")
    for name, needs in (("serve extra", [f"{wheel}[serve]"]), ("what serving imports", [*LIGHT])):
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
    """FastAPI, PyTorch and a full sort, and our server on the same weights: histories at rising rates."""
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
        result["afternoon service"] |= ladder(server, "history", items, options_of_peer, PEER_LIMIT_MS)
        closed = load(server, "history", None, options.seconds, items=items, connections=16)
        result["afternoon service"]["closed loop"] = closed
    finally:
        server.end()
    for workers in (1, 2):
        with serving(run, folder / f"data-peer-{workers}", workers=workers) as server:
            time.sleep(3.0 * (workers - 1))  # until all of them answer
            found = {"workers": workers, "started_s": server.started_s, "rss_mb": server.rss_mb()}
            found |= ladder(server, "history", items, options, PEER_LIMIT_MS)
            found["closed loop"] = load(server, "history", None, options.seconds, items=items, connections=16)
        theirs = result["afternoon service"]
        ours, others = (one["sustainable_per_s"] for one in (found, theirs))
        found["times_the_rate_at_equal_p99"] = round(ours / others, 1) if others else None
        ours, others = (one["closed loop"]["answered_per_s"] for one in (found, theirs))
        found["times_the_rate_at_any_latency"] = round(ours / others, 1)
        result[f"segue, {workers} process{'es' if workers > 1 else ''}"] = found
    return result


def python_path(site: Path) -> str:
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", choices=PARTS)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    parser.add_argument("--rates", type=int, nargs="+", default=list(RATES))
    parser.add_argument("--items", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--models", nargs="+", default=["gru4rec", "sasrec"])
    parser.add_argument("--workers", type=int, default=1, help="of the server, in the parts latency and faults")
    parser.add_argument("--approximate", action="store_true", help="search through codes in the part latency")
    parser.add_argument("--people", type=int, default=100_000, help="live sessions of the part memory")
    parser.add_argument("--faults", nargs="+", choices=serving_faults.FAULTS, default=list(serving_faults.FAULTS))
    parser.add_argument("--swaps", type=int, default=50, help="hot swaps of the part faults")
    parser.add_argument("--terms", type=int, default=20, help="SIGTERMs of the part faults")
    parser.add_argument("--kills", type=int, default=100, help="kill -9s of the part faults")
    parser.add_argument("--slow", type=int, default=1000, help="slow clients of the part faults")
    parser.add_argument("--skip-install", action="store_true", help="do not measure environments in the part memory")
    parser.add_argument("--folder", type=Path, help="for models and logs; by default one that is deleted afterwards")
    options = parser.parse_args()
    for part in options.parts:
        with tempfile.TemporaryDirectory() as made:
            folder = options.folder or Path(made)
            folder.mkdir(parents=True, exist_ok=True)
            asked = {key: value for key, value in vars(options).items() if key not in ("folder", "parts")}
            result = PARTS[part](options, folder)
            if part == "faults":  # keeps its own file, fault by fault
                continue
            several = ""
            if part == "latency":
                several += "-approximate" if options.approximate else ""
                several += f"-{options.workers}-workers" if options.workers > 1 else ""
            save(f"serving-{part}{several}", {"about": about(), "asked": asked, **result})


if __name__ == "__main__":
    main()
