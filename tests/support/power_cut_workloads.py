"""Workloads for power cuts: the work that a recorded process does, and the recovery that opens each state afterwards.

``python -m tests.support.power_cut_workloads FOLDER SIZE NAME...`` does the work of workloads in FOLDER/NAME, one after
the other, and writes a line to standard output for each promise that is made.
"""

import asyncio
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import apsw
import numpy as np
from tests.serving.conftest import save_model

from segue.data.erasure_list import ErasureList
from segue.data.sequences import Sequences
from segue.models import artifact
from segue.serving.administration.admin_service import AdminService
from segue.serving.administration.back_up import back_up
from segue.serving.config import ServingConfig
from segue.serving.deployment.model_registry import ModelRegistry
from segue.serving.deployment.model_source import model_source
from segue.serving.schemas.requests import EventIn, RecommendRequest
from segue.serving.server import open_services
from segue.serving.store.data_directory import DataDirectory
from segue.serving.store.event import validate_event
from segue.serving.store.event_store import EventStore
from segue.serving.store.group_commit import GroupCommitWriter
from segue.system import atomic_files

CANARY = "CANARY-7f3a91"


def canary(number: int) -> str:
    """Return the id of an erased user, which is no part of another's."""
    return f"{CANARY}-{number:04d}"


MODELS = "POWER_CUT_MODELS"
"""Environment variable: folder of two small models, ``a`` and ``b``, outside the replayed folders."""
NOW_US = 1_700_000_000_000_000


def models() -> Path:
    """Return the folder of the two small models."""
    return Path(os.environ[MODELS])


def save_models(folder: Path) -> None:
    """Fit two small models, and let every workload of this process and its children use them."""
    rng = np.random.default_rng(3)
    starts = rng.integers(0, 12, 60).tolist()
    sequences = Sequences.from_lists([[(start + step) % 12 + 1 for step in range(8)] for start in starts])
    for name, model in (("a", "markov"), ("b", "popularity")):
        save_model(folder / name, model, sequences)
    os.environ[MODELS] = str(folder.resolve())


def mark(*words: object) -> None:
    """Write a line to standard output: a promise that is made now."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


@dataclass
class Workload:
    """Work that is recorded, and the promises that must hold in every state after a power cut."""

    folder: Path
    size: int = 1

    def prepare(self) -> None:
        """Make the content that is on disk before the recording."""

    def run(self) -> None:
        """Do the work, in the recorded process."""
        raise NotImplementedError

    def on_mark(self, words: list[str]) -> None:
        """Note a promise."""

    def recover(self, folder: Path) -> Any:
        """Open a state by Segue's own code and return the observed values, which depend on nothing but the state."""
        raise NotImplementedError

    def faults(self, found: Any) -> Iterator[str]:
        """Yield a sentence that begins with "lost" or "corrupt" for each promise that an observation breaks."""
        raise NotImplementedError


@dataclass
class EventLog(Workload):
    """Requests of one to four events, repeats among them, restarts and a compaction."""

    acknowledged: list[str] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    """Events that were acknowledged without a promise of the disk."""

    def run(self) -> None:
        directory = DataDirectory(self.folder / "data")
        number = 0
        for life in range(2 + self.size):
            store = EventStore(directory.path / "events.sqlite")
            writer = GroupCommitWriter(store, lambda stored: None)
            for request in range(8 * self.size):
                ids = [f"e{number + i}" for i in range(request % 4 + 1)]
                number += len(ids)
                repeats = [f"e{number // 2}"] if request % 3 == 2 else []
                events = [self._event(name) for name in [*ids, *repeats]]
                mark("SENT", *ids)
                if request % 5 == 4:
                    writer.submit(events, force=False).result()  # durable with the next request at the latest
                    mark("WEAK", *ids)
                else:
                    writer.submit(events).result()
                    mark("ACK", *ids)
            if life == 1:
                writer.run(lambda store: store.erasure.compact()).result()
            writer.close()
            store.close()
        mark("ACK")
        directory.release()

    @staticmethod
    def _event(name: str) -> Any:
        number = int(name[1:])
        sent = EventIn(item_id=f"i{number}", user_id=f"u{number % 3}", event_id=name, context={"text": "x" * 100})
        return validate_event(sent, NOW_US + number)

    def on_mark(self, words: list[str]) -> None:
        if words[0] == "SENT":
            self.sent += words[1:]
        elif words[0] == "WEAK":
            self.waiting += words[1:]
        else:
            self.acknowledged += [*self.waiting, *words[1:]]
            self.waiting = []

    def recover(self, folder: Path) -> Any:
        path = folder / "data" / "events.sqlite"
        if not path.exists():
            return [], 0, "ok"
        store = EventStore(path)
        damaged = store.num_damaged
        store.append([[self._event("e1000000")]])  # what was recovered can be written to
        store.close()
        connection = apsw.Connection(str(path))
        found = [row[0] for row in connection.execute("SELECT event_id FROM events ORDER BY seq")]
        check = connection.execute("PRAGMA integrity_check").get
        connection.close()
        return found[:-1], damaged, check

    def faults(self, found: Any) -> Iterator[str]:
        ids, damaged, check = found
        if missing := set(self.acknowledged) - set(ids):
            yield f"lost: {len(missing)} acknowledged events, among them {min(missing)}"
        if damaged or check != "ok":
            yield f"corrupt: {damaged} damaged rows, integrity check {check}"
        if len(ids) != len(set(ids)):
            yield "corrupt: an event is stored twice"
        if ids != self.sent[: len(ids)]:
            yield "corrupt: the log is not a prefix of the events in the order of their requests"


@dataclass
class Erasures(Workload):
    """Users who are erased between events, by the service that the HTTP server calls."""

    acknowledged: dict[str, str] = field(default_factory=dict)
    """Event -> user."""
    begun: set[str] = field(default_factory=set)
    receipts: set[str] = field(default_factory=set)

    def run(self) -> None:
        number = 0
        for life in range(2 * self.size):
            with serving(self.folder / "data") as admin:
                for turn in range(6):
                    user, number = canary(life) if turn % 2 else f"u{turn}", number + 1
                    sent = [EventIn(item_id="a", user_id=user, session_id=f"s-{user}", event_id=f"e{number}")]
                    if turn % 2:
                        sent.append(EventIn(item_id="b", session_id=f"s-{user}", event_id=f"x{number}"))
                    admin.router.store(sent)[0].result()
                    mark("ACK", *(word for event in sent for word in (event.event_id, user)))
                mark("ERASE", canary(life))
                admin.erase(canary(life))
                mark("RECEIPT", canary(life))
                old = EventIn(item_id="c", user_id=canary(life), event_id=f"old{number}", timestamp=1e9)
                admin.router.store([old])[0].result()  # an event from before the erasure that arrives late

    def on_mark(self, words: list[str]) -> None:
        if words[0] == "ACK":
            self.acknowledged |= dict(zip(words[1::2], words[2::2], strict=True))
        elif words[0] == "ERASE":
            self.begun.add(words[1])
        elif words[0] == "RECEIPT":
            self.receipts.add(words[1])

    def recover(self, folder: Path) -> Any:
        with serving(folder / "data") as admin:
            path = admin.store.path
        connection = apsw.Connection(str(path))
        events = dict(connection.execute("SELECT event_id, coalesce(user_id, session_id) FROM events").fetchall())
        check = connection.execute("PRAGMA integrity_check").get
        connection.close()
        erasures = ErasureList.read(folder / "data")
        names = [canary(life) for life in range(2 * self.size)]
        listed = [name for name in names if erasures.erased_until_us("user_id", name) is not None]
        content = b"".join(file.read_bytes() for file in (folder / "data").iterdir() if file.is_file())
        return events, check, listed, [name for name in names if name.encode() in content]

    def faults(self, found: Any) -> Iterator[str]:
        events, check, listed, in_bytes = found
        kept = {event for event, user in self.acknowledged.items() if user not in self.begun}
        if missing := kept - set(events):
            yield f"lost: {len(missing)} acknowledged events, among them {min(missing)}"
        if check != "ok":
            yield f"corrupt: integrity check {check}"
        if missing_entries := self.receipts - set(listed):
            yield f"lost: a receipt without an entry, {min(missing_entries)}"
        for user in listed:
            if left := [event for event, owner in events.items() if user in owner]:
                yield f"corrupt: events {left} of an erased user"
            if user in in_bytes:
                yield f"corrupt: bytes of the erased user {user}"


@dataclass
class RestoredBackup(Erasures):
    """A start on an event log from before an erasure: the erasure is repeated."""

    def prepare(self) -> None:
        data, backup = self.folder / "data", self.folder / "backup.sqlite"
        with serving(self.folder / "data") as admin:
            for n in range(8):
                user = canary(0) if n % 2 else "u"
                admin.router.store([EventIn(item_id="a", user_id=user, session_id=f"s-{user}", event_id=f"e{n}")])
        shutil.copy(data / "events.sqlite", backup)
        with serving(self.folder / "data") as admin:
            admin.erase(canary(0))
        backup.rename(data / "events.sqlite")

    def run(self) -> None:
        mark("ACK", *(word for n in range(0, 8, 2) for word in (f"e{n}", "u")))
        mark("RECEIPT", canary(0))
        with serving(self.folder / "data"):
            mark("STARTED")


@dataclass
class BackedUp(Workload):
    """A backup of a data directory, which is a data directory itself."""

    promises: list[str] = field(default_factory=list)

    def prepare(self) -> None:
        with serving(self.folder / "data") as admin:
            for n in range(8 * self.size):
                admin.router.store([EventIn(item_id="a", user_id=f"u{n % 3}", event_id=f"e{n}")])[0].result()
            admin.erase("u2")

    def run(self) -> None:
        for n in range(self.size):
            back_up(self.folder / "data", self.folder / "deep" / f"backup-{n}")
            mark("BACKUP", f"backup-{n}")

    def on_mark(self, words: list[str]) -> None:
        self.promises.append(words[1])

    def recover(self, folder: Path) -> Any:
        found = {}
        for data in [folder / "data", *(folder / "deep").glob("backup-[0-9]")]:
            with serving(data) as admin:
                erased = ErasureList.read(data).erased_until_us("user_id", "u2") is not None
                found[data.name] = (admin.store.count(), erased)
        return found

    def faults(self, found: Any) -> Iterator[str]:
        whole = (sum(n % 3 != 2 for n in range(8 * self.size)), True)
        for name in ["data", *self.promises]:
            if found.get(name) != whole:
                yield f"lost: {name} holds {found.get(name)} instead of {whole}"
        for name in set(found) - set(self.promises):
            if found[name] != whole:
                yield f"corrupt: {name} is there and holds {found[name]} instead of {whole}"


@dataclass
class Registry(Workload):
    """Versions added, promoted, given to a canary share, and rolled back."""

    live: str = ""
    """Last acknowledged live version."""
    expected: set[str] = field(default_factory=set)
    """Versions that may be live now: before and after a change that is under way."""

    def run(self) -> None:
        registry = ModelRegistry(self.folder / "models")
        promoted = ["ab"[n % 2] for n in range(1 + self.size)]
        for name in promoted:
            version = registry.add(models() / name)
            mark("BEGIN", version)
            registry.promote(version)
            mark("LIVE", version)
        registry.promote(registry.add(models() / ("a" if promoted[-1] == "b" else "b")), canary=0.1)
        registry.rollback()
        mark("BEGIN", artifact.version(models() / promoted[-2]))
        registry.rollback()
        mark("LIVE", registry.pointer().current.live)

    def on_mark(self, words: list[str]) -> None:
        if words[0] == "BEGIN":
            self.expected = {self.live, words[1]}
        else:
            self.live, self.expected = words[1], {words[1]}

    def recover(self, folder: Path) -> Any:
        registry = ModelRegistry.at(folder / "models")
        if registry is None:
            return ""
        version = registry.pointer().current.live
        registry.open(version)
        registry.promote(version, note="again")  # the next change works, whatever the cut has left lying about
        return version

    def faults(self, found: Any) -> Iterator[str]:
        if self.expected and found not in self.expected:
            yield f"lost: version '{found}' is live instead of one of {sorted(self.expected)}"


@dataclass
class RegistryInPlace(Registry):
    """A registry whose pointer is written in place: a fault that must be found."""

    def run(self) -> None:
        with mock.patch.object(atomic_files, "write", _write_in_place):
            super().run()


def _write_in_place(path: Path, pieces: Any, **options: Any) -> None:
    atomic_files.make_folder(path.parent)
    with path.open("wb") as file:
        for piece in pieces:
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())


@dataclass
class Artifact(Workload):
    """Models saved over one another in one folder."""

    expected: set[str] = field(default_factory=lambda: {""})

    def run(self) -> None:
        for name in ["ab"[n % 2] for n in range(2 + self.size)]:
            mark("BEGIN")
            version = artifact.save(artifact.load(models() / name), self.folder / "deep" / "run")
            mark("SAVED", version)

    def on_mark(self, words: list[str]) -> None:
        # A version has the time of its save in it, and so is known only afterwards.
        self.expected = {words[1]} if words[0] == "SAVED" else self.expected | {"new"}

    def recover(self, folder: Path) -> Any:
        target = folder / "deep" / "run"
        version = artifact.load(target).version if target.exists() else ""
        artifact.save(artifact.load(models() / "a"), target)
        artifact.load(target)
        return version

    def faults(self, found: Any) -> Iterator[str]:
        if found not in self.expected and (found == "" or "new" not in self.expected):
            yield f"lost: version '{found}' instead of one of {sorted(self.expected)}"


@dataclass
class TrainingCheckpoint(Workload):
    """States of a training, saved one after the other by two processes' lives."""

    saved: int = 0
    saving: int = 0

    def run(self) -> None:
        import torch

        from segue.training.checkpoints.checkpoint import Checkpoint
        from segue.training.checkpoints.state_file import TrainingState

        for n in range(1, 3 + 2 * self.size):
            if n in (1, 3):
                checkpoint = Checkpoint(self.folder / "run-training" / "run.checkpoint")
                checkpoint.load()
            mark("SAVING", n)
            checkpoint.save(TrainingState({"x": torch.full((1200,), float(n))}, {"n": n}))
            mark("SAVED", n)

    def on_mark(self, words: list[str]) -> None:
        self.saving = int(words[1])
        self.saved = self.saving if words[0] == "SAVED" else self.saved

    def recover(self, folder: Path) -> Any:
        from segue.training.checkpoints.checkpoint import Checkpoint

        state = Checkpoint(folder / "run-training" / "run.checkpoint").load()
        if state is None:
            return 0
        number = int(state.numbers["n"])
        return number if state.tensors["x"].tolist() == [float(number)] * 1200 else -1

    def faults(self, found: Any) -> Iterator[str]:
        if found not in (self.saved, self.saving):
            yield f"{'corrupt' if found < 0 else 'lost'}: state {found} instead of {self.saved} or {self.saving}"


@dataclass
class FirstStart(Workload):
    """First start of a server in a folder whose parents do not exist, with lists recorded for attribution."""

    acknowledged: list[str] = field(default_factory=list)

    def run(self) -> None:
        for life in range(2):
            with serving(self.folder / "deep" / "below" / "data") as admin:
                for turn in range(2 * self.size):
                    name = f"e{life}-{turn}"
                    request = RecommendRequest(user_id="u", k=3, exclude_seen=False)
                    answer = asyncio.run(admin.router.recommend(request))
                    sent = EventIn(
                        item_id=answer.items[0].id,
                        user_id="u",
                        event_id=name,
                        event="click",
                        recommendation_id=answer.recommendation_id,
                    )
                    admin.router.store([sent])[0].result()
                    mark("ACK", name)
                admin.report(1.0)

    def on_mark(self, words: list[str]) -> None:
        self.acknowledged.append(words[1])

    def recover(self, folder: Path) -> Any:
        with serving(folder / "deep" / "below" / "data") as admin:
            admin.report(1.0)
            path = admin.store.path
        connection = apsw.Connection(str(path))
        found = [row[0] for row in connection.execute("SELECT event_id FROM events ORDER BY seq")]
        check = connection.execute("PRAGMA integrity_check").get
        connection.close()
        return found, check

    def faults(self, found: Any) -> Iterator[str]:
        ids, check = found
        if missing := set(self.acknowledged) - set(ids):
            yield f"lost: {len(missing)} acknowledged events, among them {min(missing)}"
        if check != "ok":
            yield f"corrupt: integrity check {check}"


class serving(ExitStack):  # noqa: N801 - used as a function
    """Opened services of a server, without HTTP, on a data directory."""

    def __init__(self, data: Path, run: Path | None = None) -> None:
        super().__init__()
        self.data = data
        self.run = models() / "a" if run is None else run

    def __enter__(self) -> AdminService:  # type: ignore[override]
        super().__enter__()
        directory = DataDirectory(self.data)
        self.callback(directory.release)
        return open_services(directory.path, model_source(self.run), ServingConfig(), lambda line: None, self)


WORKLOADS: dict[str, Callable[[Path, int], Workload]] = {
    "events": EventLog,
    "erasures": Erasures,
    "restored-backup": RestoredBackup,
    "backup": BackedUp,
    "registry": Registry,
    "registry-in-place": RegistryInPlace,
    "artifact": Artifact,
    "checkpoint": TrainingCheckpoint,
    "first-start": FirstStart,
}


def main() -> None:
    """Do the work of the named workloads."""
    folder, size, *names = sys.argv[1:]
    for name in names:
        mark("WORKLOAD", name)
        WORKLOADS[name](Path(folder) / name, int(size)).run()


if __name__ == "__main__":
    main()
