"""Erasures at their edges: 200 at once in 20 rounds, under ingest, with kills and full disks.

  python benchmarks/erasures.py                        writes benchmarks/results/erasures.json, exits with 1 for a fault
  python benchmarks/erasures.py --users 20 --rounds 4  a short one, for a look

Each round stores three events of each user, one of which has only the user's session. Then all users are erased at
once, while clients send their old events again, some in sessions that no event has named before. The fault of the round
strikes meanwhile: none, kill -9, a full disk (a limit of the file size), or both. Requests without a receipt are
repeated. At the end of the round no receipt may lack its entry in the erasure list or count fewer events than were
acknowledged, no old event may be stored, no file of the data directory may hold a byte of a user's or session's id, no
event of another user may be lost, and no response may have the status 500.
"""

import argparse
import contextlib
import http.client
import json
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from machine import about, save
from segue.data.catalog import Catalog
from segue.models import artifact
from segue.models.counting.popularity import Popularity

FAULTS = ("none", "kill", "full disk", "full disk and kill")
OLD_S = 1_700_000_000
ITEMS = 50
MAX_S = 240.0
"""Time for which a request without a receipt is repeated, seconds; a start of the server is a part of it."""
INGEST_THREADS = 4


@dataclass
class Tally:
    """Counts of the whole run."""

    statuses: Counter[str] = field(default_factory=Counter)
    """Responses to DELETE by status."""
    refusals: Counter[str] = field(default_factory=Counter)
    """Refusals of DELETE by their sentence."""
    ingest: Counter[str] = field(default_factory=Counter)
    """Responses to events by status."""
    receipts: int = 0
    repeated: int = 0
    without_entry: int = 0
    too_few_events: int = 0
    stored_afterwards: int = 0
    files_with_bytes: int = 0
    others_lost: int = 0
    users_without_receipt: int = 0
    starts: Counter[str] = field(default_factory=Counter)
    """Starts of the server by the fault before them."""
    slowest_s: float = 0.0
    """Longest time from the first request of a user to the receipt."""

    def faults(self) -> int:
        """Return the number of broken promises."""
        kinds = (
            self.without_entry, self.too_few_events, self.stored_afterwards, self.files_with_bytes, self.others_lost,
            self.users_without_receipt, self.statuses["500"], self.ingest["500"],
        )  # fmt: skip
        return sum(kinds)


class Server:
    """Server in a process of its own, on one port and data directory for all rounds."""

    def __init__(self, run: Path, data: Path, workers: int) -> None:
        self.run, self.data, self.workers = run, data, workers
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.log = (data.parent / "log").open("ab")
        self.process: subprocess.Popen[bytes]

    def start(self) -> None:
        """Start the server and wait until it responds."""
        command = [sys.executable, "-m", "segue.serving", str(self.run), "--data", str(self.data)]
        options = ["--port", str(self.port), "--workers", str(self.workers)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen([*command, *options], stdout=self.log, stderr=self.log, env=environment)
        until_s = time.monotonic() + 120
        while True:
            with contextlib.suppress(OSError, http.client.HTTPException):
                if self.request("GET", "/health/ready")[0] == 200:
                    return
            if self.process.poll() is not None or time.monotonic() > until_s:
                sys.exit(f"The server does not start: {(self.data.parent / 'log').read_text()[-2000:]}")
            time.sleep(0.05)

    def request(self, method: str, path: str, body: Any = None, timeout_s: float = 120) -> tuple[int, Any]:
        """Return status and decoded body. Raises OSError or HTTPException without a response."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)
        with contextlib.closing(connection):
            headers = {} if body is None else {"Content-Type": "application/json"}
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            return response.status, json.loads(response.read() or b"null")

    def limit_files(self, size: int) -> None:
        """Limit the size of the files that the primary process writes; negative: no limit."""
        with contextlib.suppress(ProcessLookupError):
            hard = resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE)[1]
            resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (hard if size < 0 else size, hard))

    def end(self, number: int = signal.SIGTERM) -> None:
        """Send a signal and wait for the end."""
        self.process.send_signal(number)
        self.process.wait(120)


def save_model(folder: Path) -> Path:
    """Save a small model and return its folder."""
    counts_V = np.arange(ITEMS + 1, 0, -1).astype(np.float32)
    catalog = Catalog([f"item-{n}" for n in range(ITEMS)])
    artifact.save(artifact.Artifact("popularity", {}, catalog, Popularity(counts_V).arrays(), {}, {}), folder)
    return folder


class Round:
    """One round: users stored, erased under ingest and a fault, and checked."""

    def __init__(self, server: Server, tally: Tally, number: int, users: int, rng: random.Random) -> None:
        self.server, self.tally, self.rng = server, tally, rng
        self.mark = f"canary-{number:03}-"
        self.users = [f"{self.mark}user-{i}" for i in range(users)]
        self.others: dict[str, str] = {}
        """Acknowledged events of other users, by event id."""
        self.receipts: dict[str, dict[str, Any]] = {}
        self.ended = threading.Event()
        self.lock = threading.Lock()

    def events_of(self, user: str) -> list[dict[str, Any]]:
        """Return the old events of a user."""
        session = user.replace("user", "session")
        common = {"item_id": "item-1", "timestamp": OLD_S}
        return [
            {**common, "session_id": session, "event_id": f"{user}-1"},
            {**common, "session_id": session, "user_id": user, "event_id": f"{user}-2", "context": {"mail": user}},
            {**common, "user_id": user, "event_id": f"{user}-3"},
        ]

    def store(self) -> None:
        """Store the events of all users."""
        events = [event for user in self.users for event in self.events_of(user)]
        for start in range(0, len(events), 300):
            status, body = self.server.request("POST", "/v1/events", {"events": events[start : start + 300]})
            assert status == 200, body

    def ingest(self, thread: int) -> None:
        """Send old events of the users, and events of others, until the round ends."""
        rng, number = random.Random(f"{self.mark}{thread}"), 0
        while not self.ended.is_set():
            number += 1
            user, new = rng.choice(self.users), f"{self.mark}new-session-{thread}-{number}"
            other = f"other-{self.mark.removeprefix('canary-')}{thread}-{number}"
            old = {"item_id": "item-2", "timestamp": OLD_S, "session_id": new}
            batch = [old, {**old, "user_id": user}, *self.events_of(user)]
            for body in ({"events": batch}, {"item_id": "item-3", "user_id": f"u{number}", "event_id": other}):
                try:
                    status, _ = self.server.request("POST", "/v1/events", body, timeout_s=30)
                except (OSError, http.client.HTTPException, ValueError):
                    time.sleep(0.02)
                    continue
                with self.lock:
                    self.tally.ingest[str(status)] += 1
                    if status == 200 and "event_id" in body:
                        self.others[other] = body["user_id"]

    def erase(self, user: str) -> None:
        """Erase a user, and repeat until there is a receipt."""
        started_s, attempt = time.monotonic(), -1
        while time.monotonic() < started_s + MAX_S:
            attempt += 1
            try:
                status, body = self.server.request("DELETE", f"/v1/users/{user}")
            except (OSError, http.client.HTTPException, ValueError):
                time.sleep(0.25)
                continue
            with self.lock:
                self.tally.statuses[str(status)] += 1
                self.tally.repeated += attempt > 0
                if status != 200:
                    self.tally.refusals[body["detail"]] += 1
                if status == 200:
                    self.receipts[user] = body
                    self.tally.slowest_s = max(self.tally.slowest_s, round(time.monotonic() - started_s, 2))
                    return
            time.sleep(0.25)

    def strike(self, fault: str) -> None:
        """Let the fault of the round happen, and end it."""
        time.sleep(self.rng.uniform(0.5, 1.5) if fault == "full disk" else self.rng.uniform(0.0, 0.4))
        if "kill" in fault:
            self.server.end(signal.SIGKILL)
            self.server.start()
            self.tally.starts[fault] += 1
        self.server.limit_files(-1)

    def run(self, fault: str) -> None:
        """Run the round and check its promises."""
        self.store()
        threads = [threading.Thread(target=self.ingest, args=(n,)) for n in range(INGEST_THREADS)]
        with ThreadPoolExecutor(len(self.users)) as pool:
            for thread in threads:
                thread.start()
            if "full disk" in fault:
                largest = max(path.stat().st_size for path in self.server.data.iterdir())
                self.server.limit_files(largest + self.rng.randrange(0, 60_000))
            erasures = [pool.submit(self.erase, user) for user in self.users]
            if fault != "none":
                self.strike(fault)
            for erasure in erasures:
                erasure.result()
        time.sleep(0.3)  # old events go on for a while behind the receipts
        self.ended.set()
        for thread in threads:
            thread.join()
        self.check()

    def check(self) -> None:
        """Count the broken promises of the round."""
        tally, server = self.tally, self.server
        listed = json.loads((server.data / "erasures.json").read_text())
        tally.receipts += len(self.receipts)
        tally.users_without_receipt += len(self.users) - len(self.receipts)
        for receipt in self.receipts.values():
            tally.without_entry += listed.get(receipt["user_digest"], -1) < receipt["time_us"]
            tally.too_few_events += receipt["events"] < 3 or receipt["sessions"] < 1
        for user in self.users:
            status, body = server.request("POST", "/v1/events", {"events": self.events_of(user)})
            tally.stored_afterwards += body["accepted"] if status == 200 else 1
            tally.stored_afterwards += server.request("GET", f"/v1/users/{user}")[0] != 404
        await_none(lambda: files_with(server.data, self.mark), 20)
        server.end()
        left = files_with(server.data, self.mark)
        tally.files_with_bytes += len(left)
        if left:
            print(f"bytes of {self.mark} in {left}", file=sys.stderr)
        tally.others_lost += sum(1 for event in self.others if event not in stored_ids(server.data))


def stored_ids(data: Path) -> set[str]:
    """Return the event ids of the log of a server that has ended."""
    import apsw

    connection = apsw.Connection(str(data / "events.sqlite"))
    with contextlib.closing(connection):
        return {row[0] for row in connection.execute("SELECT event_id FROM events")}


def files_with(data: Path, mark: str) -> list[str]:
    """Return the files that hold the bytes of a text."""
    found = []
    for path in data.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            if path.is_file() and mark.encode() in path.read_bytes():
                found.append(path.name)
    return found


def await_none(condition: Callable[[], Any], timeout_s: float) -> None:
    """Wait until a condition is no longer true, for a limited time."""
    until_s = time.monotonic() + timeout_s
    while condition() and time.monotonic() < until_s:
        time.sleep(0.1)


def measure(users: int, rounds: int, workers: int, seed: int) -> dict[str, Any]:
    """Run all rounds and return the result.

    Args:
        users: users erased at once.
        rounds: number of rounds.
        workers: processes of the server.
        seed: seed of the faults.
    """
    tally, rng, started_s = Tally(), random.Random(seed), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        server = Server(save_model(Path(folder) / "model"), Path(folder) / "data", workers)
        for number in range(rounds):
            fault = FAULTS[number % len(FAULTS)]
            server.start()
            try:
                Round(server, tally, number, users, rng).run(fault)
            finally:
                if server.process.poll() is None:
                    server.end(signal.SIGKILL)
            print(f"round {number + 1} ({fault}): {tally}", file=sys.stderr, flush=True)
        _, *tracebacks = (Path(folder) / "log").read_text(errors="replace").split("Traceback")
    return {
        "about": about(seed),
        "users": users,
        "rounds": rounds,
        "workers": workers,
        "seconds": round(time.monotonic() - started_s, 1),
        "tracebacks_in_log": len(tracebacks),
        "first_traceback": tracebacks[0][:3000] if tracebacks else "",
        **{name: dict(value) if isinstance(value, Counter) else value for name, value in vars(tally).items()},
        "faults": tally.faults() + len(tracebacks),
    }


def main() -> None:
    """Measure, write the result, and exit with 1 for a broken promise."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--name", default="erasures", help="name of the result; empty: print it only")
    options = parser.parse_args()
    result = measure(options.users, options.rounds, options.workers, options.seed)
    if options.name:
        save(options.name, result)
    print(json.dumps(result, indent=1))
    sys.exit(1 if result["faults"] else 0)


if __name__ == "__main__":
    main()
