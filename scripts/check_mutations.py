"""Break promises on purpose, one after the other, and see that the tests notice.

  python scripts/check_mutations.py              all planted bugs, in the environment that scripts/test makes
  python scripts/check_mutations.py erased key   those whose promise has one of these words

scripts/planted_bugs.toml has the bugs. Each is planted in a copy of the source, and the tests of the promise run.
Exits with 1 where a bug passes them. The working tree is not touched.
"""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUGS = Path(__file__).with_name("planted_bugs.toml")
PROCESSES = 2
TIMEOUT_S = 600
"""Time after which tests that do not end count as failed, seconds."""


@dataclass(frozen=True)
class PlantedBug:
    """Replacement of text that breaks one promise."""

    promise: str
    file: str
    """Below src/segue."""
    old: str
    new: str
    tests: str
    """Arguments of pytest."""

    @property
    def arguments(self) -> list[str]:
        """Arguments of pytest, one by one."""
        return shlex.split(self.tests)


def planted_bugs() -> list[PlantedBug]:
    """Return the planted bugs of the file."""
    return [PlantedBug(**row) for row in tomllib.loads(BUGS.read_text(encoding="utf-8"))["bug"]]


def plant(bug: PlantedBug, source: Path) -> None:
    """Plant a bug in a copy of the package.

    Args:
        bug: the bug.
        source: folder of the package.

    Raises:
        ValueError: the text to replace does not occur exactly once.
    """
    path = source / bug.file
    text = path.read_text(encoding="utf-8")
    if text.count(bug.old) != 1:
        raise ValueError(f"{bug.file} has {text.count(bug.old)} times '{bug.old}', not once: '{bug.promise}'.")
    path.write_text(text.replace(bug.old, bug.new), encoding="utf-8")


def is_caught(bug: PlantedBug) -> bool:
    """Return whether the tests of a bug fail.

    Raises:
        ValueError: the text to replace does not occur exactly once, or the tests do not run.
    """
    with tempfile.TemporaryDirectory(prefix="segue-planted-") as name:
        source = Path(name) / "segue"
        shutil.copytree(ROOT / "src" / "segue", source, ignore=shutil.ignore_patterns("__pycache__"))
        plant(bug, source)
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *bug.arguments]
        environment = {**os.environ, "PYTHONPATH": name, "OMP_NUM_THREADS": "1"}
        try:
            done = subprocess.run(
                command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=TIMEOUT_S
            )
        except subprocess.TimeoutExpired:
            return True
    if done.returncode not in (0, 1):
        raise ValueError(f"The tests of '{bug.promise}' did not run: {done.stdout[-500:]}{done.stderr[-500:]}")
    return done.returncode == 1


def report(bug: PlantedBug) -> str:
    """Return the result of a bug: caught, NOT CAUGHT, or NOT RUN with the reason. Prints it with its promise."""
    started = time.monotonic()
    try:
        result, reason = ("caught" if is_caught(bug) else "NOT CAUGHT"), ""
    except ValueError as error:
        result, reason = "NOT RUN", f"\n           {error}"
    print(f"{result:10} {time.monotonic() - started:5.0f} s  {bug.promise}  ({bug.file}){reason}", flush=True)
    return result


def main() -> int:
    """Plant every bug, print a line for each, and return 1 where one is not caught."""
    words = sys.argv[1:]
    bugs = [bug for bug in planted_bugs() if not words or any(word in bug.promise for word in words)]
    with ThreadPoolExecutor(PROCESSES) as pool:
        results = list(pool.map(report, bugs))
    print(f"{results.count('caught')} of {len(results)} planted bugs are caught.")
    return 0 if results and all(result == "caught" for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
