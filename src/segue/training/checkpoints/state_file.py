"""File format of checkpoints: tensors and numbers with a checksum, written and read one tensor at a time.

The first line holds the SHA-256 of the rest. The rest is a safetensors file: an 8-byte length, a JSON header, raw
values. That format has no checksum, and its library holds a second copy of all values in memory while it writes.
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
DTYPES = {
    "F64": torch.float64,
    "I64": torch.int64,
    "F32": torch.float32,
    "I32": torch.int32,
    "BF16": torch.bfloat16,
    "F16": torch.float16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}


@dataclass
class TrainingState:
    """State of a training: ``tensors`` by name, ``numbers`` as plain JSON values."""

    tensors: dict[str, Tensor]
    numbers: dict[str, Any]

    def tensors_under(self, prefix: str) -> dict[str, Tensor]:
        """Return the tensors whose name starts with the prefix, by the rest of their name."""
        return {name.removeprefix(prefix): value for name, value in self.tensors.items() if name.startswith(prefix)}


def encode_state(state: TrainingState) -> Iterator[Any]:
    """Yield the content of a checkpoint file, one buffer after the other; tensors on the CPU are not copied."""
    # The widest dtypes first, so that every value is aligned to its width.
    ordered = sorted(state.tensors.items(), key=lambda pair: (-pair[1].element_size(), pair[0]))
    header: dict[str, Any] = {"__metadata__": {"numbers": json.dumps(state.numbers)}}
    position = 0
    for name, tensor in ordered:
        end = position + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": _NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [position, end]}
        position = end
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
    """Return the state of a checkpoint file, each tensor in its own memory; None if the checksum does not match."""
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
        for name, entry in header.items():
            tensors[name] = torch.empty(entry["shape"], dtype=DTYPES[entry["dtype"]])
            file.seek(start + 8 + size + entry["data_offsets"][0])
            file.readinto(_values(tensors[name]))
    return TrainingState(tensors, numbers)


def _values(tensor: Tensor) -> memoryview:
    """Return the bytes of a tensor, without a copy for a contiguous tensor on the CPU."""
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
