"""Data directory: one owner at a time."""

import os

import pytest

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
