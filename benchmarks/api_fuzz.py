"""Fuzzing of a real server with keys by Schemathesis: `python benchmarks/api_fuzz.py [--cases 5000]`.

Runs every check over /openapi.json: no response may be a server error, and none may differ from the document. Writes
benchmarks/results/serving-schemathesis.json.
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
"""Statuses of server errors. 503 is a documented refusal, after which the client may try again."""
CONFIG, HOOKS = (Path(__file__).with_name(name) for name in ("schemathesis.toml", "fuzz_hooks.py"))


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """Run a server with a key on a registry of two versions, and yield its address."""
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
    """Run Schemathesis and return its report, with the statuses of each operation.

    Args:
        url: address of the server.
        folder: folder of the report and the output.
        examples: number of generated cases per operation.
        seed: seed of the cases.
        phases: phases of Schemathesis: edge cases, generated cases, chains of requests.
    """
    report = folder / "report.json"
    program = str(Path(sys.executable).parent / "schemathesis")
    command = [program, "--config-file", str(CONFIG), "run", f"{url}/openapi.json", "--checks", "all"]
    command += ["--header", f"Authorization: Bearer {KEY}", "--max-examples", str(examples), "--seed", str(seed)]
    command += ["--continue-on-failure", "--no-shrink", "--no-color", "--generation-database", "none"]
    command += ["--phases", phases]
    command += ["--report", "json", "--report-json-path", str(report), "--output-sanitize", "false"]
    statuses = folder / "statuses.json"
    env = {**os.environ, "SCHEMATHESIS_HOOKS": str(HOOKS), "SEGUE_FUZZ_STATUSES": str(statuses)}
    for path in (report, statuses):
        path.unlink(missing_ok=True)
    completed = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, env=env)
    (folder / f"output-{seed}.txt").write_text(completed.stdout + completed.stderr, encoding="utf-8")
    if not report.exists():
        raise RuntimeError(f"Schemathesis wrote no report: {completed.stdout[-2000:]}{completed.stderr[-2000:]}")
    result: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
    result["statuses"] = json.loads(statuses.read_text(encoding="utf-8"))
    return result


def summary(report: dict[str, Any]) -> dict[str, Any]:
    """Return the numbers of a report that the result file holds."""
    server_errors = {
        operation: {status: count for status, count in by_status.items() if status in SERVER_ERRORS}
        for operation, by_status in report["statuses"].items()
    }
    return {
        "schemathesis": metadata.version("schemathesis"),
        "cases": report["test_cases"]["generated"],
        "cases_with_failures": report["test_cases"]["with_failures"],
        "server_errors": sum(sum(by_status.values()) for by_status in server_errors.values()),
        "failures": [{key: failure[key] for key in ("title", "count", "operations")} for failure in report["failures"]],
        "errors": report["errors"],
        "operations": report["operations"],
        "phases": {name: phase["status"] for name, phase in report["phases"].items()},
        "answers_by_operation_and_status": report["statuses"],
        "seconds": round(report["running_time"], 1),
    }


def main() -> None:
    """Fuzz in rounds until the number of cases is reached."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=5000, help="minimum number of cases")
    parser.add_argument("--examples", type=int, default=100, help="generated cases per operation and round")
    parser.add_argument("--folder", type=Path, help="folder of the server and the reports; default: a temporary one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        rounds: list[dict[str, Any]] = []
        with server(folder) as url:
            while sum(part["cases"] for part in rounds) < options.cases:
                rounds.append(summary(fuzz(url, folder, options.examples, len(rounds))))
                numbers = {
                    key: rounds[-1][key] for key in ("cases", "cases_with_failures", "server_errors", "failures")
                }
                print(numbers, file=sys.stderr, flush=True)
    totals = {key: sum(part[key] for part in rounds) for key in ("cases", "cases_with_failures", "server_errors")}
    given = {"cases": options.cases, "examples": options.examples}
    save("serving-schemathesis", {"about": about(), "options": given, **totals, "rounds": rounds})


if __name__ == "__main__":
    main()
