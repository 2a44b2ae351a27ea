"""Checks of an artifact's tensors against the table of ``segue.models.artifact_tensors``, before a model uses them.

A model indexes with its tensors. A tensor of another shape, or an index out of range, would raise an error in the one
request that meets it, long after the model was deployed. All are checked here, by name, dtype, shape and values.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

from segue.models.artifact_tensors import Tensor, find_tensor

MAX_ABS_FLOAT32 = 1e15
"""Largest absolute value of a float32 tensor: products of two stay far below the largest float32, 3.4e38."""


class _Named(NamedTuple):
    """Tensor with its name in the artifact and its row of the table."""

    name: str
    array: np.ndarray
    listed: Tensor


def check_tensors(model: str, arrays: Mapping[str, np.ndarray], size: int) -> None:
    """Check the tensors of one model, ranker or pipeline.

    Args:
        model: key of ``TENSORS``, or zoo names with '+' between them. Tensors of a pipeline's or an ensemble's members
            are checked with the member, each by a call of its own.
        arrays: tensors by name.
        size: V, catalog size with PAD.

    Raises:
        ValueError: an unlisted tensor, another dtype or shape, or a value that is not valid. The message names it.
    """
    sizes = {"V": size}
    named = []
    for name, array in arrays.items():
        listed = find_tensor(model, name)
        if listed is None:
            raise ValueError(f"The tensor '{name}' does not belong to the model '{model}'.")
        if listed.dtype == "any":  # of a member, which is checked by itself
            continue
        if array.dtype.name != listed.dtype:
            raise ValueError(f"The tensor '{name}' must be {listed.dtype}, but is {array.dtype.name}.")
        _check_shape(_Named(name, array, listed), sizes)
        named.append(_Named(name, array, listed))
    for tensor in named:
        _check_values(tensor, sizes)


@contextmanager
def refuse_unsound(model: str) -> Iterator[None]:
    """Turn any error of an artifact's contents into a ValueError: a missing tensor or setting, sizes that do not fit.

    Args:
        model: name of the model, for messages.
    """
    try:
        yield
    except (ValueError, ImportError, OSError):
        raise
    except Exception as error:
        reason = f"{type(error).__name__} {' '.join(str(error).split())}".strip()
        raise ValueError(
            f"The artifact of the model '{model[:100]}' is incomplete or does not fit together ({reason[:300]})."
        ) from None


def _check_shape(tensor: _Named, sizes: dict[str, int]) -> None:
    """Compare a shape with the listed one, and add the sizes of new letters to ``sizes``."""
    name, array, listed = tensor
    if listed.shape == "[...]":
        return
    letters = listed.shape.strip("[]").split(", ")
    is_one = "{" not in name and "{" not in listed.name  # letters of a group differ between its tensors
    matches = array.ndim == len(letters)
    for letter, actual in zip(letters, array.shape, strict=False):
        expected = _expected(letter, actual, sizes, is_one)
        matches = matches and (expected is None or expected == actual)
    if not matches:
        known = [f"{letter} = {sizes[letter]}" for letter in sizes if letter in listed.shape and letter != "V"]
        if "V" in listed.shape:
            known.append(f"V = {sizes['V']}, the number of items in the catalog plus one")
        meaning = f" with {', '.join(known)}" if known else ""
        raise ValueError(f"The tensor '{name}' has the shape {list(array.shape)}, not {listed.shape}{meaning}.")


def _expected(letter: str, actual: int, sizes: dict[str, int], is_one: bool) -> int | None:
    """Return the expected size of a dimension; None for any. A new letter takes its value from ``actual``."""
    if letter.isdigit():
        return int(letter)
    base, _, more = letter.partition(" + ")
    factor, _, base = base.rpartition(" ")
    if base == "*" or (factor and not factor.isdigit()) or (base != "V" and not is_one):
        return None
    times, plus = int(factor or 1), int(more or 0)
    if base not in sizes:
        sizes[base] = max(0, actual - plus) // times
    return sizes[base] * times + plus


def _check_values(tensor: _Named, sizes: Mapping[str, int]) -> None:
    name, array, listed = tensor
    if array.dtype.kind == "f":
        _check_floats(name, array, listed.values)
    rule, _, letter = listed.values.rpartition(" ")
    check = _RULES.get(rule) or _RULES.get(listed.values)
    if check is None or array.size == 0:
        if rule == "offsets into":
            raise ValueError(f"The tensor '{name}' is empty.")
        return
    bound = int(letter) if letter.isdigit() else sizes.get(letter, 0)
    if not check(array, bound):
        where = f" ({letter} = {bound})" if letter in sizes else ""
        raise ValueError(f"The tensor '{name}' holds values that are not valid: they must be {listed.values}{where}.")


def _check_floats(name: str, array: np.ndarray, values: str) -> None:
    """Raise a ValueError for NaN, for infinity where it is not valid, and for float32 that would overflow."""
    with np.errstate(invalid="ignore"):
        low, high = (float(array.min()), float(array.max())) if array.size else (0.0, 0.0)
    if np.isnan(low) or np.isnan(high):
        raise ValueError(f"The tensor '{name}' holds NaN.")
    if values in _INFINITE:
        finite = array[np.isfinite(array)]
        infinite = array[~np.isfinite(array)]
        if len(infinite) and not (infinite == _INFINITE[values]).all():
            raise ValueError(f"The tensor '{name}' holds infinity of the wrong sign.")
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    limit = MAX_ABS_FLOAT32 if array.dtype == np.float32 else float(np.finfo(np.float64).max)
    if max(-low, high) > limit:
        raise ValueError(f"The tensor '{name}' holds {max(-low, high):g}: its values must lie within {limit:g}.")


def _is_tree(child_M: np.ndarray, _: int) -> bool:
    """Return True if each inner node has two later nodes of its own, and a leaf leads to itself: every walk ends."""
    node_M = np.arange(len(child_M))
    inner = child_M != node_M
    first = child_M[inner]
    below = np.concatenate([first, first + 1])
    is_later = (first > node_M[inner]) & (first < len(child_M) - 1)
    return bool(is_later.all()) and len(np.unique(below)) == len(below)


def _are_offsets(array: np.ndarray, total: int) -> bool:
    return bool(array[0] == 0 and array[-1] == total and (np.diff(array) >= 0).all())


_INFINITE = {"finite or inf": np.inf, "finite or -inf": -np.inf}
_RULES: dict[str, Callable[[np.ndarray, int], bool]] = {
    "index of": lambda array, bound: bool(array.min() >= 0 and array.max() < bound),
    "at most": lambda array, bound: bool(array.min() >= 0 and array.max() <= bound),
    "equal to": lambda array, bound: bool((array == bound).all()),
    "offsets into": _are_offsets,
    "above": lambda array, bound: bool(array.min() > bound),
    "ascending": lambda array, _: bool((array[1:] >= array[:-1]).all()),
    "children": _is_tree,
}
"""Rules of ``Tensor.values``: function of (tensor, bound)."""
