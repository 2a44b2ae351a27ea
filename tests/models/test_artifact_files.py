"""Files of a foreign artifact: each kind of file, JSON and tensor header that is refused, and its sentence."""

import hashlib
import io
import json
import os
import re

import numpy as np
import pytest
from safetensors.numpy import save

from segue.models import artifact_files
from segue.models.artifact_files import ArtifactFolder, parse_json


def open_handles():
    return sorted(os.listdir("/proc/self/fd"))


@pytest.fixture
def folder(tmp_path):
    """Return an empty folder, and check that no file of it stays open."""
    before = open_handles()
    path = tmp_path / "folder"
    path.mkdir()
    yield path
    assert open_handles() == before


def refused(work, *arguments, **options):
    with pytest.raises(ValueError) as error:
        work(*arguments, **options)
    return str(error.value)


def read(folder, name="file", **options):
    with ArtifactFolder(folder) as files:
        return files.read(name, **options)


def test_a_folder_that_is_none(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "link").symlink_to(tmp_path)
    for name in ("no", "file"):
        assert refused(ArtifactFolder, tmp_path / name) == (
            f"{tmp_path / name} is not a Segue model: it has no manifest.json."
        )
    assert refused(ArtifactFolder, tmp_path / "link") == (
        f"{tmp_path / 'link'} is a link: name the folder that it leads to."
    )


def test_a_folder_stays_the_same_when_its_name_leads_elsewhere(folder):
    (folder / "file").write_bytes(b"mine")
    with ArtifactFolder(folder) as files:
        folder.rename(folder.with_name("moved"))
        folder.mkdir()
        (folder / "other").write_bytes(b"foreign")
        assert (files.names(), files.read("file"), files.size("file")) == ({"file"}, b"mine", 4)


def irregular(folder, kind):
    path = folder / "file"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        (folder / "target").write_bytes(b"x")
        path.symlink_to(folder / "target")
    return path


@pytest.mark.parametrize("kind", ["pipe", "folder", "link"])
def test_only_a_regular_file_is_read(folder, kind):
    path = irregular(folder, kind)
    assert refused(read, folder) == (
        f"{path} is a link: copy the model with its files, not with links to them."
        if kind == "link"
        else f"{path} is no regular file: copy the model again."
    )
    assert refused(read, folder, "none") == (f"{folder / 'none'} is missing: the model is incomplete, copy it again.")


@pytest.mark.parametrize("kind", ["pipe", "folder", "link"])
def test_a_file_that_is_replaced_between_two_looks(folder, kind, monkeypatch):
    path = irregular(folder, kind)
    (folder / "regular").write_bytes(b"x")
    looked = os.stat(folder / "regular")
    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", lambda *_, **__: looked)
        assert refused(read, folder) == f"{path} is no regular file: copy the model again."


def test_sizes_hashes_and_limits_of_a_file(folder):
    path, content = folder / "file", b"x" * 1234
    path.write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    assert read(folder) == read(folder, sha256=sha256, size=1234, limit=1234) == content
    assert refused(read, folder, limit=1233) == (f"{path} has 1,234 bytes, more than the 1,233 that are possible.")
    assert refused(read, folder, size=1235) == (
        f"{path} is not the file the model was saved with: it has 1,234 bytes instead of 1,235."
    )
    assert refused(read, folder, sha256="0" * 64) == (
        f"{path} is not the file the model was saved with: its SHA-256 differs."
    )


def test_a_file_that_became_shorter_meanwhile(folder, monkeypatch):
    (folder / "file").write_bytes(b"x" * 10)
    sha256 = hashlib.sha256(bytes(10)).hexdigest()  # of the zeros that would be left
    monkeypatch.setattr(ArtifactFolder, "_check_size", lambda *_: (os.truncate(folder / "file", 0), 10)[1])
    assert refused(read, folder, sha256=sha256).endswith("its SHA-256 differs.")
    (folder / "file").write_bytes(b"x" * 10)
    assert refused(read, folder).endswith("its SHA-256 differs.")


def test_a_long_file_is_read_in_pieces(monkeypatch):
    """A system may give less than was requested."""

    class Slow(io.BytesIO):
        def readinto(self, buffer):
            return super().readinto(memoryview(buffer)[:3])

    buffer = bytearray(10)
    assert artifact_files._read_into(Slow(b"0123456789abc"), memoryview(buffer)) == 10
    assert buffer == b"0123456789"
    assert artifact_files._read_into(Slow(b"01234"), memoryview(buffer)) == 5


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "Expecting value: line 1 column 1 (char 0)"),
        (b"[NaN]", "NaN is no number"),
        (b'{"a": -Infinity}', "-Infinity is no number"),
        (b"[" * 100_000, "it is too deep"),
        (rb'{"a": "\ud800"}', "it holds half of a surrogate pair"),
        (b'"\xff"', "'utf-8' codec can't decode byte 0xff in position 1: invalid start byte"),
    ],
)
def test_json_that_is_refused(tmp_path, content, reason):
    assert refused(parse_json, content, tmp_path / "x", "a table") == f"{tmp_path / 'x'} is not a table: {reason}."


def test_json_that_is_read(tmp_path):
    assert parse_json(rb'["\ud83e\udde6", "\u5546", 1.5, null]', tmp_path, "a table") == ["🧦", "商", 1.5, None]
    assert parse_json('["商"]'.encode(), tmp_path, "a table") == ["商"]


def entry(dtype="F32", shape=(2,), offsets=(0, 8), **more):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets), **more}


def read_tensors(folder, header, data=b"", *, sha256=None, size=None):
    """Write a file of tensors and read it; the header is JSON or bytes."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return read_weights(folder, len(raw).to_bytes(8, "little") + raw + data, sha256=sha256, size=size)


def read_weights(folder, content, *, sha256=None, size=None):
    (folder / "weights").write_bytes(content)
    with ArtifactFolder(folder) as files:
        return files.read_tensors("weights", sha256=sha256 or hashlib.sha256(content).hexdigest(), size=size)


def test_tensors_of_every_dtype_are_read(folder):
    made = {
        "f64": np.arange(6, dtype=np.float64).reshape(2, 3) / 7,
        "f32": np.float32([[1.5]]),
        "i64": np.int64([-1, 2**40]),
        "i32": np.int32([[[7]]]),
        "u8": np.frombuffer(b"\x00\xff", np.uint8),
        "bool": np.array([True, False, True]),
        "empty": np.empty((0, 5), np.float32),
        "scalar": np.array(2.5),
        "eight": np.ones((1,) * 8, np.float32),
    }
    content = save(made)
    arrays = read_weights(folder, content, size=len(content))
    assert arrays.keys() == made.keys()
    for name, array in made.items():
        assert (arrays[name].dtype, arrays[name].shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(arrays[name], array)


def test_tensors_are_read_by_their_position_not_by_their_name(folder):
    header = {"a": entry("U8", [1], [2, 3]), "b": entry("U8", [2], [0, 2]), "none": entry("U8", [0], [2, 2])}
    arrays = read_tensors(folder, header, b"\x01\x02\x03")
    assert {name: array.tolist() for name, array in arrays.items()} == {"b": [1, 2], "none": [], "a": [3]}


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (5, "the entry 'NAME' is no tensor."),
        ({"dtype": "F32", "shape": [2]}, "the entry 'NAME' is no tensor."),
        (entry(more=1), "the entry 'NAME' is no tensor."),
        (entry("F16"), "'NAME' has the dtype F16, which no model uses."),
        (entry(5), "'NAME' has the dtype 5, which no model uses."),
        (entry([]), "'NAME' has the dtype [], which no model uses."),
        (entry("X" * 30), f"'NAME' has the dtype {'X' * 20}, which no model uses."),
        ({**entry(), "shape": "2"}, "'NAME' has no valid shape or position."),
        (entry(shape=[True, 2]), "'NAME' has no valid shape or position."),
        (entry(shape=[2.0]), "'NAME' has no valid shape or position."),
        (entry(shape=[-1]), "'NAME' has no valid shape or position."),
        (entry(shape=[1 << 62]), "'NAME' has no valid shape or position."),
        (entry(shape=[1] * 9), "'NAME' has no valid shape or position."),
        (entry(offsets=[0]), "'NAME' has no valid shape or position."),
        (entry(offsets=[0, 8, 8]), "'NAME' has no valid shape or position."),
        (entry(offsets=[0, -8]), "'NAME' has no valid shape or position."),
        (entry(shape=[(1 << 62) - 1]), "the bytes of 'NAME' do not follow from its shape and dtype."),
        (entry(offsets=[1, 9]), "the bytes of 'NAME' do not follow from its shape and dtype."),
        (entry("F64"), "the bytes of 'NAME' do not follow from its shape and dtype."),
        (entry(shape=[1], offsets=[0, 4]), "its tensors have 4 bytes, and it holds 8."),
        (entry(shape=[500], offsets=[0, 2000]), "its tensors have 2,000 bytes, and it holds 8."),
        (entry("BOOL", [8]), "a boolean is neither 0 nor 1."),
    ],
)
def test_a_header_with_a_wrong_entry(folder, entry, reason):
    name = "n" * 150
    reason = reason.replace("NAME", name[:100])
    assert refused(read_tensors, folder, {name: entry}, b"\x01\x00\x01\x00\x01\x00\x01\x02") == (
        f"{folder / 'weights'} holds no tensors of Segue: {reason}"
    )


def test_tensors_with_a_gap_or_on_top_of_each_other(folder):
    for second in ([5, 6], [3, 4]):
        header = {"a": entry("U8", [4], [0, 4]), "b": entry("U8", [1], second)}
        reason = refused(read_tensors, folder, header, bytes(second[1]))
        assert reason.endswith("the bytes of 'b' do not follow from its shape and dtype.")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "its header does not fit."),
        (bytes(7), "its header does not fit."),
        (b"\x03" + bytes(7) + b"{}", "its header does not fit."),
        (b"\x02" + bytes(6) + b"\x01{}", "its header does not fit."),
        (bytes(8), "its header is not one of tensors: Expecting value: line 1 column 1 (char 0)."),
        (b"\x02" + bytes(7) + b"[]", "its header is not one JSON object."),
        (b"\x03" + bytes(7) + b" {}", "its header is not one JSON object."),
        (b"\x0b" + bytes(7) + b"{}" + b" " * 9, "its header is not one JSON object."),
    ],
)
def test_a_header_that_is_none(folder, content, reason):
    assert refused(read_weights, folder, content) == f"{folder / 'weights'} holds no tensors of Segue: {reason}"


def test_a_header_may_be_padded_by_eight_spaces_and_has_a_limit(folder, monkeypatch):
    assert read_tensors(folder, b"{}" + b" " * 8) == {}
    monkeypatch.setattr(artifact_files, "MAX_HEADER_BYTES", 10)
    assert read_tensors(folder, b"{}" + b" " * 8) == {}
    monkeypatch.setattr(artifact_files, "MAX_HEADER_BYTES", 9)
    assert refused(read_tensors, folder, b"{}" + b" " * 8).endswith("its header does not fit.")


def test_another_file_is_refused_by_its_size_and_hash_first(folder):
    """Whatever stands in it: the cause is that it is another file."""
    for content in (b"{}", b"[]" * 2_000_000):
        reason = refused(read_tensors, folder, content, sha256="0" * 64)
        assert reason == f"{folder / 'weights'} is not the file the model was saved with: its SHA-256 differs."
    assert re.search("it has 10 bytes instead of 11", refused(read_tensors, folder, {}, size=11))
    assert read_tensors(folder, {}, size=10) == {}


def test_nothing_is_allocated_for_a_tensor_that_the_file_does_not_hold(folder, monkeypatch):
    made = []
    real = np.empty
    monkeypatch.setattr(np, "empty", lambda *arguments, **options: (made.append(1), real(*arguments, **options))[1])
    huge = {"small": entry("U8", [1], [0, 1]), "huge": entry("F64", [1 << 40], [1, 1 + (8 << 40)])}
    assert "bytes, and it holds 1." in refused(read_tensors, folder, huge, b"x")
    assert made == []
