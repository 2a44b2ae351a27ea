"""Atomic file writes: old or new after a power cut, the requested permissions, and no remains of a failed write."""

import os

import numpy as np
import pytest
from tests.support.disk_faults import Disk, recorded

from segue.system import atomic_files


@pytest.fixture
def open_umask():
    old = os.umask(0o022)
    yield
    os.umask(old)


def mode_of(path):
    return path.stat().st_mode & 0o777


def open_handles():
    return sorted(os.listdir("/proc/self/fd"))


def test_a_write_makes_the_folders_and_joins_the_pieces(tmp_path, open_umask):
    path = tmp_path / "deep" / "er" / "file"
    atomic_files.write(path, [b"one", memoryview(b"two"), np.frombuffer(b"three", np.uint8)])
    assert path.read_bytes() == b"onetwothree"
    assert (mode_of(path), os.listdir(path.parent)) == (0o644, ["file"])
    atomic_files.write(path, iter([b"new"]), mode=0o600)
    assert (path.read_bytes(), mode_of(path)) == (b"new", 0o600)


def test_the_old_file_is_kept_under_another_name(tmp_path):
    path, kept = tmp_path / "file", tmp_path / "kept"
    atomic_files.write(path, [b"one"], keep=kept)
    assert not kept.exists()
    atomic_files.write(path, [b"two"], keep=kept)
    assert (path.read_bytes(), kept.read_bytes()) == (b"two", b"one")


@pytest.mark.parametrize("is_gone", [False, True])
def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, is_gone):
    """Also where the temporary file cannot be removed: the error of the write is raised, not that of the removal."""
    path, handles = tmp_path / "file", open_handles()
    path.write_bytes(b"old")

    def pieces():
        yield b"new"
        if is_gone:
            (tmp_path / "file.writing").unlink()
        raise KeyboardInterrupt("in the middle")

    with pytest.raises(KeyboardInterrupt, match="in the middle"):
        atomic_files.write(path, pieces())
    assert (path.read_bytes(), os.listdir(tmp_path)) == (b"old", ["file"])
    assert open_handles() == handles


@pytest.mark.parametrize("keep", [False, True])
def test_a_power_cut_leaves_the_old_file_or_the_new_one(tmp_path, keep):
    path, kept = tmp_path / "made" / "file", tmp_path / "made" / "kept"
    disk = Disk(tmp_path)

    def work():
        atomic_files.write(path, [b"old" * 300])
        atomic_files.write(path, [b"new" * 300], keep=kept if keep else None)

    done = recorded(work)
    first = next(i for i, (name, _) in enumerate(done) if name == "replace")
    acknowledged = first + 2  # the sync of the folder behind the first replacement
    for number, (name, about) in enumerate(done, start=1):
        disk.do(name, about)
        for files, _ in disk.states():
            contents = [files.get(str(path)), files.get(str(kept))]
            if number >= acknowledged:
                assert b"old" * 300 in contents or b"new" * 300 in contents
            assert contents[0] in (None, b"old" * 300, b"new" * 300)
    assert [files[str(path)] for files, _ in disk.states()] == [b"new" * 300]
    assert path.read_bytes() == b"new" * 300


def test_a_folder_gets_its_mode_and_its_parents_the_usual_one(tmp_path, open_umask):
    atomic_files.make_folder(tmp_path / "a" / "b" / "c", 0o700)
    assert [mode_of(tmp_path / name) for name in ("a", "a/b", "a/b/c")] == [0o755, 0o755, 0o700]
    atomic_files.make_folder(tmp_path / "a" / "b" / "c")
    assert mode_of(tmp_path / "a/b/c") == 0o700, "an existing folder stays as it is"


def test_each_new_folder_is_synced_in_its_parent(tmp_path):
    done = recorded(lambda: atomic_files.make_folder(tmp_path / "a" / "b"))
    assert done == [
        ("mkdir", (str(tmp_path / "a"), "511")),
        ("fsync", (str(tmp_path),)),
        ("mkdir", (str(tmp_path / "a" / "b"), "511")),
        ("fsync", (str(tmp_path / "a"),)),
    ]


def test_a_folder_that_another_process_makes_meanwhile_is_used(tmp_path, monkeypatch):
    real = os.mkdir
    monkeypatch.setattr(os, "mkdir", lambda path, mode: (real(path), real(path, mode)))
    atomic_files.make_folder(tmp_path / "a")
    assert (tmp_path / "a").is_dir()


def test_a_failed_sync_closes_its_handle(tmp_path, monkeypatch):
    handles = open_handles()

    def fail(handle):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output error"):
        atomic_files.fsync_folder(tmp_path)
    assert open_handles() == handles
