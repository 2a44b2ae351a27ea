"""Encoder and reader of ONNX graphs: serving builds small graphs and does not install the onnx package.

Field numbers are those of onnx.proto (ONNX IR version 9); the wire format is Protocol Buffers'.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

IR_VERSION = 9
OPSET = 18
_DTYPES = {"float32": 1, "uint8": 2, "int8": 3, "int32": 6, "int64": 7}
_VARINT, _FIXED_64, _BYTES, _FIXED_32 = 0, 1, 2, 5
_INT = 2


Shapes = dict[str, tuple[str, Sequence[int | str]]]
"""name -> (dtype, shape); a dynamic size is a name."""


@dataclass(frozen=True)
class Node:
    """Node of a graph: operator, names of inputs and outputs ("" for an unused output), integer attributes."""

    op_type: str
    inputs: Sequence[str]
    outputs: str | Sequence[str]
    integers: Sequence[tuple[str, int]] = ()


def build_graph(
    nodes: Sequence[Node],
    constants: dict[str, np.ndarray],
    inputs: Shapes,
    outputs: Shapes,
) -> bytes:
    """Encode a model.

    Args:
        nodes: the operators in order of execution.
        constants: tensors by name.
        inputs: dtype and shape of each input.
        outputs: dtype and shape of each output.

    Returns:
        The bytes of an ONNX ``ModelProto``.
    """
    body = b"".join(_bytes(1, _node(node)) for node in nodes)
    body += _bytes(2, b"segue")
    body += b"".join(_bytes(5, _tensor(name, value)) for name, value in constants.items())
    body += b"".join(_bytes(11, _value(name, dtype, shape)) for name, (dtype, shape) in inputs.items())
    body += b"".join(_bytes(12, _value(name, dtype, shape)) for name, (dtype, shape) in outputs.items())
    opset = _bytes(1, b"") + _number(2, OPSET)
    return _number(1, IR_VERSION) + _bytes(8, opset) + _bytes(7, body)


def read_fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield (number, value) of each field of a message: an integer, or the bytes of anything else.

    Raises:
        ValueError: the bytes are no message of Protocol Buffers.
    """
    position = 0
    while position < len(message):
        key, position = _read_varint(message, position)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, position = _read_varint(message, position)
            yield number, value
            continue
        sizes = {_FIXED_64: 8, _FIXED_32: 4}
        if kind == _BYTES:
            size, position = _read_varint(message, position)
        elif kind in sizes:
            size = sizes[kind]
        else:
            raise ValueError("it has a field of an unknown type")
        if number == 0 or key >> 32 or position + size > len(message):
            raise ValueError("a field of it is cut off")
        yield number, message[position : position + size]
        position += size


def _read_varint(message: memoryview, position: int) -> tuple[int, int]:
    """Return the number at a position, and the position behind it."""
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(message):
            break
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError("a number of it is cut off")


def _node(node: Node) -> bytes:
    out = b"".join(_bytes(1, name.encode()) for name in node.inputs)
    outputs = [node.outputs] if isinstance(node.outputs, str) else node.outputs
    out += b"".join(_bytes(2, name.encode()) for name in outputs)
    out += _bytes(4, node.op_type.encode())
    for name, value in node.integers:
        out += _bytes(5, _bytes(1, name.encode()) + _number(3, value) + _number(20, _INT))
    return out


def _tensor(name: str, value: np.ndarray) -> bytes:
    dims = b"".join(_number(1, size) for size in value.shape)
    dtype = _number(2, _DTYPES[value.dtype.name])
    return dims + dtype + _bytes(8, name.encode()) + _bytes(9, np.ascontiguousarray(value).tobytes())


def _value(name: str, dtype: str, shape: Sequence[int | str]) -> bytes:
    tensor = _number(1, _DTYPES[dtype])
    dims = (_number(1, size) if isinstance(size, int) else _bytes(2, size.encode()) for size in shape)
    tensor += _bytes(2, b"".join(_bytes(1, dim) for dim in dims))
    return _bytes(1, name.encode()) + _bytes(2, _bytes(1, tensor))


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3 | _VARINT) + _varint(value)


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | _BYTES) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
