"""Schemathesis against a real server with keys: `python benchmarks/api_fuzz.py [--cases 5000]`.

Every check over /openapi.json: nothing may be a server error, and nothing may be answered that the document does not
say. Writes benchmarks/results/serving-schemathesis.json.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from machine import about, save
from segue.serving.deployment.model_registry import ModelRegistry
from serving_world import free_port, model

KEY = "a-key-for-the-fuzzing-alone"
ITEMS = 200
PHASES = "examples,coverage,fuzzing,stateful"
SERVER_ERRORS = ("500", "502", "504")
"""503 is no error: it says that trying again is worth while, and the document has it."""
CONFIG, HOOKS = (Path(__file__).with_name(name) for name in ("schemathesis.toml", "fuzz_hooks.py"))


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """The address of a server with a key, on a registry of two versions, until the block ends."""
    registry = ModelRegistry(folder / "registry")
    for seed in (0, 1):
        registry.promote(registry.add(model("gru4rec", ITEMS, folder, dim=8, seed=seed)))
    port = free_port()
    command = [sys.executable, "-m", "segue.serving", str(registry.folder), "--port", str(port)]
    command += ["--data", str(folder / "data")]
    env = {**os.environ, "SEGUE_API_KEY": KEY, "OMP_NUM_THREADS": "1"}
    log = (folder / "server.log").open("w", encoding="utf-8")
    process = subprocess.Popen(command, env=env, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"{url}/health/ready", timeout=5).close()
                break
            except OSError:
                time.sleep(0.05)
        yield url
    finally:
        process.terminate()
        process.wait(30)
        log.close()


def fuzz(url: str, folder: Path, examples: int, seed: int, *, phases: str = PHASES) -> dict[str, Any]:
    """Schemathesis's own report; it tries each operation's edges, then so many drawn cases, then chains of calls."""
    report = folder / "report.json"
    program = str(Path(sys.executable).parent / "schemathesis")
    command = [program, "--config-file", str(CONFIG), "run", f"{url}/openapi.json", "--checks", "all"]
    command += ["--header", f"Authorization: Bearer {KEY}", "--max-examples", str(examples), "--seed", str(seed)]
    command += ["--continue-on-failure", "--no-shrink", "--no-color", "--generation-database", "none"]
    command += ["--phases", phases]
    command += ["--report", "json", "--report-json-path", str(report), "--output-sanitize", "false"]
    statuses = folder / "statuses.json"
    env = {**os.environ, "SCHEMATHESIS_HOOKS": str(HOOKS), "SEGUE_FUZZ_STATUSES": str(statuses)}
    for old in (report, statuses):
        old.unlink(missing_ok=True)
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, env=env)
    (folder / f"said-{seed}.txt").write_text(ended.stdout + ended.stderr, encoding="utf-8")
    if not report.exists():
        raise RuntimeError(f"Schemathesis wrote no report: {ended.stdout[-2000:]}{ended.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
    found["statuses"] = json.loads(statuses.read_text(encoding="utf-8"))
    return found


def summary(found: dict[str, Any]) -> dict[str, Any]:
    """What is worth keeping of a report."""
    server_errors = {
        operation: {status: count for status, count in by_status.items() if status in SERVER_ERRORS}
        for operation, by_status in found["statuses"].items()
    }
    return {
        "schemathesis": metadata.version("schemathesis"),
        "cases": found["test_cases"]["generated"],
        "cases_with_failures": found["test_cases"]["with_failures"],
        "server_errors": sum(sum(by_status.values()) for by_status in server_errors.values()),
        "failures": [{key: one[key] for key in ("title", "count", "operations")} for one in found["failures"]],
        "errors": found["errors"],
        "operations": found["operations"],
        "phases": {name: phase["status"] for name, phase in found["phases"].items()},
        "answers_by_operation_and_status": found["statuses"],
        "seconds": round(found["running_time"], 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=5000, help="at least so many; rounds are whole")
    parser.add_argument("--examples", type=int, default=100, help="drawn for each operation in one round")
    parser.add_argument("--folder", type=Path, help="for the server and the reports; by default one that is deleted")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = options.folder or Path(made)
        folder.mkdir(parents=True, exist_ok=True)
        rounds: list[dict[str, Any]] = []
        with server(folder) as url:
            while sum(one["cases"] for one in rounds) < options.cases:
                rounds.append(summary(fuzz(url, folder, options.examples, len(rounds))))
                told = {key: rounds[-1][key] for key in ("cases", "cases_with_failures", "server_errors", "failures")}
                print(told, file=sys.stderr, flush=True)
    totals = {key: sum(one[key] for one in rounds) for key in ("cases", "cases_with_failures", "server_errors")}
    asked = {"cases": options.cases, "examples": options.examples}
    save("serving-schemathesis", {"about": about(), "asked": asked, **totals, "rounds": rounds})


if __name__ == "__main__":
    main()
