"""Checks of a foreign ONNX graph before onnxruntime reads it: one graph of standard operators, complete in itself.

Refused are data in other files, operators of other domains, functions, nested graphs (conditions and loops), random
operators, and NaN among the constants. Field numbers are those of onnx.proto.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from segue.models.onnx_proto import read_fields

_DOMAINS = (b"", b"ai.onnx")
_RANDOM = (b"Random", b"Bernoulli", b"Multinomial", b"Dropout")
_FLOATS: dict[int, np.dtype[Any]] = {1: np.dtype("<f4"), 10: np.dtype("<f2"), 11: np.dtype("<f8")}
"""Float dtypes by their numbers in TensorProto."""
_BFLOAT16 = 16


def check_graph(model: bytes) -> None:
    """Check an ONNX model.

    Args:
        model: bytes of a ``ModelProto``.

    Raises:
        ValueError: the model holds anything that the export of an encoder does not need.
    """
    try:
        for number, value in _messages(memoryview(model)):
            if number == 7:
                _check_nodes(value)
            elif number == 8:
                _check_domain(value, 1)
            elif number in (20, 25, 26):
                raise ValueError("it has functions or training information")
    except ValueError as error:
        raise ValueError(f"The ONNX graph of the encoder is refused: {error}.") from None


def _messages(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield the fields of a message that are bytes."""
    for number, value in read_fields(message):
        if isinstance(value, memoryview):
            yield number, value


def _check_domain(message: memoryview, field: int) -> None:
    for number, value in _messages(message):
        if number == field and bytes(value) not in _DOMAINS:
            raise ValueError("it uses operators that are not of ONNX itself")


def _check_nodes(graph: memoryview) -> None:
    for number, value in _messages(graph):
        if number == 1:
            _check_node(value)
        elif number == 5:
            _check_tensor(value)
        elif number == 15:
            raise ValueError("it has sparse constants")


def _check_node(node: memoryview) -> None:
    _check_domain(node, 7)
    for number, value in _messages(node):
        if number == 4 and bytes(value).startswith(_RANDOM):
            raise ValueError(f"its operator {bytes(value).decode(errors='replace')} is random")
        if number == 5:
            _check_attribute(value)


def _check_attribute(attribute: memoryview) -> None:
    for number, value in _messages(attribute):
        if number in (6, 11):
            raise ValueError("it has nested graphs")
        if number in (22, 23):
            raise ValueError("it has sparse constants")
        if number in (5, 10):
            _check_tensor(value)
        if number in (2, 7) and len(value) % 4 == 0 and np.isnan(np.frombuffer(value, "<f4")).any():
            raise ValueError("an attribute is NaN")


def _check_tensor(tensor: memoryview) -> None:
    dtype, contents = 0, []
    for number, value in read_fields(tensor):
        if number == 13 or (number == 14 and value != 0):
            raise ValueError("a constant is in another file")
        if number == 2 and isinstance(value, int):
            dtype = value
        if number in (4, 9, 10) and isinstance(value, memoryview):
            contents.append((number, value))
    for number, value in contents:
        floats = _FLOATS.get({4: 1, 9: dtype, 10: 11}[number])
        if number == 9 and dtype == _BFLOAT16:
            raise ValueError("a constant has the dtype bfloat16")
        if floats is None:
            continue
        if len(value) % floats.itemsize or np.isnan(np.frombuffer(value, floats)).any():
            raise ValueError("a constant holds NaN")
