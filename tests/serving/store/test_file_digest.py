"""Digest of a closed file: every change is noticed, and a digest that cannot be trusted is none."""

import os
import zlib

import pytest
from tests.support.disk_faults import recorded

from segue.serving.store import file_digest
from segue.serving.store.file_digest import digest_path, matches_digest, remove_digest, write_digest


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b"content" * 100)
    return path


def test_a_digest_has_size_and_checksum_twice(file):
    write_digest(file)
    line = f"700 {zlib.crc32(b'content' * 100):08x}\n"
    assert digest_path(file) == file.with_name("log.crc")
    assert digest_path(file).read_text() == 2 * line
    assert matches_digest(file) is True


def test_the_checksum_has_eight_digits_and_covers_all_pieces(file, monkeypatch):
    monkeypatch.setattr(file_digest, "_CHUNK", 64)
    file.write_bytes(bytes(range(256)) * 2 + b"\x9a\xe0\x82\x5e")
    write_digest(file)
    expected = zlib.crc32(file.read_bytes())
    assert digest_path(file).read_text().splitlines()[0] == f"516 {expected:08x}"
    assert matches_digest(file) is True


@pytest.mark.parametrize("change", ["bit", "longer", "shorter", "missing"])
def test_a_changed_file_is_noticed(file, change):
    write_digest(file)
    raw = bytearray(file.read_bytes())
    if change == "bit":
        raw[350] ^= 1
    elif change == "longer":
        raw += b"\0"
    elif change == "shorter":
        raw = raw[:-1]
    file.write_bytes(raw)
    if change == "missing":
        file.unlink()
    assert matches_digest(file) is False


@pytest.mark.parametrize("content", [None, "", "700 00000000\n", "700 0\n700 1\n", "1\n1\n1\n"])
def test_a_damaged_digest_is_none(file, content):
    write_digest(file)
    if content is None:
        digest_path(file).unlink()
    else:
        digest_path(file).write_text(content)
    assert matches_digest(file) is None


def test_a_long_file_has_no_digest(file, monkeypatch):
    monkeypatch.setattr(file_digest, "MAX_BYTES", 699)
    write_digest(file)
    assert not digest_path(file).exists()
    monkeypatch.setattr(file_digest, "MAX_BYTES", 700)
    write_digest(file)
    assert matches_digest(file) is True


def test_a_disk_that_refuses_leaves_no_digest(file):
    digest_path(file).with_name("log.crc.writing").mkdir()
    write_digest(file)
    assert matches_digest(file) is None
    write_digest(file.with_name("missing"))


def test_a_digest_is_removed_durably(file):
    write_digest(file)
    assert recorded(lambda: remove_digest(file)) == [
        ("unlink", (str(digest_path(file)),)),
        ("fsync", (str(file.parent),)),
    ]
    assert recorded(lambda: remove_digest(file)) == []
    assert os.listdir(file.parent) == ["log"]
