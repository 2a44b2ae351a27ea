"""Outcomes of mutants that mutmut has made: run in its folder "mutants", with the task as JSON in the first argument.

The tests are collected once. Each mutant is a fork of that process, which has run no test and has no threads: the
library polars, for one, waits for ever in a fork of a process that has used it. The fork runs the tests that reach the
mutated function, quick ones first, and ends at the first that fails. That test then runs alone, with the mutant and
without: it must fail again, and pass. A test that fails now and then therefore catches nothing. Beside them one fork
runs every test without a mutant, and each must pass.
"""

import json
import math
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from _pytest.runner import runtestprotocol

SURVIVED, CAUGHT, TIMEOUT, NO_TEST, UNCLEAR = "survived", "caught", "timeout", "no test", "unclear"
CONTROL = "no mutant"


@dataclass
class Fork:
    """Running fork: a mutant, its tests, and the part of the judgment that it makes."""

    mutant: str
    tests: list[Any]
    part: str
    """first, again or without."""
    folder: str = field(default_factory=lambda: tempfile.mkdtemp(prefix="segue-mutant-"))
    pid: int = 0
    ends_s: float = 0.0

    @property
    def failed(self) -> str:
        """Id of the test that failed; empty before."""
        path = Path(self.folder) / "failed"
        return path.read_text(encoding="utf-8") if path.exists() else ""


class MutantLoop:
    """Plugin of pytest that runs mutants in place of the tests."""

    def __init__(self, task: dict[str, Any]) -> None:
        stats = json.loads(Path("mutmut-stats.json").read_text(encoding="utf-8"))
        self.task = task
        self.tests_of: dict[str, list[str]] = stats["tests_by_mangled_function_name"]
        self.seconds: dict[str, float] = stats["duration_by_test"]
        self.outcomes: dict[str, str] = {}
        self.killers: dict[str, str] = {}
        self.forks: list[Fork] = []

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run the mutants and write their outcomes."""
        self.items = {item.nodeid: item for item in session.items}
        waiting = self._first_forks()
        stop_s = time.monotonic() + self.task.get("limit_s", math.inf)
        is_open = True
        while is_open or self.forks:
            while is_open and len(self.forks) < self.task["processes"]:
                fork = next(waiting, None) if time.monotonic() < stop_s else None
                is_open = fork is not None
                if fork is not None:
                    self._start(fork)
            self._reap()
            time.sleep(0.02)
        return True

    def _seconds_of(self, item: Any) -> float:
        return self.seconds.get(item.nodeid, 0.0)

    def _first_forks(self) -> Iterator[Fork]:
        yield Fork(CONTROL, sorted(self.items.values(), key=self._seconds_of), "first")
        for mutant in self.task["mutants"]:
            names = self.tests_of.get(mutant.partition("__mutmut_")[0], [])
            tests = sorted((self.items[name] for name in names if name in self.items), key=self._seconds_of)
            if tests:
                yield Fork(mutant, tests, "first")
            else:
                self._settle(mutant, NO_TEST)

    def _start(self, fork: Fork) -> None:
        limit_s = 20.0 + 10.0 * sum(map(self._seconds_of, fork.tests))
        fork.ends_s = time.monotonic() + 10 * limit_s
        fork.pid = os.fork()
        if fork.pid == 0:
            _run_tests(fork, int(limit_s))
        self.forks.append(fork)

    def _reap(self) -> None:
        for fork in list(self.forks):
            pid, status = os.waitpid(fork.pid, os.WNOHANG)
            is_late = time.monotonic() > fork.ends_s
            if not pid and is_late:
                with suppress(ProcessLookupError):
                    os.killpg(fork.pid, signal.SIGKILL)
                os.waitpid(fork.pid, 0)
            if pid or is_late:
                self.forks.remove(fork)
                self._judge(fork, os.waitstatus_to_exitcode(status) if pid else None)
                shutil.rmtree(fork.folder, ignore_errors=True)

    def _judge(self, fork: Fork, code: int | None) -> None:
        """Settle the outcome of a mutant, or start the next part of its judgment."""
        test = fork.failed or (fork.tests[0].nodeid if len(fork.tests) == 1 else "")
        if code is None or code in (-signal.SIGXCPU, -signal.SIGKILL):
            self._settle(fork.mutant, TIMEOUT)
        elif fork.part == "first" and code == 0:
            self._settle(fork.mutant, SURVIVED)
        elif fork.part == "first" and (fork.mutant == CONTROL or not test):
            self._settle(fork.mutant, CAUGHT, test)  # a crash names no test
        elif fork.part == "first":
            self._start(Fork(fork.mutant, [self.items[test]], "again"))
        elif fork.part == "again" and code != 0:
            self._start(Fork(fork.mutant, fork.tests, "without"))
        else:
            self._settle(fork.mutant, CAUGHT if fork.part == "without" and code == 0 else UNCLEAR, test)

    def _settle(self, mutant: str, outcome: str, failed: str = "") -> None:
        self.outcomes[mutant] = outcome
        self.killers[mutant] = failed
        result = {"outcomes": self.outcomes, "failed": self.killers}
        Path(self.task["result"]).write_text(json.dumps(result, indent=1), encoding="utf-8")


def _run_tests(fork: Fork, limit_s: int) -> None:
    """Run tests in the fork up to the first failure, and end it."""
    os.setsid()
    os.environ["MUTANT_UNDER_TEST"] = "" if fork.mutant == CONTROL or fork.part == "without" else fork.mutant
    os.environ["PYTEST_DEBUG_TEMPROOT"] = fork.folder
    resource.setrlimit(resource.RLIMIT_CPU, (limit_s, limit_s + 5))
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    code = 0
    try:
        for item, following in zip(fork.tests, [*fork.tests[1:], None], strict=True):
            if any(report.failed for report in runtestprotocol(item, log=False, nextitem=following)):
                (Path(fork.folder) / "failed").write_text(item.nodeid, encoding="utf-8")
                code = 1
                break
    except BaseException:
        code = 3
    os._exit(code)


def main() -> int:
    """Run the mutants of a task."""
    task = json.loads(sys.argv[1])
    random.seed(0)
    arguments = ["--rootdir=.", "-q", "-s", "-p", "no:cacheprovider", *task["pytest"]]
    os.environ["MUTANT_UNDER_TEST"] = ""
    return int(pytest.main(arguments, plugins=[MutantLoop(task)]))


if __name__ == "__main__":
    sys.exit(main())
