"""Kills of a small training; each training is resumed, and equal ends are counted.

`python -m tests.support.kill_points FOLDER SAVES`: at each operation of the first SAVES saves, and in the middle of
each later save. `python -m tests.support.kill_points FOLDER KILLS random`: at random times. Prints JSON. Processes are
forked after the imports, so that a kill costs milliseconds.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from tests.support import forks
from tests.support.disk_faults import watched
from tests.training.checkpoints.test_checkpoint import digest, quality, trainer

from segue.models.neural.configs.sasrec import SASRecConfig
from segue.training.checkpoints.checkpoint import Checkpoint

BUFFER = 8192


CONFIG = SASRecConfig(embedding_dim=8, max_length=10, num_layers=1, spectral_init=False)


WITHOUT_WAIT = os.WEXITED | os.WNOHANG | os.WNOWAIT


def train(folder: Path, epochs: int = 2, batch_tokens: int = 512) -> None:
    """Train to the end, from the saved state if there is one, with a save after every step; write the digest of the
    weights."""
    folder.mkdir(exist_ok=True)
    run = trainer(CONFIG, epochs=epochs, batch_tokens=batch_tokens)
    run.run(quality, checkpoint=Checkpoint(folder / "run.checkpoint", every_s=0.0))
    (folder / "digest").write_text(digest(run))


def kill_points(folder: Path) -> list[tuple[int, str]]:
    """Return (save, phase) of every point that a whole training passes."""

    def count() -> None:
        passed: list[tuple[int, str]] = []
        saves = 0

        def note(name: str, phase: str, about: tuple[Any, ...]) -> None:
            nonlocal saves
            saves += name == "create" and phase == "before"
            passed.append((max(saves, 1), phase))

        with watched(note, BUFFER):
            train(folder)
        (folder / "points").write_text(json.dumps(passed))

    assert forks.run(count) == 0
    return [(save, phase) for save, phase in json.loads((folder / "points").read_text())]


def train_until(folder: Path, point: int) -> None:
    """Train, and end by SIGKILL at the point."""
    passed = -1

    def kill(name: str, phase: str, about: tuple[Any, ...]) -> None:
        nonlocal passed
        passed += 1
        if passed == point:
            os.kill(os.getpid(), signal.SIGKILL)

    with watched(kill, BUFFER):
        train(folder)


def kill_at_every_operation(folder: Path, every_operation_of: int) -> dict[str, int]:
    """Kill and resume a training at each chosen point, and return the counts."""
    whole = folder / "whole"
    whole.mkdir(parents=True)
    train(whole / "warm")  # in this process, so that no child has to import the modules of a first step
    passed = kill_points(whole)
    wanted = (whole / "digest").read_text()
    chosen = [n for n, (save, phase) in enumerate(passed) if save <= every_operation_of or phase == "middle"]
    killed = equal = 0
    for point in chosen:
        own = folder / str(point)
        own.mkdir()
        killed += forks.run(lambda at=own, point=point: train_until(at / "deep", point)) == -signal.SIGKILL  # type: ignore[misc]
        equal += forks.run(lambda at=own: train(at / "deep")) == 0 and (own / "deep/digest").read_text() == wanted  # type: ignore[misc]
    return {"saves": passed[-1][0], "kill_points": len(chosen), "killed": killed, "equal_sha256": equal}


def kill_at_random_times(folder: Path, kills: int) -> dict[str, int]:
    """Kill a training again and again at a random time after its first save, let it end, and return the counts."""
    folder.mkdir(parents=True)
    config = {"epochs": 8, "batch_tokens": 32}
    train(folder / "whole", **config)
    rng, own, killed = np.random.default_rng(0), folder / "killed", 0
    while killed < kills:
        child = forks.start(lambda: train(own, **config))
        while not (own / "run.checkpoint").exists() and os.waitid(os.P_PID, child, WITHOUT_WAIT) is None:
            time.sleep(0.002)
        time.sleep(float(rng.uniform(0, 0.2)))
        os.kill(child, signal.SIGKILL)
        if forks.exit_code(child) == 0:
            break
        killed += 1
    train(own, **config)
    return {"killed": killed, "equal": (own / "digest").read_text() == (folder / "whole" / "digest").read_text()}


def main() -> None:
    """Print the counts of kills at every operation, or of N kills at random times."""
    torch.set_num_threads(1)
    folder, number, mode = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    # A kill, unlike a power cut, loses nothing that was written: nothing has to wait for the disk.
    with mock.patch.object(os, "fsync", lambda file: None):
        counts = kill_at_random_times(folder, number) if mode else kill_at_every_operation(folder, number)
    print(json.dumps(counts))


if __name__ == "__main__":
    main()
