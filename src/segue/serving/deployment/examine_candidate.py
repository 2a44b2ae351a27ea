"""``python -m segue.serving.deployment.examine_candidate``: loads and tests one version within limits of time and
memory, and writes the result to standard output. Started by ``candidate_examination``.
"""

import ctypes
import math
import os
import resource
import signal
import sys
from contextlib import suppress
from pathlib import Path

import msgspec

from segue.serving.deployment.examination_messages import ExaminationResult, ExaminationTask
from segue.serving.deployment.self_test import run_self_test
from segue.serving.inference.served_model import ServedModel

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Examine the version of the task in the last argument."""
    task = msgspec.json.decode(sys.argv[-1], type=ExaminationTask)
    _limit(task)
    with os.fdopen(os.dup(1), "wb") as out:
        os.dup2(2, 1)  # standard output of libraries is no part of the result
        out.write(msgspec.json.encode(_examine(task)))
    os._exit(0)  # without the exit handlers of libraries


def _examine(task: ExaminationTask) -> ExaminationResult:
    folder = Path(task.folder)
    try:
        model = ServedModel.open(folder)
        if task.approximate:
            model.enable_approximate_search()
        return ExaminationResult(model.version, run_self_test(model))
    except (ValueError, ImportError) as error:
        return ExaminationResult(refusal=str(error))
    except MemoryError:
        return ExaminationResult(refusal=f"{folder} needs more than {task.memory_bytes / 1e6:,.0f} MB of memory.")
    except BaseException as error:
        reason = f"{type(error).__name__} {' '.join(str(error).split())[:300]}".strip()
        return ExaminationResult(refusal=f"{folder} cannot be loaded ({reason}).")


def _limit(task: ExaminationTask) -> None:
    """Let the kernel end this process at its limits, and with its caller."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(math.ceil(task.time_s) + 1)
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != task.parent:
        os._exit(1)
    memory = _address_space() + task.memory_bytes
    for kind, limit in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, math.ceil(task.time_s)),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        with suppress(ValueError, OSError):  # a system without this limit
            hard = resource.getrlimit(kind)[1]
            allowed = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
            resource.setrlimit(kind, (allowed, allowed))


def _address_space() -> int:
    """Return the address space of this process in bytes; 0 where the system does not report it."""
    with suppress(OSError, ValueError):
        return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    return 4 << 30


if __name__ == "__main__":
    main()
