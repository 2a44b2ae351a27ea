"""Reading of an artifact's files, which may come from anywhere: regular files only, nothing allocated before its size
is checked, each file read once, and its hash computed from the bytes that are used.
"""

import errno
import hashlib
import io
import json
import math
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

MAX_MANIFEST_BYTES = 16 << 20
"""Largest size of a manifest."""
MAX_HEADER_BYTES = 16 << 20
"""Largest header of the tensors, about 150,000 tensors."""
_DTYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "I64": np.int64,
    "I32": np.int32,
    "U8": np.uint8,
    "BOOL": np.bool_,
}
"""dtypes by their names in the safetensors format."""
_CHUNK = 1 << 20


class ArtifactFolder:
    """Open folder of an artifact: all files are read from it, also if its name leads elsewhere meanwhile."""

    def __init__(self, path: Path) -> None:
        """Open a folder.

        Raises:
            ValueError: there is no folder, or a link.
        """
        self.path = path
        if path.is_symlink():
            raise ValueError(f"{path} is a link: name the folder that it leads to.")
        try:
            self._handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            raise ValueError(f"{path} is not a Segue model: it has no manifest.json.") from None

    def __enter__(self) -> "ArtifactFolder":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._handle)

    def names(self) -> set[str]:
        """Return the names in the folder."""
        return set(os.listdir(self._handle))

    def size(self, name: str) -> int:
        """Return the size of a file in bytes. Raises the errors of ``open``."""
        with self.open(name) as file:
            return os.fstat(file.fileno()).st_size

    def open(self, name: str) -> io.FileIO:
        """Open a regular file for reading.

        Raises:
            ValueError: the file is missing, a link, a folder, a pipe or a device.
        """
        try:
            mode = os.stat(name, dir_fd=self._handle, follow_symlinks=False).st_mode
            if stat.S_ISLNK(mode):
                raise ValueError(
                    f"{self.path / name} is a link: copy the model with its files, not with links to them."
                )
            if stat.S_ISREG(mode):
                flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
                handle = os.open(name, flags, dir_fd=self._handle)
                if stat.S_ISREG(os.fstat(handle).st_mode):
                    return io.FileIO(handle, "rb")
                os.close(handle)  # replaced meanwhile
        except FileNotFoundError:
            raise ValueError(f"{self.path / name} is missing: the model is incomplete, copy it again.") from None
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.ENXIO):  # replaced by a link or a socket meanwhile
                raise
        raise ValueError(f"{self.path / name} is no regular file: copy the model again.")

    def read(self, name: str, *, sha256: str | None = None, size: int | None = None, limit: int | None = None) -> bytes:
        """Return the bytes of a file.

        Args:
            name: name of the file.
            sha256: expected hash; None: any.
            size: expected size in bytes; None: any.
            limit: largest size in bytes; None: any.

        Raises:
            ValueError: the file is not a regular one, or not the expected one.
        """
        with self.open(name) as file:
            actual = self._check_size(file, name, size)
            if limit is not None and actual > limit:
                raise ValueError(f"{self.path / name} has {actual:,} bytes, more than the {limit:,} that are possible.")
            content = bytearray(actual)
            if _read_into(file, memoryview(content)) != actual or (
                sha256 is not None and hashlib.sha256(content).hexdigest() != sha256
            ):
                self._refuse_hash(name)
            return bytes(content)

    def read_tensors(self, name: str, *, sha256: str, size: int | None) -> dict[str, np.ndarray]:
        """Return the tensors of a file in the safetensors format.

        Its header must account for each byte of the file before anything is allocated for a tensor.

        Args:
            name: name of the file.
            sha256: expected hash.
            size: expected size in bytes; None: any.

        Raises:
            ValueError: the file is not a regular one, not the expected one, or not in the format.
        """
        with self.open(name) as file:
            self._check_size(file, name, size)
            digest = hashlib.sha256()
            arrays: dict[str, np.ndarray] = {}
            problem = None
            try:
                for tensor, dtype, shape in _read_header(file, digest):
                    arrays[tensor] = _read_tensor(file, digest, dtype, shape)
            except ValueError as error:
                problem = error
                arrays = {}
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
            if digest.hexdigest() != sha256:
                self._refuse_hash(name)
            if problem is not None:
                raise ValueError(f"{self.path / name} holds no tensors of Segue: {problem}") from None
            return arrays

    def _check_size(self, file: io.FileIO, name: str, expected: int | None) -> int:
        actual = os.fstat(file.fileno()).st_size
        if expected is not None and actual != expected:
            self._refuse_hash(name, f"it has {actual:,} bytes instead of {expected:,}")
        return actual

    def _refuse_hash(self, name: str, reason: str = "its SHA-256 differs") -> NoReturn:
        raise ValueError(f"{self.path / name} is not the file the model was saved with: {reason}.")


def parse_json(content: bytes, path: Path, kind: str) -> Any:
    """Return the value of a JSON file.

    Args:
        content: bytes of the file.
        path: the file, for messages.
        kind: content of the file, for messages.

    Raises:
        ValueError: no JSON in UTF-8, too deep, NaN or infinity, or text with a lone surrogate.
    """
    try:
        value = json.loads(content.decode("utf-8"), parse_constant=_refuse_constant)
        if b"\\u" in content:  # only an escape can be a lone surrogate
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not {kind}: {_reason(error)}.") from None
    return value


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is too deep"
    return "it holds half of a surrogate pair" if isinstance(error, UnicodeEncodeError) else str(error)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _read_header(file: io.FileIO, digest: Any) -> list[tuple[str, np.dtype, tuple[int, ...]]]:
    """Return (name, dtype, shape) of each tensor in the order of their bytes, which fill the file without gaps."""
    start = file.read(8)
    digest.update(start)
    length = int.from_bytes(start, "little")
    total = os.fstat(file.fileno()).st_size - 8 - length
    if len(start) < 8 or length > MAX_HEADER_BYTES or total < 0:
        raise ValueError("its header does not fit.")
    raw = bytearray(length)
    _read_into(file, memoryview(raw))
    digest.update(raw)
    header = parse_json(bytes(raw), Path("its header"), "one of tensors")
    if not isinstance(header, dict) or len(raw.rstrip(b" ")) < length - 8 or raw[:1] != b"{":
        raise ValueError("its header is not one JSON object.")
    tensors = sorted((_parse_entry(name, entry) for name, entry in header.items()), key=lambda entry: entry[:2])
    end = 0
    for begin, stop, name, dtype, shape in tensors:
        if begin != end or stop - begin != math.prod(shape) * dtype.itemsize:
            raise ValueError(f"the bytes of '{name[:100]}' do not follow from its shape and dtype.")
        end = stop
    if end != total:
        raise ValueError(f"its tensors have {end:,} bytes, and it holds {total:,}.")
    return [(name, dtype, shape) for _, _, name, dtype, shape in tensors]


def _parse_entry(name: str, entry: Any) -> tuple[int, int, str, np.dtype, tuple[int, ...]]:
    """Return (first byte, end, name, dtype, shape) of one tensor in a header."""
    if not isinstance(entry, Mapping) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"the entry '{name[:100]}' is no tensor.")
    shape, offsets = entry["shape"], entry["data_offsets"]
    if not isinstance(entry["dtype"], str) or entry["dtype"] not in _DTYPES:
        raise ValueError(f"'{name[:100]}' has the dtype {str(entry['dtype'])[:20]}, which no model uses.")
    for sizes in (shape, offsets):
        if not isinstance(sizes, list) or not all(type(n) is int and 0 <= n < 1 << 62 for n in sizes):
            raise ValueError(f"'{name[:100]}' has no valid shape or position.")
    if len(offsets) != 2 or len(shape) > 8:
        raise ValueError(f"'{name[:100]}' has no valid shape or position.")
    return offsets[0], offsets[1], name, np.dtype(_DTYPES[entry["dtype"]]), tuple(shape)


def _read_tensor(file: io.FileIO, digest: Any, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    array = np.empty(shape, dtype=dtype)
    if array.size:
        content = memoryview(array.reshape(-1).view(np.uint8).data)
        if _read_into(file, content) != array.nbytes:
            raise ValueError("it became shorter while it was read.")
        digest.update(content)
        if dtype == np.bool_ and array.view(np.uint8).max() > 1:
            raise ValueError("a boolean is neither 0 nor 1.")
    return array


def _read_into(file: io.FileIO, buffer: memoryview) -> int:
    """Fill a buffer from a file, and return the number of bytes read."""
    done = 0
    while done < len(buffer) and (count := file.readinto(buffer[done : done + (1 << 30)])):
        done += count
    return done
