"""Kills a small training at every file operation of its saves, lets it go on, and counts equal ends.

`python -m tests.support.kill_points FOLDER SAVES`: at each operation of the first SAVES saves, and in the middle of
each save behind them. Prints JSON. Processes are forked behind the imports, so that a kill costs milliseconds.
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tests.support.disk_faults import watched
from tests.training.checkpoints.test_checkpoint import digest, quality, trainer

from segue.training.checkpoints.checkpoint import Checkpoint

BUFFER = 8192


def train(place: Path) -> None:
    """To the end, from the state that is there; then writes the weights' digest. A state behind every step."""
    place.mkdir(exist_ok=True)
    run = trainer(epochs=2, batch_tokens=512)
    run.run(quality, checkpoint=Checkpoint(place / "run.checkpoint", every_s=0.0))
    (place / "digest").write_text(digest(run))


def forked(work: Callable[[], None]) -> int:
    """What ``work`` ended with in a process of its own: its exit code, or minus the signal."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def points(place: Path) -> list[tuple[int, str]]:
    """(save, phase) of every point that a whole training passes."""

    def count() -> None:
        passed: list[tuple[int, str]] = []
        saves = 0

        def note(name: str, phase: str, about: tuple[Any, ...]) -> None:
            nonlocal saves
            saves += name == "create" and phase == "before"
            passed.append((max(saves, 1), phase))

        with watched(note, BUFFER):
            train(place)
        (place / "points").write_text(json.dumps(passed))

    assert forked(count) == 0
    return [(save, phase) for save, phase in json.loads((place / "points").read_text())]


def train_until(place: Path, point: int) -> None:
    """Dies by SIGKILL at the point."""
    passed = -1

    def kill(name: str, phase: str, about: tuple[Any, ...]) -> None:
        nonlocal passed
        passed += 1
        if passed == point:
            os.kill(os.getpid(), signal.SIGKILL)

    with watched(kill, BUFFER):
        train(place)


def main() -> None:
    """All of it."""
    torch.set_num_threads(1)
    folder, every_operation_of = Path(sys.argv[1]), int(sys.argv[2])
    whole = folder / "whole"
    whole.mkdir(parents=True)
    train(whole / "warm")  # here, so that no child has to import what a first step imports
    passed = points(whole)
    wanted = (whole / "digest").read_text()
    chosen = [n for n, (save, phase) in enumerate(passed) if save <= every_operation_of or phase == "middle"]
    killed = equal = 0
    for point in chosen:
        place = folder / str(point)
        place.mkdir()
        killed += forked(lambda at=place, point=point: train_until(at / "deep", point)) == -signal.SIGKILL  # type: ignore[misc]
        equal += forked(lambda at=place: train(at / "deep")) == 0 and (place / "deep/digest").read_text() == wanted  # type: ignore[misc]
    print(json.dumps({"saves": passed[-1][0], "kill_points": len(chosen), "killed": killed, "equal_sha256": equal}))


if __name__ == "__main__":
    main()
