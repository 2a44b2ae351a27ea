"""Branch coverage and mutation score of the parts that hold the promises, each by its own tests.

  scripts/check_coverage                         all groups, half an hour on two cores; writes the result file
  scripts/check_coverage auth codec              only these groups; the results of others stay in the file
  scripts/check_coverage auth --mutants 0        every mutant instead of a random sample
  scripts/check_coverage auth --show             print the diff of each surviving mutant
  scripts/check_coverage auth --no-mutants       coverage only: print what no test reaches, write nothing

Coverage is that of coverage.py with branches. Mutants are those of mutmut 3: it changes one expression or statement of
a function at a time, and finds the tests that reach the function. ``run_mutants.py`` runs these tests for a random
sample of the mutants. A mutant is caught when the same test fails twice with it and passes without it, or when a time
limit ends it. One that no test reaches is not caught. The score of a sample has a Wilson interval of 95 %. Exits with 1
where a figure is below its limit.

A copy of the newest commit is measured, so that the working tree may change meanwhile.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT / "scripts")]
from run_mutants import CAUGHT, CONTROL, SURVIVED, TIMEOUT  # noqa: E402

from machine import about, load_result, save  # noqa: E402

RESULT = "coverage"
MIN_COVERAGE, MIN_SCORE = 0.95, 0.85
_MAKE_MUTANTS = """import mutmut.__main__ as mutmut, os
os.makedirs("mutants", exist_ok=True)
mutmut.copy_src_dir()
mutmut.copy_also_copy_files()
mutmut.setup_source_paths()
mutmut.create_mutants(1)
"""
_FIND_TESTS = """import mutmut.__main__ as mutmut
mutmut.setup_source_paths()
mutmut.collect_or_load_stats(mutmut.get_mutant_runner(1))
"""
"""First parts of 'mutmut run': the mutants, then the tests that reach each function with their times. Two processes,
because the second imports a folder that the first makes."""
_TEXT_TESTS = ("serving/store/test_sql_texts.py",)
"""Tests that read the text of the source, which is another one with mutants in it."""


@dataclass(frozen=True)
class Group:
    """Modules of one kind of promise, and the tests that hold it."""

    modules: tuple[str, ...]
    """Files or patterns below src/segue."""
    tests: tuple[str, ...]
    """Files or folders below tests."""


GROUPS = {
    "auth": Group(
        ("serving/http/auth.py", "serving/http/cors.py", "serving/http/client_limits.py"),
        (
            "serving/http/test_auth.py",
            "serving/http/test_cors.py",
            "serving/http/test_client_limits.py",
            "serving/http/test_admin_routes.py",
        ),
    ),
    "codec": Group(
        ("serving/schemas/requests.py", "serving/schemas/problems.py", "serving/store/event.py"),
        ("serving/schemas", "serving/store/test_event.py"),
    ),
    "rules": Group(
        ("pipeline/filters/*.py", "pipeline/placements/*.py", "config/expressions.py", "config/expression_tokens.py"),
        ("pipeline/filters", "pipeline/placements", "pipeline/live/test_column_updates.py", "config"),
    ),
    "store": Group(("serving/store/*.py", "system/atomic_files.py"), ("serving/store", "system")),
    "registry": Group(
        (
            "serving/deployment/model_registry.py",
            "serving/deployment/pointer.py",
            "serving/deployment/golden_requests.py",
            "models/artifact.py",
            "models/artifact_files.py",
        ),
        (
            "serving/deployment/test_model_registry.py",
            "serving/deployment/test_golden_requests.py",
            "serving/deployment/test_pointer.py",
            "models/test_artifact.py",
            "models/test_artifact_files.py",
        ),
    ),
    "erasure": Group(
        (
            "data/erasure_list.py",
            "serving/administration/erase_user.py",
            "serving/administration/erasure_steps.py",
            "serving/store/event_erasure.py",
        ),
        ("serving/administration", "data/test_erasure_list.py"),
    ),
}
"""Group by name."""


def modules_of(group: Group) -> list[str]:
    """Return the files of a group, relative to the root. A pattern leaves out the files that a group names itself."""
    package = ROOT / "src" / "segue"
    named = {package / name for each in GROUPS.values() for name in each.modules if "*" not in name}
    found = [path for name in group.modules if "*" in name for path in sorted(package.glob(name)) if path not in named]
    found += [package / name for name in group.modules if "*" not in name]
    return [str(path.relative_to(ROOT)) for path in found if path.name != "__init__.py"]


def tests_of(group: Group) -> list[str]:
    """Return the existing tests of a group, relative to the root."""
    return [f"tests/{name}" for name in group.tests if (ROOT / "tests" / name).exists()]


def copy_commit(commit: str, folder: Path) -> None:
    """Extract a commit into an empty folder.

    Args:
        commit: name of the commit.
        folder: the folder.
    """
    archive = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True, check=True).stdout
    subprocess.run(["tar", "x", "-C", str(folder)], input=archive, check=True)


def run(arguments: list[str], folder: Path, source: str) -> "subprocess.CompletedProcess[str]":
    """Run a Python module in the copy.

    Args:
        arguments: arguments of Python.
        folder: the copy.
        source: folder of the package, relative to the copy.
    """
    environment = {**os.environ, "PYTHONPATH": str(folder / source), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def branch_coverage(group: Group, folder: Path) -> dict[str, Any]:
    """Return the share of the lines and branches of a group that its tests run, and the missing ones.

    Args:
        group: the group.
        folder: the copy.

    Raises:
        RuntimeError: the tests fail.
    """
    included = ",".join(modules_of(group))
    command = ["-m", "coverage", "run", "--branch", f"--include={included}", "-m", "pytest", "-q", "-x"]
    done = run([*command, "-p", "no:cacheprovider", *tests_of(group)], folder, "src")
    if done.returncode != 0:
        raise RuntimeError(f"The tests fail without any mutation: {done.stdout[-2000:]}")
    run(["-m", "coverage", "json", "-o", "coverage.json"], folder, "src")
    report = json.loads((folder / "coverage.json").read_text(encoding="utf-8"))
    totals = report["totals"]
    covered = totals["covered_lines"] + totals["covered_branches"]
    missing = {
        name: {"lines": file["missing_lines"], "branches": file["missing_branches"]}
        for name, file in report["files"].items()
        if file["missing_lines"] or file["missing_branches"]
    }
    return {
        "share": round(covered / (totals["num_statements"] + totals["num_branches"]), 4),
        "branches": round(totals["covered_branches"] / max(1, totals["num_branches"]), 4),
        "statements": totals["num_statements"],
        "num_branches": totals["num_branches"],
        "missing": missing,
    }


def mutation_score(group: Group, folder: Path, count: int, seed: int, processes: int) -> dict[str, Any]:
    """Return the share of the mutants of a group that its tests catch.

    Args:
        group: the group.
        folder: the copy.
        count: size of the random sample; 0: all mutants.
        seed: seed of the sample.
        processes: mutants that run at once.

    Raises:
        RuntimeError: the mutants are not made or not run, or the tests fail without any.
    """
    tests = [*tests_of(group), *(f"--ignore=tests/{name}" for name in _TEXT_TESTS)]
    settings = {
        "source_paths": modules_of(group),
        "pytest_add_cli_args_test_selection": tests,
        "also_copy": ["src", "tests", "scripts", "benchmarks", "deploy", "docs"],
    }
    lines = "".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items())
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (folder / "pyproject.toml").write_text(f"{text}\n[tool.mutmut]\n{lines}", encoding="utf-8")
    shutil.rmtree(folder / "mutants", ignore_errors=True)
    for program in (_MAKE_MUTANTS, _FIND_TESTS):
        made = run(["-c", program], folder, "mutants/src")
        if made.returncode != 0:
            raise RuntimeError(f"mutmut made no mutants: {made.stdout[-2000:]}{made.stderr[-2000:]}")
    names = sorted(mutants_in(folder))
    chosen = random.Random(seed).sample(names, min(count or len(names), len(names)))
    result = folder / "outcomes.json"
    task = {"mutants": chosen, "processes": processes, "pytest": tests, "result": str(result)}
    done = run([str(ROOT / "scripts" / "run_mutants.py"), json.dumps(task)], folder / "mutants", "src")
    outcomes = json.loads(result.read_text(encoding="utf-8"))["outcomes"] if result.exists() else {}
    if outcomes.pop(CONTROL, None) != SURVIVED or outcomes.keys() != set(chosen):
        raise RuntimeError(f"The tests fail without a mutant: {outcomes} {done.stdout[-2000:]}{done.stderr[-2000:]}")
    kinds = Counter(outcomes.values())
    caught = kinds[CAUGHT] + kinds[TIMEOUT]
    low, high = wilson(caught, len(outcomes))
    return {
        "score": round(caught / len(outcomes), 4),
        "interval": [round(low, 4), round(high, 4)],
        "sampled": len(outcomes),
        "of": len(names),
        "seed": seed,
        "outcomes": dict(kinds),
        "survived": sorted(name for name, outcome in outcomes.items() if outcome not in (CAUGHT, TIMEOUT)),
    }


def mutants_in(folder: Path) -> list[str]:
    """Return the names of the mutants that mutmut has made in a copy."""
    files = (folder / "mutants").rglob("*.meta")
    return [name for path in files for name in json.loads(path.read_text(encoding="utf-8"))["exit_code_by_key"]]


def wilson(hits: int, count: int) -> tuple[float, float]:
    """Return the Wilson interval of 95 % of a share (Wilson 1927).

    Args:
        hits: number of hits.
        count: number of trials.
    """
    z = NormalDist().inv_cdf(0.975)
    share = hits / count
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * (share * (1 - share) / count + z * z / (4 * count * count)) ** 0.5
    return max(0.0, middle - half), min(1.0, middle + half)


def main() -> int:
    """Measure the groups and write their results; return 1 where a figure is below its limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("groups", nargs="*", help=f"of {', '.join(GROUPS)}; default: all")
    parser.add_argument("--mutants", type=int, default=200, help="size of the random sample of each group; 0: all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--commit", default="HEAD", help="commit to measure")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--show", action="store_true", help="print the surviving mutants")
    parser.add_argument("--no-mutants", action="store_true", help="print the coverage and what no test reaches only")
    options = parser.parse_args()
    if unknown := set(options.groups) - set(GROUPS):
        parser.error(f"no group {', '.join(sorted(unknown))}; there are {', '.join(GROUPS)}")
    groups = {**(load_result(RESULT) or {}).get("groups", {})}
    is_low = False
    for name in options.groups or GROUPS:
        with tempfile.TemporaryDirectory(prefix="segue-coverage-") as temporary:
            folder = Path(temporary)
            copy_commit(options.commit, folder)
            print(f"{name}: coverage, then mutants ...", file=sys.stderr, flush=True)
            coverage = branch_coverage(GROUPS[name], folder)
            if options.no_mutants:
                is_low |= min(coverage["share"], coverage["branches"]) < MIN_COVERAGE
                print(name, json.dumps(coverage, indent=1), flush=True)
                continue
            row = {"about": about(options.seed), "coverage": coverage}
            row["mutation"] = mutation_score(GROUPS[name], folder, options.mutants, options.seed, options.processes)
            if options.show:
                for mutant in row["mutation"]["survived"]:
                    print(run(["-m", "mutmut", "show", mutant], folder, "mutants/src").stdout, flush=True)
        groups[name] = row
        share, branches, score = coverage["share"], coverage["branches"], row["mutation"]["score"]
        is_low |= min(share, branches) < MIN_COVERAGE or score < MIN_SCORE
        low, high = row["mutation"]["interval"]
        print(
            f"{name:9} coverage {share:.1%} (branches {branches:.1%})  mutation score {score:.1%} "
            f"[{low:.1%}, {high:.1%}] of {row['mutation']['sampled']} of {row['mutation']['of']} mutants",
            flush=True,
        )
        save(RESULT, {"about": about(options.seed), "groups": groups})
    return 1 if is_low else 0


if __name__ == "__main__":
    sys.exit(main())
