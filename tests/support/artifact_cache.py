"""Cache of trained artifacts for one test run, shared by its worker processes."""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from segue.data.sequences import Sequences


class ArtifactCache:
    """Artifacts by content of their training, made once for a test run: also once for all of its worker processes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @classmethod
    def for_session(cls, tmp_path_factory: pytest.TempPathFactory) -> "ArtifactCache":
        """Return the cache of this test run."""
        base = tmp_path_factory.getbasetemp()
        folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "artifacts"
        folder.mkdir(exist_ok=True)
        return cls(folder)

    def get(self, key: str, make: Callable[[Path], Any]) -> Path:
        """Return the folder that ``make`` filled for this key, in this process or in another."""
        folder = self._folder / hashlib.sha256(key.encode()).hexdigest()[:16]
        with open(f"{folder}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.exists():
                partial = folder.with_suffix(".partial")
                shutil.rmtree(partial, ignore_errors=True)
                make(partial)
                partial.rename(folder)
        return folder


def data_key(sequences: Sequences) -> str:
    """Return a hash of the events of a log."""
    arrays = (sequences.items, sequences.starts, sequences.stops, sequences.times)
    return hashlib.sha256(b"".join(b"" if array is None else array.tobytes() for array in arrays)).hexdigest()
