"""Kills and disk errors at each step of a commit: before, in the middle of and after every write, sync and truncation,
between the commit and its acknowledgement, and in a checkpoint."""

import os
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import pytest
from tests.support import forks
from tests.support.sqlite_faults import hooked

from segue.serving.schemas.problems import Problem
from segue.serving.schemas.requests import EventIn
from segue.serving.store.event import Event, validate_event
from segue.serving.store.event_store import EventStore
from segue.serving.store.group_commit import GroupCommitWriter

pytestmark = pytest.mark.timeout(400)

MEMORY = Path("/dev/shm")
COMMITS = 2
NOW_US = 1_700_000_000_000_000


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Return a folder in memory where there is one: a kill, unlike a power cut, loses nothing that was written."""
    place = MEMORY / f"failpoints-{os.getpid()}" if MEMORY.is_dir() else tmp_path / "work"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    yield place
    shutil.rmtree(place)


def event(name: str) -> Event:
    return validate_event(EventIn(item_id="a", user_id="u", event_id=name), NOW_US)


def commits(data: Path, first: int, acknowledge: Callable[[str], None], on_commit: Callable[..., None]) -> None:
    """Open the log, commit, and close it, which makes a checkpoint."""
    data.mkdir(exist_ok=True)
    store = EventStore(data / "events.sqlite")
    writer = GroupCommitWriter(store, on_commit)
    for number in range(first, first + COMMITS):
        names = [f"e{number}-{i}" for i in range(2)]
        writer.submit([event(name) for name in names]).result(30)
        for name in names:
            acknowledge(name)
    writer.close()
    store.close()


def points(data: Path, on_commit_too: bool) -> list[tuple[str, str, str]]:
    """Return every step that two lives of a log pass, in order."""
    passed: list[tuple[str, str, str]] = []
    with hooked(lambda *step: passed.append(step)):
        for life in range(2):
            commits(
                data,
                life * COMMITS,
                lambda name: None,
                lambda stored: passed.append(("commit", "listeners", "before")) if on_commit_too else None,
            )
    return passed


def lives_killed_at(data: Path, point: int, told: Path) -> None:
    """Do the same work, and end by SIGKILL at a step."""
    passed = -1

    def hook(*step: str) -> None:
        nonlocal passed
        passed += 1
        if passed == point:
            os.kill(os.getpid(), signal.SIGKILL)

    handle = os.open(told, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    with hooked(hook):
        for life in range(2):
            commits(
                data,
                life * COMMITS,
                lambda name: os.write(handle, f"{name}\n".encode()),  # type: ignore[arg-type, return-value]
                lambda stored: hook("commit", "listeners", "before"),
            )


def judged(data: Path, acknowledged: list[str]) -> None:
    """Assert that a restart finds every acknowledged event once and an intact log that takes further events."""
    store = EventStore(data / "events.sqlite")
    assert not store.num_damaged
    store.append([[event("after")]])
    store.close()
    connection = apsw.Connection(str(data / "events.sqlite"))
    counts = Counter(row[0] for row in connection.execute("SELECT event_id FROM events"))
    assert connection.execute("PRAGMA integrity_check").get == "ok"
    connection.close()
    assert not set(acknowledged) - set(counts)
    assert set(counts.values()) == {1}
    del counts["after"]
    of_request = Counter(name.partition("-")[0] for name in counts)
    assert set(of_request.values()) <= {2}, "half of a request was stored"


def test_killed_at_every_step_of_a_commit_no_acknowledged_event_is_lost(folder: Path) -> None:
    steps = points(folder / "whole", on_commit_too=True)
    assert {(call, kind) for call, kind, _ in steps} >= {
        ("write", "sqlite-wal"),
        ("sync", "sqlite-wal"),
        ("write", "sqlite"),
        ("sync", "sqlite"),
        ("truncate", "sqlite-wal"),
        ("commit", "listeners"),
    }
    killed = 0
    # After a write nothing happens until the next step, which is killed before.
    chosen = [n for n, (call, _, phase) in enumerate(steps) if (call, phase) != ("write", "after")]
    for point in chosen:
        data = folder / str(point)
        told = folder / f"{point}.acknowledged"
        killed += forks.run(lambda data=data, point=point, told=told: lives_killed_at(data, point, told)) == -9  # type: ignore[misc]
        judged(data, told.read_text().split())
        shutil.rmtree(data)
    assert killed == len(chosen) > 100


class DiskError:
    """Hook that fails at one step, or from one step on."""

    def __init__(self, point: int, is_full: bool, persistent: bool) -> None:
        self.left = point
        self.is_full = is_full
        self.persistent = persistent
        self.failed: list[str] = []
        self.healthy = False

    def __call__(self, call: str, kind: str, phase: str) -> None:
        if self.healthy or phase == "after":
            return
        self.left -= 1
        if self.left == -1 or (self.persistent and self.left < 0):
            self.failed.append(call)
            raise apsw.exception_for(apsw.SQLITE_FULL if self.is_full and call == "write" else CODES[call])


CODES = {
    "write": apsw.SQLITE_IOERR_WRITE,
    "sync": apsw.SQLITE_IOERR_FSYNC,
    "truncate": apsw.SQLITE_IOERR_TRUNCATE,
}


def acknowledged_under(data: Path, hook: DiskError) -> tuple[list[str], bool]:
    """Send requests to a log whose disk fails; return the acknowledged events, and whether one came after a failed
    sync of the write-ahead log."""
    data.mkdir()
    acknowledged: list[str] = []
    syncs_failed = 0
    late = False
    with hooked(hook):
        try:
            store = EventStore(data / "events.sqlite")
        except ValueError:
            hook.healthy = True  # the half-open connection is closed when it is collected
            return [], False
        writer = GroupCommitWriter(store, lambda stored: None)
        for number in range(COMMITS):
            try:
                writer.submit([event(f"e{number}-{i}") for i in range(2)]).result(30)
                acknowledged += [f"e{number}-{i}" for i in range(2)]
                late |= syncs_failed > 0
            except Problem as refused:
                assert refused.status == 503
            except apsw.Error:  # the disk fails before SQLite begins to write
                pass
            syncs_failed = hook.failed.count("sync")
        writer.close()
        hook.healthy = True
        store.close()
    return acknowledged, late


@pytest.mark.parametrize("persistent", [False, True], ids=["once", "from then on"])
@pytest.mark.parametrize("is_full", [False, True], ids=["I/O error", "disk full"])
def test_a_disk_error_at_any_step_is_never_acknowledged_away(folder: Path, is_full: bool, persistent: bool) -> None:
    steps = [step for step in points(folder / "whole", on_commit_too=False) if step[2] != "after"]
    refused = 0
    for point in range(len(steps) // 2):
        data = folder / str(point)
        hook = DiskError(point, is_full, persistent)
        acknowledged, late = acknowledged_under(data, hook)
        refused += len(acknowledged) < 2 * COMMITS
        assert not late, f"acknowledged after a failed sync, {steps[point]}"
        judged(data, acknowledged)
        shutil.rmtree(data)
    assert refused > 10
