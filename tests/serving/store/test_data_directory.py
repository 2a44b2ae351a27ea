"""Data directory: one owner at a time."""

import os

import pytest
from tests.support.disk_faults import Disk, recorded

from segue.serving.store.data_directory import DataDirectory


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
