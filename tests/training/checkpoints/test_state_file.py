"""The state file is what safetensors writes, with a checksum before it, and gives back every kind of tensor."""

from pathlib import Path

import safetensors.torch
import torch

from segue.training.checkpoints.state_file import DTYPES, MAGIC, TrainingState, encode_state, read_state


def example() -> TrainingState:
    tensors = {f"of {name}": torch.arange(7).to(dtype) for name, dtype in DTYPES.items()}
    tensors |= {"scalar": torch.tensor(3.5), "empty": torch.empty(0, 4), "turned": torch.arange(6.0).reshape(2, 3).T}
    return TrainingState(tensors, {"n": 3, "name": "ä", "list": [0.1, 1e300]})


def test_every_kind_of_tensor_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "state"
    path.write_bytes(b"".join(bytes(piece) for piece in encode_state(example())))
    found = read_state(path)
    assert found is not None
    assert found.numbers == example().numbers
    assert found.tensors.keys() == example().tensors.keys()
    for name, wanted in example().tensors.items():
        assert found.tensors[name].dtype == wanted.dtype
        assert torch.equal(found.tensors[name], wanted), name


def test_the_library_reads_the_same_values(tmp_path: Path) -> None:
    raw = b"".join(bytes(piece) for piece in encode_state(example()))
    assert raw.startswith(MAGIC)
    found = safetensors.torch.load(raw.partition(b"\n")[2])
    for name, wanted in example().tensors.items():
        assert torch.equal(found[name], wanted), name
