"""Data directory: one owner at a time."""

import os

import pytest
from tests.support.disk_faults import Disk, recorded

from segue.serving.exit_codes import TemporaryError
from segue.serving.store.data_directory import DataDirectory
from segue.system import atomic_files


def test_a_second_owner_is_refused_by_name(tmp_path):
    first = DataDirectory(tmp_path / "deep" / "data")
    with pytest.raises(ValueError) as error:
        DataDirectory(tmp_path / "deep" / "data")
    assert str(error.value) == (
        f"{tmp_path / 'deep' / 'data'} is in use by process {os.getpid()}: "
        "stop that server, or choose another data directory."
    )
    first.release()
    DataDirectory(tmp_path / "deep" / "data").release()


def test_a_file_left_behind_does_not_lock(tmp_path):
    (tmp_path / "lock").write_text("123456789\n")
    DataDirectory(tmp_path).release()
    assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"


def test_the_directory_is_readable_by_its_owner_only(tmp_path):
    DataDirectory(tmp_path / "data").release()
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("deep", ["data", "deep/er/data"])
def test_a_power_cut_after_the_first_start_leaves_the_directory(tmp_path, deep):
    operations = recorded(lambda: DataDirectory(tmp_path / deep).release())
    disk = Disk(tmp_path)
    for name, about in operations:
        disk.do(name, about)
    assert all(str(tmp_path / deep) in folders for _, folders in disk.states())


def test_a_directory_that_an_interrupted_start_left_is_synced_again(tmp_path):
    (tmp_path / "data").mkdir()
    operations = recorded(lambda: DataDirectory(tmp_path / "data").release())
    assert ("fsync", (str(tmp_path),)) in operations


def test_a_file_in_the_place_of_the_directory_is_refused_in_a_sentence(tmp_path):
    (tmp_path / "data").write_text("a file")
    with pytest.raises(ValueError, match="data cannot be used as a data directory: Not a directory"):
        DataDirectory(tmp_path / "data")


def test_an_owner_without_a_number_is_unknown(tmp_path):
    """The process that holds the lock is writing its number, or wrote what is none."""
    for content, owner in ((b"", "unknown"), (b" \n", "unknown"), (b"\xff7\n", "\ufffd7"), (b"1" * 30, "1" * 20)):
        first = DataDirectory(tmp_path)
        (tmp_path / "lock").write_bytes(content)
        with pytest.raises(TemporaryError) as error:
            DataDirectory(tmp_path)
        assert str(error.value) == (
            f"{tmp_path} is in use by process {owner}: stop that server, or choose another data directory."
        )
        first.release()


def test_a_refused_owner_leaves_no_open_file_and_the_lock_is_private(tmp_path):
    old = os.umask(0)
    try:
        first = DataDirectory(str(tmp_path / "data"))
    finally:
        os.umask(old)
    assert (tmp_path / "data" / "lock").stat().st_mode & 0o777 == 0o600
    handles = sorted(os.listdir("/proc/self/fd"))
    with pytest.raises(TemporaryError):
        DataDirectory(tmp_path / "data")
    assert sorted(os.listdir("/proc/self/fd")) == handles
    first.release()


def test_a_parent_that_may_not_be_read_is_no_hindrance(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(atomic_files, "fsync_folder", refuse)
    DataDirectory(tmp_path).release()


@pytest.mark.parametrize("error", [NotADirectoryError, FileExistsError, PermissionError])
def test_a_directory_that_cannot_be_made_is_a_sentence(tmp_path, monkeypatch, error):
    def fail(path, mode):
        raise error(1, "No such luck")

    monkeypatch.setattr(atomic_files, "make_folder", fail)
    with pytest.raises(ValueError) as refused:
        DataDirectory(tmp_path / "data")
    assert str(refused.value) == f"{tmp_path / 'data'} cannot be used as a data directory: No such luck."


def test_a_shorter_number_replaces_a_longer_one(tmp_path):
    (tmp_path / "lock").write_text("1" * 50)
    DataDirectory(tmp_path).release()
    assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"
