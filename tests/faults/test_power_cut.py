"""Power cuts at every system call of each kind of state: no promise is broken, and a forgotten sync would be found."""

import re

import pytest
from tests.support import power_cut
from tests.support.power_cut_states import Recording, explore
from tests.support.power_cut_workloads import save_models

pytestmark = pytest.mark.timeout(400)

NAMES = (
    "events",
    "erasures",
    "restored-backup",
    "backup",
    "registry",
    "registry-in-place",
    "artifact",
    "checkpoint",
    "first-start",
)
DRAWS = {"events": 2, "backup": 0}
"""Random states of each kind after a call; elsewhere one."""
EVERY = {"events": 2, "erasures": 16, "restored-backup": 8, "backup": 6, "first-start": 12, "registry": 2}
"""Calls between two power cuts, besides one at each promise; elsewhere the power is cut after every call. These start
a whole server for each state; benchmarks/power_cut.py cuts after every call of theirs too."""


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """Return the system calls of every workload, recorded once."""
    if not power_cut.can_record():
        pytest.skip("strace is missing or may not trace here; tests/training/test_power_cut.py needs none.")
    folder = tmp_path_factory.mktemp("power-cut")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POWER_CUT_MODELS", "")
        save_models(folder / "models")
        yield Recording.make(folder, NAMES)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "registry-in-place"])
def test_a_power_cut_after_any_system_call_breaks_no_promise(recording: Recording, name: str) -> None:
    found = explore(recording, name, draws=DRAWS.get(name, 1), every=EVERY.get(name, 1))
    assert not found.faults, f"{found.lost} lost, {found.corrupt} corrupt: " + "\n".join(found.faults[:4])
    assert found.calls > 20 and len(found.digests) > 20


@pytest.mark.parametrize("name", NAMES)
def test_the_replay_ends_with_the_files_of_the_real_folder(recording: Recording, name: str) -> None:
    """A system call that the replay does not know would show here."""
    replay, folder = recording.replay(name), recording.folder / "work" / name
    assert len(list(replay.steps())) > 20
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(power_cut.IGNORED)]
    assert replay.disk.seen() == {str(path.relative_to(folder)): path.read_bytes() for path in files}


FORGOTTEN = {
    "the log is not forced (synchronous=OFF)": ("events", r"events\.sqlite"),
    "the pages of a compaction are not forced": ("events", r"events\.sqlite$"),
    "the names of the pointer's folder are not forced": ("registry", r"models$"),
    "the bytes of the pointer are not forced": ("registry", r"pointer"),
    "the files of a version are not forced": ("registry", r"versions/.*(json|safetensors)"),
    "the names in the saved model's folder are not forced": ("artifact", r"run[^/]*$"),
    "the name of the saved model is not forced": ("artifact", r"deep$"),
    "the bytes of a training's state are not forced": ("checkpoint", r"writing$"),
    "the list of erased users is not forced": ("erasures", r"erasures\.json"),
    "the name of the data directory is not forced": ("first-start", r"deep/below$"),
}


@pytest.mark.parametrize("left_out", FORGOTTEN)
def test_a_forgotten_sync_would_be_found(recording: Recording, left_out: str) -> None:
    name, pattern = FORGOTTEN[left_out]
    forgotten: list[str] = []

    def forgets(call: str, path: str) -> bool:
        if re.search(pattern, path):
            forgotten.append(path)
        return bool(re.search(pattern, path))

    found = explore(recording, name, draws=0, forgets=forgets, first_only=True)
    assert forgotten
    assert found.lost or found.corrupt


def test_a_pointer_that_is_written_in_place_would_be_found(recording: Recording) -> None:
    assert explore(recording, "registry-in-place", first_only=True).faults
