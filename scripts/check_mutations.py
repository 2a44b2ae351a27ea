"""Break ten promises on purpose, and see that the tests notice.

  python scripts/check_mutations.py            in the environment that scripts/test makes; some minutes

Each mutation changes one line in a copy of the source and runs the tests that hold the promise. Exits with 1 where a
mutation passes them. The working tree is not touched.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Mutation:
    """One broken promise."""

    promise: str
    file: str
    """Below src/segue."""
    old: str
    new: str
    tests: str
    """Arguments of pytest."""


MUTATIONS = [
    Mutation(
        "equal scores: the smaller index first",
        "models/top_k.py",
        'return np.argsort(-scores, axis=-1, kind="stable")',
        "return scores.shape[-1] - 1 - np.argsort(-scores[..., ::-1], axis=-1, kind='stable')",
        "tests/models/test_top_k.py",
    ),
    Mutation(
        "excluded items never appear",
        "models/top_k.py",
        "        array_BV[row_N, exclude.items[position_N]] = value",
        "        array_BV[row_N, exclude.items[position_N]] += 0",
        "tests/models/test_top_k.py",
    ),
    Mutation(
        "ties count half",
        "evaluation/ranks.py",
        '"half": 0.5',
        '"half": 0.0',
        "tests/evaluation/test_ranks.py",
    ),
    Mutation(
        "nothing at or after the cutoff is trained on",
        "data/splits/cutoffs.py",
        "early_N = sequences.times[position_N] < cutoff_us",
        "early_N = sequences.times[position_N] <= cutoff_us",
        "tests/data/splits",
    ),
    Mutation(
        "negatives are corrected by their log probability",
        "training/negative_sampling.py",
        "offset = offset - np.log(expected)",
        "offset = offset + np.log(expected)",
        "tests/training/test_negative_sampling.py",
    ),
    Mutation(
        "a damaged artifact is refused",
        "models/artifact.py",
        "if _sha256(folder / name) != expected:",
        "if not expected:",
        "tests/models/test_artifact.py",
    ),
    Mutation(
        "an event is on disk before it is acknowledged",
        "serving/store/group_commit.py",
        "force = self._must_sync(group)",
        "force = False",
        "tests/serving/store",
    ),
    Mutation(
        "a key has its own roles only",
        "serving/http/auth.py",
        "if role not in self.roles:",
        "if not self.roles:",
        "tests/serving/http/test_auth.py tests/serving/http/test_admin_routes.py",
    ),
    Mutation(
        "a body has a limit",
        "serving/http/request_reader.py",
        "if self._body_bytes > MAX_BODY_BYTES:",
        "if self._body_bytes > 100 * MAX_BODY_BYTES:",
        "tests/serving/http/test_protocol.py -k body",
    ),
    Mutation(
        "history is padded on the side that is asked for",
        "data/sequences.py",
        'if align == "left" else',
        'if align == "right" else',
        "tests/data/test_sequences.py",
    ),
]


def is_caught(mutation: Mutation, folder: Path) -> bool:
    """Return whether the tests of a mutation fail on the mutated copy.

    Args:
        mutation: the mutation.
        folder: an empty folder for the copy.

    Raises:
        ValueError: the line to change does not occur exactly once.
    """
    shutil.copytree(ROOT / "src" / "segue", folder / "segue", ignore=shutil.ignore_patterns("__pycache__"))
    path = folder / "segue" / mutation.file
    text = path.read_text(encoding="utf-8")
    if text.count(mutation.old) != 1:
        raise ValueError(f"{mutation.file} has {text.count(mutation.old)} times '{mutation.old}', not once.")
    path.write_text(text.replace(mutation.old, mutation.new), encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *mutation.tests.split()]
    environment = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        raise ValueError(f"The tests of '{mutation.promise}' did not run: {done.stdout[-500:]}{done.stderr[-500:]}")
    return done.returncode == 1


def main() -> int:
    """Run every mutation and print a line for each."""
    passed = 0
    for mutation in MUTATIONS:
        with tempfile.TemporaryDirectory() as name:
            caught = is_caught(mutation, Path(name))
        passed += not caught
        print(f"{'caught' if caught else 'NOT CAUGHT':10}  {mutation.promise}  ({mutation.file})", flush=True)
    return 1 if passed else 0


if __name__ == "__main__":
    sys.exit(main())
