"""Too little memory for a training: one sentence and exit code 2, never a traceback, and no half model."""

import random
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.cli import SEGUE

from segue.cli.main import OUT_OF_MEMORY, is_out_of_memory

pytestmark = pytest.mark.timeout(400)

SENTENCES = ("segue: The memory that this process may use does not suffice", "segue: This training needs about")


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a log with so many items that their table and their pairs are large."""
    rng = random.Random(1)
    path = tmp_path_factory.mktemp("log") / "log.csv"
    rows = [
        f"u{user},i{int(rng.paretovariate(0.3)) % 40_000},{1_600_000_000 + user * 10 + step}\n"
        for user in range(3000)
        for step in range(12)
    ]
    path.write_text("user_id,item_id,timestamp\n" + "".join(rows))
    return path


def limited(megabytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (megabytes * 10**6, megabytes * 10**6))


@pytest.mark.skipif(sys.platform != "linux", reason="the limit of a process's memory is that of Linux")
@pytest.mark.parametrize(
    ("model", "megabytes", "settings"),
    [
        ("gru4rec", 2500, []),
        ("sasrec", 3000, ["--set", "embedding_dim=8192", "--set", "spectral_init=false"]),
    ],
)
def test_a_training_without_enough_memory_ends_with_a_sentence(
    log: Path, tmp_path: Path, model: str, megabytes: int, settings: list[str]
) -> None:
    command = [*SEGUE, "train", str(log), "--model", model, "--out", str(tmp_path / "run"), *settings]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=350, preexec_fn=lambda: limited(megabytes)
    )
    assert done.returncode == 2, done.stderr[-2000:]
    assert "Traceback" not in done.stderr
    assert any(sentence in done.stderr for sentence in SENTENCES), done.stderr[-1000:]
    assert not (tmp_path / "run" / "manifest.json").exists()


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("std::bad_alloc"),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
        OSError(12, "Cannot allocate memory"),
    ],
)
def test_errors_of_every_library_without_memory_are_known(error: BaseException) -> None:
    assert is_out_of_memory(error)
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert OUT_OF_MEMORY.endswith(".")
