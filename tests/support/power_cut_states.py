"""States after power cuts, opened by the recovery code of a workload and compared with the promises made until then."""

import os
import random
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from tests.support import forks, power_cut
from tests.support.power_cut import Disk, Forgets, Replay, State, Step
from tests.support.power_cut_workloads import WORKLOADS, Workload

ROOT = Path(__file__).resolve().parent.parent.parent
MEMORY = Path("/dev/shm")
MAX_FAULTS = 20


@dataclass
class Found:
    """Result of the states of one workload."""

    calls: int = 0
    """System calls after which the power was cut."""
    digests: set[bytes] = field(default_factory=set)
    """Digest of each state that was opened; each is opened once."""
    comparisons: int = 0
    """Pairs of a state and the promises made until it."""
    lost: int = 0
    corrupt: int = 0
    faults: list[str] = field(default_factory=list)
    """The first faults, each with the call after which the power was cut."""

    def add(self, other: "Found") -> None:
        """Add another result of the same workload."""
        self.calls = max(self.calls, other.calls)
        self.digests |= other.digests
        self.comparisons += other.comparisons
        self.lost += other.lost
        self.corrupt += other.corrupt
        self.faults = (self.faults + other.faults)[:MAX_FAULTS]


@dataclass
class Recording:
    """Recorded system calls of several workloads."""

    folder: Path
    size: int
    names: Sequence[str]

    @classmethod
    def make(cls, folder: Path, names: Sequence[str], size: int = 1) -> "Recording":
        """Do the work of the workloads in one process under strace.

        Args:
            folder: folder for the work and its trace.
            names: workloads.
            size: amount of work, 1 or more.
        """
        base = folder.resolve()
        for name in names:
            (base / "work" / name).mkdir(parents=True)
            WORKLOADS[name](base / "work" / name, size).prepare()
            shutil.copytree(base / "work" / name, base / "before" / name)
        command = [sys.executable, "-m", "tests.support.power_cut_workloads", str(base / "work"), str(size), *names]
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        }
        power_cut.record(command, base / "trace", base / "marks", cwd=ROOT, env=environment)
        return cls(base, size, names)

    def replay(self, name: str, forgets: Forgets = lambda call, path: False) -> Replay:
        """Return the replay of a workload from its folder as it was before the recording.

        Args:
            name: the workload.
            forgets: syncs that shall count for nothing.
        """
        root = self.folder / "work" / name
        return Replay(self.folder / "trace", root, Disk(self.folder / "before" / name), forgets)


def explore(
    recording: Recording,
    name: str,
    *,
    draws: int = 1,
    every: int = 1,
    seed: int = 0,
    part: tuple[int, int] = (0, 1),
    forgets: Forgets = lambda call, path: False,
    first_only: bool = False,
    known: Found | None = None,
) -> Found:
    """Cut the power after each system call of a workload, and open every state.

    Args:
        recording: the recorded calls.
        name: the workload.
        draws: random states of each kind after each call.
        every: look at each n-th call only, and at each promise.
        seed: seed of the random states.
        part: (n, of how many): look at this share of the calls only.
        forgets: syncs that shall count for nothing.
        first_only: stop at the first fault.
        known: result whose states are left out, because they were opened before.
    """
    replay = recording.replay(name, forgets)
    scratch = Path(tempfile.mkdtemp(prefix="power-cut-", dir=MEMORY if MEMORY.is_dir() else None))
    opened = _Opened(WORKLOADS[name](scratch, recording.size), scratch / "state", known)
    found, rng = opened.found, random.Random(f"{name} {seed}")
    try:
        for step in _own_steps(replay, name):
            if step.call == "mark":
                opened.promise(step.mark.split())
            else:
                found.calls += 1
            number, is_wanted = found.calls // every, step.call == "mark" or found.calls % every == 0
            if not is_wanted or number % part[1] != part[0]:
                continue
            place = f"{name}, call {found.calls} ({step.call} {step.path}{step.mark})"
            for state in replay.disk.states(rng, draws):
                opened.compare(state, place)
            if first_only and found.faults:
                break
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return found


def _own_steps(replay: Replay, name: str) -> Iterator[Step]:
    """Yield the steps of a workload, without the marks of others."""
    is_own = False
    for step in replay.steps():
        if step.mark.startswith("WORKLOAD "):
            is_own = step.mark.split()[1] == name
        elif is_own:
            yield step


class _Opened:
    """States that were opened, and their comparison with the promises."""

    def __init__(self, workload: Workload, folder: Path, known: Found | None) -> None:
        self.found = Found()
        self._workload = workload
        self._folder = folder
        self._known = set() if known is None else known.digests
        self._observed: dict[bytes, tuple[bool, object]] = {}
        self._compared: set[tuple[bytes, int]] = set()
        self._promises = 0

    def promise(self, words: list[str]) -> None:
        """Note a promise."""
        self._workload.on_mark(words)
        self._promises += 1

    def compare(self, state: State, place: str) -> None:
        """Open a state that is new, and compare it with the promises made until now."""
        key = (state.digest, self._promises)
        if key in self._compared or state.digest in self._known:
            return
        self._compared.add(key)
        if state.digest not in self._observed:
            self._observed[state.digest] = self._recover(state)
            self.found.digests.add(state.digest)
        self.found.comparisons += 1
        for fault in self._faults(*self._observed[state.digest]):
            self.found.lost += fault.startswith("lost")
            self.found.corrupt += not fault.startswith("lost")
            if len(self.found.faults) < MAX_FAULTS:
                self.found.faults.append(f"{place}: {fault}")

    def _recover(self, state: State) -> tuple[bool, object]:
        state.write(self._folder)
        try:
            return True, self._workload.recover(self._folder)
        except Exception as error:
            return False, f"{type(error).__name__}: {error}"
        finally:
            shutil.rmtree(self._folder)

    def _faults(self, is_open: bool, found: object) -> list[str]:
        if is_open:
            return list(self._workload.faults(found))
        return [f"corrupt: it cannot be opened, {found}"]


def explore_in_parts(
    recording: Recording, name: str, workers: int, stride: tuple[int, int], *, draws: int, seed: int, known: Found
) -> Found:
    """Do the work of ``explore`` in several processes, which are forked after the imports.

    Args:
        recording: the recorded calls.
        name: the workload.
        workers: number of processes.
        stride: (n, of how many): look at this share of the calls only.
        draws: random states of each kind after each call.
        seed: seed of the random states.
        known: result whose states are left out.
    """
    results = [recording.folder / f"found-{name}-{n}" for n in range(workers)]

    def work(n: int) -> None:
        part = (stride[0] * workers + n, stride[1] * workers)
        found = explore(recording, name, draws=draws, seed=seed, part=part, known=known)
        results[n].write_bytes(msgspec.msgpack.encode(found))

    children = [forks.start(lambda n=n: work(n)) for n in range(workers)]  # type: ignore[misc]
    codes = [forks.exit_code(child) for child in children]
    assert not any(codes), f"{name}: a process of the recovery ended with {codes}"
    whole = Found()
    for path in results:
        whole.add(msgspec.msgpack.decode(path.read_bytes(), type=Found))
    return whole
