"""Tensors of a model for a larger catalog whose added items have no events; ``artifact_tensors`` states their sizes."""

from collections.abc import Mapping

import numpy as np

from segue.models.artifact_tensors import find_tensor

FILLERS = {("markov", "backoff"): 1.0, ("new", "score"): 1.0}
"""Value of an item without events by model and tensor; 0 for all others. A chain without transitions from an item
leaves all probability to the items before; a new item without events is of age 0."""


def extend_tensors(model: str, arrays: Mapping[str, np.ndarray], count: int) -> dict[str, np.ndarray]:
    """Extend the tensors of a model by items without events: no pairs, no counts, embeddings of zeros.

    Args:
        model: key of ``TENSORS`` other than an ensemble.
        arrays: tensors by name.
        count: number of items to add behind those of the catalog.

    Returns:
        Tensors by name; those whose size does not depend on the catalog are unchanged.
    """
    return {name: _extend(model, name, array, count) for name, array in arrays.items()}


def _extend(model: str, name: str, array: np.ndarray, count: int) -> np.ndarray:
    listed = find_tensor(model, name)
    if listed is None:
        raise ValueError(f"The tensor '{name}' does not belong to the model '{model}'.")
    if listed.values == "equal to V":
        return array + count
    first = listed.shape.strip("[]").split(", ")[0]
    if first == "V + 1":  # offsets: the added rows are empty
        return np.concatenate([array, np.full(count, array[-1], dtype=array.dtype)])
    if first != "V":
        return array
    filler = FILLERS.get((model, name), 0)
    return np.concatenate([array, np.full((count, *array.shape[1:]), filler, dtype=array.dtype)])
