"""Examination of foreign versions: each is loaded and tested in a process of its own, with limits of time and memory,
before a server or a command loads it.

An exception, a crash, an endless loop or too much memory there is one sentence here. A version that passed is not
examined again by the same process: its number is the hash of its contents, which each load checks.
"""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import msgspec

from segue.models import artifact
from segue.serving.config import ExaminationConfig
from segue.serving.deployment.examination_messages import ExaminationResult, ExaminationTask
from segue.serving.deployment.golden_requests import GoldenRequest

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_passed: dict[tuple[str, bool], list[GoldenRequest]] = {}
"""Golden requests of the versions that passed in this process, by version and search."""


class CandidateExaminer:
    """Examiner of versions, within limits."""

    def __init__(self, config: ExaminationConfig | None = None, *, approximate: bool = False) -> None:
        """Make an examiner.

        Args:
            config: limits; None: the defaults.
            approximate: examine the approximate search too.
        """
        self._config = config or ExaminationConfig()
        self._approximate = approximate
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = False

    def examine(self, folder: Path, *, name: Path | None = None) -> list[GoldenRequest]:
        """Examine the version in a folder, and return its golden requests. Blocks for a second or more.

        Args:
            folder: folder of the version.
            name: folder that messages name in its place; None: the same.

        Raises:
            ValueError: the version is not sound; the message names the reason.
        """
        version = artifact.version(folder)
        key = (version, self._approximate)
        if key in _passed:
            return _passed[key]
        size = artifact.num_bytes(folder)
        memory = self._config.memory_bytes(size)
        if size > memory:
            raise ValueError(
                f"{name or folder} has {size / 1e6:,.0f} MB; its examination may use {memory / 1e6:,.0f} MB of memory."
            )
        time_s = self._config.time_s + self._config.time_s_per_gb * size / 1e9
        result = self._run(folder, name or folder, time_s, memory)
        if result.refusal:
            raise ValueError(result.refusal.replace(str(folder.absolute()), str(name or folder)))
        _passed[result.version, self._approximate] = result.golden
        return result.golden

    def _run(self, folder: Path, name: Path, time_s: float, memory: int) -> ExaminationResult:
        task = ExaminationTask(str(folder.absolute()), self._approximate, time_s, memory, os.getpid())
        command = [sys.executable, "-m", "segue.serving.deployment.examine_candidate"]
        environment = {**os.environ, **dict.fromkeys(_THREADS, "1"), "MALLOC_ARENA_MAX": "2"}
        with subprocess.Popen(
            [*command, msgspec.json.encode(task).decode()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        ) as process:
            self._process = process
            if self._closed:
                process.kill()
            try:
                out, _ = process.communicate(timeout=time_s)
            except subprocess.TimeoutExpired:
                process.kill()
                raise ValueError(_too_slow(name, time_s)) from None
            finally:
                self._process = None
        if process.returncode in (-signal.SIGALRM, -signal.SIGXCPU):
            raise ValueError(_too_slow(name, time_s))
        if self._closed:
            raise ValueError(f"The examination of {name} was stopped.")
        try:
            return msgspec.json.decode(out, type=ExaminationResult)
        except msgspec.DecodeError:
            raise ValueError(f"{name} cannot be loaded: its examination {_end(process.returncode)}.") from None

    def close(self) -> None:
        """End an examination under way; its version is refused."""
        self._closed = True
        process = self._process
        if process is not None:
            with suppress(OSError):
                process.kill()


def trust(versions: list[str], *, approximate: bool) -> None:
    """Skip the examination of versions in this process, because the process that started it has examined them.

    Args:
        versions: the versions.
        approximate: the approximate search was examined too.
    """
    for version in versions:
        _passed.setdefault((version, approximate), [])


def _too_slow(folder: Path, time_s: float) -> str:
    return f"{folder} cannot be loaded: its examination took longer than {time_s:,.0f} s."


def _end(returncode: int) -> str:
    if returncode >= 0:
        return f"ended with exit code {returncode}"
    with suppress(ValueError):
        return f"was ended by {signal.Signals(-returncode).name}"
    return f"was ended by signal {-returncode}"
