"""Tensors and numbers as one file with a checksum, written and read a tensor at a time.

A line with the SHA-256 of the rest, then the rest as safetensors (an 8-byte length, a JSON header, the raw values).
That format has no checksum of its own, and its library holds every value once more in memory while it writes.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

MAGIC = b"segue checkpoint 1 "
KINDS = {
    "F64": torch.float64,
    "I64": torch.int64,
    "F32": torch.float32,
    "I32": torch.int32,
    "BF16": torch.bfloat16,
    "F16": torch.float16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_NAMES = {kind: name for name, kind in KINDS.items()}


@dataclass
class TrainingState:
    """Where a training stands: ``tensors`` by name, ``numbers`` as plain JSON values."""

    tensors: dict[str, Tensor]
    numbers: dict[str, Any]


def encode_state(state: TrainingState) -> Iterator[Any]:
    """The file's content, one buffer after the other; tensors on the CPU are not copied."""
    # The widest kinds first, so that every value lies where its width wants it.
    ordered = sorted(state.tensors.items(), key=lambda pair: (-pair[1].element_size(), pair[0]))
    header: dict[str, Any] = {"__metadata__": {"numbers": json.dumps(state.numbers)}}
    place = 0
    for name, tensor in ordered:
        end = place + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": _NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [place, end]}
        place = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    head = len(text).to_bytes(8, "little") + text
    digest = hashlib.sha256(head)
    for _, tensor in ordered:
        digest.update(_values(tensor))
    yield MAGIC + digest.hexdigest().encode() + b"\n"
    yield head
    for _, tensor in ordered:
        yield _values(tensor)


def read_state(path: Path) -> TrainingState | None:
    """What was written, each tensor in memory of its own; None where the file is not what it was."""
    with path.open("rb") as file:
        head = file.readline(len(MAGIC) + 65)
        start = file.tell()
        if head != MAGIC + hashlib.file_digest(file, "sha256").hexdigest().encode() + b"\n":
            return None
        file.seek(start)
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        numbers = json.loads(header.pop("__metadata__")["numbers"])
        tensors = {}
        for name, about in header.items():
            tensors[name] = torch.empty(about["shape"], dtype=KINDS[about["dtype"]])
            file.seek(start + 8 + size + about["data_offsets"][0])
            file.readinto(_values(tensors[name]))
    return TrainingState(tensors, numbers)


def _values(tensor: Tensor) -> memoryview:
    """A tensor's bytes where they lie."""
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
