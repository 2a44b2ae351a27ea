"""Provenance of result files (machine, commit, seed, date), and how they are read and written."""

import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
DATA = Path(os.environ.get("SEGUE_DATA", ROOT / ".." / "shared" / "data"))


def about(seed: int = 0) -> dict[str, Any]:
    """Return machine, commit, seed and date.

    ``loop_ns`` is the duration of one turn of an empty loop at this time, because the speed of a shared machine varies
    by a factor of three.

    Args:
        seed: seed of the measurement.
    """
    commit, changes = _git("rev-parse", "HEAD"), _git("status", "--porcelain", "src")
    cpu = next((line.split(":")[1].strip() for line in _cpu_lines() if line.startswith("model name")), "unknown")
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "python": platform.python_version(),
        "commit": commit + ("+changes" if changes else ""),
        "seed": seed,
        "date": time.strftime("%Y-%m-%d"),
        "loop_ns": loop_ns(),
    }


def loop_ns(turns: int = 2_000_000) -> float:
    """Return the nanoseconds of one turn of an empty loop, the best of three."""

    def once() -> float:
        began = time.perf_counter()
        n = 0
        while n < turns:
            n += 1
        return (time.perf_counter() - began) / turns * 1e9

    return round(min(once() for _ in range(3)), 1)


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()


def _cpu_lines() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def load_result(name: str) -> dict[str, Any] | None:
    """Return the content of ``benchmarks/results/NAME.json``; None without the file."""
    path = RESULTS / f"{name}.json"
    result: dict[str, Any] | None = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
    return result


def provenance(result: dict[str, Any]) -> str:
    """Return the commit, machine and date of a result as a sentence for the pages."""
    about = result["about"]
    speed = f", empty loop {about['loop_ns']} ns per turn" if "loop_ns" in about else ""
    return f"Commit {about['commit'][:10]}, {about['cores']} cores of {about['cpu']}, {about['date']}{speed}."


def save(name: str, result: dict[str, Any]) -> None:
    """Write ``benchmarks/results/NAME.json``.

    Args:
        name: name of the result.
        result: plain values, with ``about()`` as "about".
    """
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"wrote benchmarks/results/{name}.json", file=sys.stderr)
