"""Wherever a save is cut short (kill -9, power, a full disk) a whole state is there, and the end is the same bits."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.support.disk_faults import Disk, recorded, watched

from segue.training.checkpoints.checkpoint import Checkpoint
from segue.training.checkpoints.state_file import TrainingState

ROOT = Path(__file__).resolve().parent.parent.parent
Operations = list[tuple[str, tuple[Any, ...]]]


def state(n: int) -> TrainingState:
    return TrainingState({"x": torch.full((2400,), float(n)), "y": torch.tensor(n)}, {"n": n})


@pytest.mark.slow
def test_killed_at_every_operation_of_a_save_the_training_ends_with_the_same_bits(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.support.kill_points", str(tmp_path), "2"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["saves"] > 5
    assert found["kill_points"] > 60
    assert found["killed"] == found["equal_sha256"] == found["kill_points"]


def operations_of_saves(folder: Path, saves: int = 5) -> Operations:
    """A new folder, some saves, and a save by a process that found the states there; ("returned", (n,)) behind each."""
    marks: list[int] = []

    def work() -> None:
        checkpoint = Checkpoint(folder / "run-training" / "run.checkpoint")
        for n in range(1, saves + 2):
            if n == saves + 1:
                checkpoint = Checkpoint(checkpoint.path)
                assert checkpoint.load() is not None
            checkpoint.save(state(n))
            marks.append(n)
            os.unlink(folder / f"mark{n}")

    for n in range(1, saves + 2):
        (folder / f"mark{n}").touch()
    done = recorded(work)
    return [("returned", (int(about[0][-1]),)) if "mark" in str(about[0]) else (name, about) for name, about in done]


def wrong_states(
    operations: Operations, folder: Path, play: Path, *, first_only: bool = False
) -> tuple[int, list[str]]:
    """(how many states there are, those that are not the state before or the one that is being saved)."""
    disk = Disk(folder)
    wrong, count, returned = [], 0, 0
    seen: set[tuple[Any, ...]] = set()
    for n, (name, about) in enumerate([("start", ()), *operations]):
        if name == "returned":
            returned = about[0]
        else:
            disk.do(name, about)
        for files, folders in disk.states():
            key = (returned, *sorted(files.items()), *sorted(folders))
            if key in seen:
                continue
            seen.add(key)
            count += 1
            if wrong and first_only:
                return count, wrong
            found = loaded(files, folder, play / str(count))
            if found not in (returned, returned + 1):
                wrong.append(f"after operation {n} ({name}): {found} instead of {returned}")
    return count, wrong


def loaded(files: dict[str, bytes], folder: Path, play: Path) -> int | str:
    """The state that a checkpoint finds among these files; 0 for none."""
    play.mkdir(parents=True)
    for path, content in files.items():
        target = play / Path(path).relative_to(folder).name
        target.write_bytes(content)
    try:
        found = Checkpoint(play / "run.checkpoint").load()
    except ValueError as error:
        return str(error)
    if found is None:
        return 0
    n = int(found.numbers["n"])
    assert found.tensors["x"].tolist() == [float(n)] * 2400 and int(found.tensors["y"]) == n
    return n


def test_a_power_cut_at_any_moment_leaves_the_state_before_or_the_new_one(tmp_path: Path) -> None:
    operations = operations_of_saves(tmp_path)
    assert {name for name, _ in operations} >= {"mkdir", "create", "write", "fsync", "replace", "returned"}
    count, wrong = wrong_states(operations, tmp_path, tmp_path / "play")
    assert not wrong, "\n".join(wrong)
    assert count > 300


@pytest.mark.parametrize(
    "left_out",
    [
        pytest.param(lambda name, about: name == "fsync" and about[0].endswith(".writing"), id="contents not forced"),
        pytest.param(lambda name, about: name == "fsync" and about[0].endswith("-training"), id="names not forced"),
        pytest.param(lambda name, about: name == "fsync" and "run-training" not in about[0], id="folder not forced"),
    ],
)
def test_a_save_that_forgets_to_force_something_would_be_found_out(left_out: Any, tmp_path: Path) -> None:
    operations = [one for one in operations_of_saves(tmp_path) if not left_out(*one)]
    _, wrong = wrong_states(operations, tmp_path, tmp_path / "play", first_only=True)
    assert wrong


def test_a_damaged_state_never_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    """It did: a power cut between the renames of the next save then left nothing whole."""
    first = Checkpoint(tmp_path / "run.checkpoint")
    first.save(state(1))
    first.save(state(2))
    first.path.write_bytes(b"junk")
    checkpoint = Checkpoint(first.path)
    found = checkpoint.load()
    assert found is not None and found.numbers == {"n": 1}
    checkpoint.save(state(2))
    first.path.write_bytes(b"junk again")
    found = Checkpoint(first.path).load()
    assert found is not None and found.numbers == {"n": 1}


def test_an_operation_that_fails_is_told_and_the_state_before_stays(tmp_path: Path) -> None:
    names = ["create", "write", "fsync", "replace", "replace", "open", "fsync"]
    for at in range(len(names)):
        checkpoint = Checkpoint(tmp_path / str(at) / "run.checkpoint")
        checkpoint.save(state(1))
        checkpoint.save(state(2))
        asked: list[str] = []

        def fail(name: str, phase: str, about: tuple[Any, ...], asked: list[str] = asked, at: int = at) -> None:
            if phase == "before" and not (name == asked[-1:] == "write"):
                asked.extend([name] if [name] != asked[-1:] or name == "replace" else [])
                if len(asked) == at + 1 and name == names[at]:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), about[0])

        with (
            watched(fail),
            pytest.raises(ValueError, match=r"cannot be written \(No space left on device\)\. The state") as said,
        ):
            checkpoint.save(state(3))
        assert str(said.value) == (
            f"{checkpoint.path} cannot be written (No space left on device). The state before it is kept: mend that, "
            "and go on with --resume."
        )
        found = Checkpoint(checkpoint.path).load()
        assert found is not None and found.numbers["n"] in ((2,) if at < 5 else (3,))
        checkpoint.save(state(4))
        found = Checkpoint(checkpoint.path).load()
        assert found is not None and found.numbers["n"] == 4
