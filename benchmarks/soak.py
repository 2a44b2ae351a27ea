"""Soak: a real server of three processes under mixed load, faults and changes for half an hour, and a verdict.

  scripts/soak                      half an hour; writes benchmarks/results/soak.json, exits with 1 for a broken promise
  scripts/soak --minutes 6          a short one, for a look

The load is an open loop of every kind of request (``soak_clients.py``). Beside it: versions swapped every 20 s, a
damaged candidate now and then, an erasure every 4 s, slow clients, four times the peak for 20 s every 3 minutes, a
worker killed every 2 minutes, and one restart by SIGTERM after a tenth of the run.

Memory: resident memory of each process every 10 s. For each process that lived at least 2 minutes beyond its warm-up (a
third of the run) the least value of each minute is kept, because a swap holds two versions for seconds. The slope is
Theil and Sen's median of the pairwise slopes of these values; its interval holds 95 % (Sen 1968, normal approximation).
The other worker is killed now and then, so its lives are mostly shorter than the warm-up.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import NormalDist
from typing import Any

import apsw
import numpy as np

from machine import about, save
from segue.data.catalog import Catalog
from segue.data.sequences import Sequences
from segue.models import artifact
from segue.serving.deployment.model_registry import ModelRegistry
from serving_faults import trickle
from serving_world import SERVER, Server, free_port, load_process
from soak_clients import ITEMS, Http, MixedLoad, Phases, Reply, own_item

KEY = "key-of-the-soak-only"
PROCESSES = 3
HISTORIES = 1_000
"""Histories in memory, few, so that the cache is full long before the warm-up ends."""
SAMPLE_S, SWAP_S, ERASE_S, KILL_S, OVERLOAD_S = 10.0, 20.0, 4.0, 120.0, 180.0
MAX_SLOPE_MB_PER_H = 2.0
FEW_CONNECTIONS = 5
"""Kept-alive connections of the load that may differ from one quiet time to another."""
SLOW_CLIENTS, SLOW_LIMIT_S = 10, 15.0
_WORKER = b"segue.serving.workers"


def build_model(name: str, mark: str, folder: Path, seed: int) -> Path:
    """Save a small model with random weights, half of whose items only this version has, and return its folder.

    Args:
        name: gru4rec or popularity.
        mark: mark of its own items.
        folder: folder of the models.
        seed: seed of the weights.
    """
    from segue.models.counting.popularity import Popularity
    from segue.models.zoo import ZOO
    from segue.training.build_net import build_net
    from segue.training.export import export_scorer

    catalog = Catalog([*(f"item-{n}" for n in range(ITEMS)), *(own_item(mark, n) for n in range(ITEMS))])
    rng = np.random.default_rng(seed)
    counts_V = rng.integers(0, 1000, 2 * ITEMS + 1)
    if name == "popularity":
        scorer, settings = Popularity(counts_V.astype(np.float32)), {}
    else:
        config = ZOO[name].config(embedding_dim=32, spectral_init=False)
        net = build_net(config, Sequences.from_lists([]), 2 * ITEMS + 1, seed)
        scorer, settings = export_scorer(name, net, counts_V), asdict(config)
    path = folder / mark
    artifact.save(artifact.Artifact(name, settings, catalog, scorer.arrays(), {}, {"exclude_seen": True}), path)
    return path


class SoakServer(Server):
    """Server with a key, its log in a file, and few histories in memory."""

    def __init__(self, run: Path, data: Path, port: int, log: Path) -> None:
        arguments = [str(run), str(data), str(port), "fsync", str(HISTORIES), str(PROCESSES), "False"]
        threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "SEGUE_API_KEY": KEY}
        self.port = port
        with log.open("ab") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-c", SERVER, *arguments], env={**os.environ, **threads}, stderr=file
            )

    def workers(self) -> list[int]:
        """Return the process ids of the workers, the oldest first; other children are left out."""
        pids = []
        for pid in self.worker_pids():
            with contextlib.suppress(OSError):
                if _WORKER in Path(f"/proc/{pid}/cmdline").read_bytes():
                    pids.append(pid)
        return sorted(pids)


async def wait_until_ready(http: Http, server: SoakServer, timeout_s: float = 180.0) -> None:
    """Wait until the server is ready and all its workers run.

    Args:
        http: client of the server.
        server: the server.
        timeout_s: longest wait, seconds.

    Raises:
        RuntimeError: the server ended, or is not ready in time.
    """
    until_s = time.monotonic() + timeout_s
    while time.monotonic() < until_s and server.process.poll() is None:
        if (await http.send("GET", "/health/ready")).status == 200 and len(server.workers()) == PROCESSES - 1:
            return
        await asyncio.sleep(0.1)
    raise RuntimeError(f"The server is not ready; it ended with {server.process.poll()}.")


@dataclass
class Life:
    """Samples of one process."""

    role: str
    samples: list[dict[str, float]] = field(default_factory=list)


class Soak:
    """One run: the server, its load, the faults, and the samples.

    Args:
        minutes: length of the run.
        rate: requests a second of the mixed load.
        seed: seed of requests and faults.
        folder: folder for models, data and log.
    """

    def __init__(self, minutes: float, rate: float, seed: int, folder: Path) -> None:
        self.seconds = 60 * minutes
        self.rate = rate
        self.rng = random.Random(seed)
        self.data, self.log = folder / "data", folder / "server.log"
        self.registry = ModelRegistry(folder / "registry")
        self.versions: dict[str, str] = {}
        for number, name in enumerate(("gru4rec", "popularity", "gru4rec", "popularity")):
            mark = f"{name}{number}"
            self.versions[self.registry.add(build_model(name, mark, folder, number))] = mark
        *self.sound, self.broken = self.versions
        self.registry.promote(self.sound[0])
        damage(self.registry.path(self.broken))
        self.port = free_port()
        self.phases = Phases()
        self.http = Http(self.port, KEY)
        self.load = MixedLoad(self.http, self.phases, self.versions, seed)
        self.lives: dict[int, Life] = {}
        self.samples: list[dict[str, Any]] = []
        self.counts: Counter[str] = Counter()
        self.overloads: list[dict[str, Any]] = []
        self.slow_s: list[float] = []
        self.exit_codes: list[int] = []
        self.max_rate = 0.0

    def start(self) -> SoakServer:
        """Start a server on the one port and data directory."""
        return SoakServer(self.registry.folder, self.data, self.port, self.log)

    async def run(self) -> None:
        """Run the whole soak."""
        self.server = self.start()
        try:
            await wait_until_ready(self.http, self.server)
            with self.phases.during("overload"):
                self.max_rate = (await self.storm(None, 5.0))["good_per_s"]
            self.began_s = time.monotonic()
            self.until_s = self.began_s + self.seconds
            jobs = [self.sample(), self.swap(), self.erase(), self.restart_once()]
            jobs += [self.every(KILL_S, self.kill), self.every(OVERLOAD_S, self.overload), self.slow()]
            background = [asyncio.create_task(job) for job in jobs]
            await self.load.run(self.rate, self.until_s)
            for task in background:
                await task
        finally:
            self.http.close()
            self.exit_codes.append(await asyncio.to_thread(self.server.end, signal.SIGTERM))

    @property
    def is_over(self) -> bool:
        """Return whether the time of the run is over."""
        return time.monotonic() >= self.until_s

    async def every(self, pause_s: float, job: Any) -> None:
        """Run a job after every pause, as long as the run has time for it and the server is not restarting.

        Args:
            pause_s: pause, seconds.
            job: the job, a coroutine function.
        """
        due_s = self.began_s + pause_s
        while due_s + 30 < self.until_s:
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            while self.phases.names(time.monotonic(), time.monotonic()) & {"restart", "killed"}:
                await asyncio.sleep(0.5)
            await job()
            due_s += pause_s

    async def storm(self, rate: float | None, seconds: float) -> dict[str, Any]:
        """Run the load generator of the benchmarks with requests for a history's list.

        Args:
            rate: requests a second; None: as many as are answered.
            seconds: duration.
        """
        connections = 32 if rate is None else 500
        job = {"connections": connections, "users": 1, "warm_s": 0.5, "ports": [self.port], "kind": "history"}
        process = load_process({**job, "items": ITEMS, "rate": rate, "seconds": seconds, "key": KEY})
        out, _ = await asyncio.to_thread(process.communicate, timeout=seconds + 90)
        result: dict[str, Any] = json.loads(out)
        del result["histogram_ms"]
        return result

    async def overload(self) -> None:
        """Offer four times the peak for 20 s."""
        with self.phases.during("overload"):
            result = await self.storm(4 * self.max_rate, 20.0)
        self.overloads.append(result)
        odd = {status: n for status, n in result["statuses"].items() if status not in ("200", "429", "503")}
        if "not sent" in result["failures"]:  # it ended with requests under way and others without a free connection
            result["failures"].pop("no response", None)
        odd |= {name: n for name, n in result["failures"].items() if name != "not sent"}
        if odd:
            self.load.complain("overload", f"{odd}")

    async def kill(self) -> None:
        """Kill the younger worker; the server replaces it."""
        with self.phases.during("killed"):
            os.kill(self.server.workers()[-1], signal.SIGKILL)
            self.counts["killed_workers"] += 1
            await asyncio.sleep(1.0)
            until_s = time.monotonic() + 30
            while len(self.server.workers()) < PROCESSES - 1 and time.monotonic() < until_s:
                await asyncio.sleep(0.2)
            await asyncio.sleep(2.0)  # until it listens

    async def restart_once(self) -> None:
        """Stop the server by SIGTERM and start it again."""
        await asyncio.sleep(self.seconds / 10)
        while self.phases.names(time.monotonic(), time.monotonic()):
            await asyncio.sleep(0.5)
        with self.phases.during("restart"):
            started = time.monotonic()
            self.exit_codes.append(await asyncio.to_thread(self.server.end, signal.SIGTERM))
            self.counts["stop_ms"] = round((time.monotonic() - started) * 1e3)
            self.server = self.start()
            await wait_until_ready(self.http, self.server)
            self.counts["restart_ms"] = round((time.monotonic() - started) * 1e3)

    async def swap(self) -> None:
        """Deploy another version every 20 s, every third time for some users or as shadow; now and then a damaged one.

        A minute is one cycle, so that the least values of the minutes are those of the same versions in memory.
        """
        turn, live = 0, self.sound[0]
        while not self.is_over:
            await asyncio.sleep(SWAP_S)
            turn += 1
            body: dict[str, Any] = {"version": self.sound[turn % len(self.sound)]}
            if turn % 3 == 1 and body["version"] != live:  # beside itself it cannot be deployed
                body |= self.rng.choice(({"canary": 0.3}, {"interleave": 0.5}, {"shadow": True}))
            reply = await self.http.send("POST", "/v1/admin/promote", body, timeout_s=60)
            if self.load.judge("promote", reply):
                self.counts["swaps"] += 1
                live = reply.json()["roles"]["live"]
            if turn % 4 == 0:
                reply = await self.http.send("POST", "/v1/admin/promote", {"version": self.broken}, timeout_s=60)
                self.counts["refused_candidates"] += self.load.judge("promote a damaged one", reply, (409,))

    async def erase(self) -> None:
        """Erase a user every 4 s: in turn one of the load, and one who sends nothing any more afterwards."""
        turn = 0
        while not self.is_over:
            await asyncio.sleep(ERASE_S)
            turn += 1
            user = f"canary-{turn}-{self.rng.getrandbits(48):x}" if turn % 2 else self.load.user()
            if turn % 2:
                events = [self.load.ledger.new({"user_id": user, "item_id": f"item-{n}"}) for n in range(3)]
                body = {"events": [event.body for event in events]}
                reply = await self.http.send("POST", "/v1/events", body)
                if not self.load.judge("events of a canary", reply):
                    continue
                self.load.ledger.acknowledge(events, may_resend=False)
                await self.http.send("POST", "/v1/recommend", {"user_id": user})
            await self.erase_user(user, is_silent=bool(turn % 2))

    async def erase_user(self, user: str, *, is_silent: bool) -> None:
        """Erase a user, and check that no earlier event is shown.

        Args:
            user: the user.
            is_silent: whether nothing is sent for the user any more.
        """
        ledger = self.load.ledger
        ledger.begin_erasure(user)
        reply = await self.http.send("DELETE", f"/v1/users/{user}", timeout_s=60)
        while reply.status != 200 and not self.is_over:  # a refused or cut off one is repeated, as an operator would
            self.load.judge("erasure", reply)
            await asyncio.sleep(1.0)
            reply = await self.http.send("DELETE", f"/v1/users/{user}", timeout_s=60)
        if not self.load.judge("erasure", reply):
            return
        ledger.end_erasure(user)
        self.counts["erasures"] += 1
        self.counts["erasures_compacted"] += bool(reply.json()["compacted"])
        shown = await self.http.send("GET", f"/v1/users/{user}")
        if is_silent:
            ledger.erased_users.add(user)
            self.load.judge("erased user", shown, (404,))
        elif self.load.judge("erased user", shown, (200, 404)) and shown.status == 200:
            for event in shown.json()["events"]:
                if ledger.events[event["event_id"]].fate == "erased":
                    self.load.complain("erased user", "an event is shown after its erasure", Reply())

    async def slow(self) -> None:
        """Keep slow clients connected, a byte a second each, half in the head and half in the body."""
        while not self.is_over:
            stop = threading.Event()
            job = asyncio.to_thread(trickle, self.port, SLOW_CLIENTS, self.slow_s, stop)
            with contextlib.suppress(OSError):  # the server is being restarted
                await job
            await asyncio.sleep(5.0)

    async def sample(self) -> None:
        """Record memory, descriptors, threads and files every 10 s."""
        due_s = self.began_s
        while not self.is_over:
            due_s += SAMPLE_S
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            now = round(time.monotonic() - self.began_s, 1)
            processes = {}
            for role, pid in [
                ("primary", self.server.process.pid),
                *(("worker", pid) for pid in self.server.workers()),
            ]:
                with contextlib.suppress(OSError, IndexError, ValueError):
                    row = process_sample(pid)
                    self.lives.setdefault(pid, Life(role)).samples.append({"s": now, **row})
                    processes[str(pid)] = row
            files = {path.name: path.stat().st_size for path in sorted(self.data.iterdir()) if path.is_file()}
            phases = sorted(self.phases.names(time.monotonic() - SAMPLE_S, time.monotonic()))
            row = {"s": now, "processes": processes, "files": files, "phases": phases, **self.load.take_interval()}
            self.samples.append(row)
            print(json.dumps({**row, "files": sum(files.values())}), file=sys.stderr, flush=True)


def damage(folder: Path) -> None:
    """Flip a byte in the middle of a version's largest file."""
    path = max((path for path in folder.iterdir() if path.is_file()), key=lambda path: path.stat().st_size)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)


def process_sample(pid: int) -> dict[str, float]:
    """Return resident memory in MB (all, and the anonymous part), descriptors and threads of a process.

    Args:
        pid: its id.
    """
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    number = lambda name: int(status.split(f"{name}:")[1].split()[0])  # noqa: E731
    return {
        "rss_mb": round(number("VmRSS") / 1024, 2),
        "anonymous_mb": round(number("RssAnon") / 1024, 2),
        "descriptors": len(os.listdir(f"/proc/{pid}/fd")),
        "threads": number("Threads"),
    }


def minute_minima(samples: list[dict[str, float]], key: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the hours and the least values of each whole minute.

    Args:
        samples: samples of one process.
        key: name of the value.
    """
    minutes: dict[int, list[tuple[float, float]]] = {}
    for sample in samples:
        minutes.setdefault(int(sample["s"] // 60), []).append((sample[key], sample["s"] / 3600))
    least = [min(values) for values in minutes.values() if len(values) >= 4]
    return np.array([hour for _, hour in least]), np.array([value for value, _ in least])


def slope(hours_N: np.ndarray, values_N: np.ndarray) -> dict[str, float]:
    """Return Theil and Sen's slope per hour with its 95 % interval (Sen 1968, eq. 2.6).

    Args:
        hours_N: times in hours.
        values_N: values.
    """
    count = len(hours_N)
    pairs = [(values_N[j] - values_N[i]) / (hours_N[j] - hours_N[i]) for i in range(count) for j in range(i + 1, count)]
    slopes = np.sort(np.array(pairs))
    width = NormalDist().inv_cdf(0.975) * (count * (count - 1) * (2 * count + 5) / 18) ** 0.5
    low = max(0, round((len(slopes) - width) / 2))
    high = min(len(slopes) - 1, round((len(slopes) + width) / 2))
    return {
        "per_h": round(float(np.median(slopes)), 2),
        "low": round(float(slopes[low]), 2),
        "high": round(float(slopes[high]), 2),
        "minutes": count,
    }


def growth(lives: dict[int, Life], warm_up_s: float) -> list[dict[str, Any]]:
    """Return the growth of every process that lived two minutes or more beyond its warm-up.

    Args:
        lives: samples by process id.
        warm_up_s: time since its first sample that is left out, seconds.
    """
    rows = []
    for pid, life in lives.items():
        settled = [sample for sample in life.samples if sample["s"] >= life.samples[0]["s"] + warm_up_s]
        if not settled or settled[-1]["s"] - settled[0]["s"] < 120:
            continue
        row: dict[str, Any] = {"pid": pid, "role": life.role, "from_s": settled[0]["s"], "to_s": settled[-1]["s"]}
        for name in ("rss_mb", "anonymous_mb"):
            row[name] = slope(*minute_minima(settled, name))
        third = max(1, len(settled) // 3)
        for name in ("descriptors", "threads"):
            first, last = (min(sample[name] for sample in part) for part in (settled[:third], settled[-third:]))
            row[name] = {"first_third": first, "last_third": last}
        rows.append(row)
    return rows


def grew_by(thirds: dict[str, float]) -> float:
    """Return the difference between the least values of the last and the first third."""
    return thirds["last_third"] - thirds["first_third"]


def stored_events(data: Path) -> tuple[Counter[str], Any]:
    """Return the number of rows by event id, and the result of SQLite's integrity check.

    Args:
        data: data directory of a stopped server.
    """
    database = apsw.Connection(str(data / "events.sqlite"))
    try:
        ids = Counter(str(row[0]) for row in database.execute("SELECT event_id FROM events"))
        return ids, database.execute("PRAGMA integrity_check").get
    finally:
        database.close()


def files_with(users: set[str], paths: list[Path]) -> list[str]:
    """Return the names of the files that hold an id of erased users.

    Args:
        users: erased users.
        paths: files.
    """
    found = []
    for path in paths:
        content = path.read_bytes()
        if any(user.encode() in content for user in users):
            found.append(path.name)
    return found


def verdict(soak: Soak) -> dict[str, Any]:
    """Return the figures and the broken promises of a run.

    Args:
        soak: the ended run.
    """
    load = soak.load
    stored, integrity = stored_events(soak.data)
    events = load.ledger.verdict(stored)
    grown = growth(soak.lives, soak.seconds / 3)
    log = soak.log.read_text(encoding="utf-8", errors="replace")
    paths = [path for path in soak.data.rglob("*") if path.is_file()] + [soak.log]
    canaries = files_with(load.ledger.erased_users, paths)
    slow_s = max(soak.slow_s, default=0.0)
    checks = {
        "memory of every long-lived process grows by less than 2 MB/h": bool(grown)
        and all(row["rss_mb"]["per_h"] < MAX_SLOPE_MB_PER_H for row in grown),
        "no descriptor growth": all(grew_by(row["descriptors"]) <= FEW_CONNECTIONS for row in grown),
        "no thread growth": all(grew_by(row["threads"]) <= 1 for row in grown),
        "no unexplained error": load.num_unexplained == 0,
        "every acknowledged event is stored once": events["lost"] == events["doubled"] == events["never_sent"] == 0,
        "no event is back after its erasure": events["back_after_erasure"] == 0,
        "no byte of an erased user is left": not canaries,
        "every list is of one version": load.num_mixed == 0 and load.num_lists > 0,
        "slow clients are closed within 15 s": slow_s <= SLOW_LIMIT_S and bool(soak.slow_s),
        "the event log is intact": integrity == "ok",
        "SIGTERM ends with 0": set(soak.exit_codes) == {0},
        "nothing failed in the log": " failed with " not in log and "Traceback" not in log,
    }
    return {
        "checks": checks,
        "growth": grown,
        "events": events,
        "back_after_erasure": load.ledger.back(stored),
        "counts": dict(soak.counts),
        "statuses": dict(load.statuses),
        "explained": dict(load.explained),
        "num_unexplained": load.num_unexplained,
        "unexplained": load.unexplained,
        "lists": {"checked": load.num_lists, "mixed": load.num_mixed, "fallbacks": load.num_fallbacks},
        "lists_by_version": dict(load.by_version),
        "files_with_erased_ids": canaries,
        "slow_clients": {"closed": len(soak.slow_s), "longest_s": round(slow_s, 1)},
        "exit_codes": soak.exit_codes,
        "peak_per_s": soak.max_rate,
        "overloads": soak.overloads,
        "last_log_lines": log.splitlines()[-20:],
        "samples": soak.samples,
    }


def main() -> int:
    """Run the soak, write its result, and return 1 where a promise broke."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--rate", type=float, default=60.0, help="requests a second of the mixed load")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="folder of models, data and log; default: a temporary one")
    parser.add_argument("--name", default="soak", help="name of the result file")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="segue-soak-"))
    folder.mkdir(parents=True, exist_ok=True)
    start = about(options.seed)
    try:
        soak = Soak(options.minutes, options.rate, options.seed, folder)
        asyncio.run(soak.run())
        result = verdict(soak)
    finally:
        if options.folder is None:
            shutil.rmtree(folder, ignore_errors=True)
    given = {"minutes": options.minutes, "rate": options.rate, "processes": PROCESSES}
    save(options.name, {"about": start, "options": given, **result})
    for name, is_kept in result["checks"].items():
        print(f"{'kept' if is_kept else 'BROKEN':7} {name}")
    return 0 if all(result["checks"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
