"""Checks of tensors against the table: shapes by letters, and the rules of values."""

import numpy as np
import pytest

from segue.models.tensor_checks import check_tensors, refuse_unsound

ROWS = {
    "offsets": np.array([0, 0, 2, 3]),
    "columns": np.array([1, 2, 0], np.int32),
    "values": np.ones(3, np.float32),
    "popularity": np.ones(3, np.float32),
}
TREES = {
    "trees.roots": np.array([0], np.int32),
    "trees.feature": np.zeros(5, np.int32),
    "trees.threshold": np.array([0.5, 0.1, np.inf, np.inf, np.inf]),
    "trees.child": np.array([1, 3, 2, 3, 4], np.int32),
    "trees.value": np.zeros(5),
}


def test_sound_tensors_pass() -> None:
    check_tensors("covisit", ROWS, 3)
    check_tensors("pipeline", TREES, 3)
    check_tensors("new", {"score": np.array([-np.inf, 1, -np.inf], np.float32)}, 3)
    check_tensors("fpmc", {"item_embeddings": np.ones((3, 8), np.float32), "fold_in": np.ones((4, 4), np.float32)}, 3)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("offsets", np.array([0, 0, 2]), "has the shape [3], not [V + 1] with V = 3"),
        ("offsets", np.array([0, 2, 1, 3]), "they must be offsets into M (M = 3)"),
        ("offsets", np.array([0, 0, 2, 4]), "they must be offsets into M (M = 3)"),
        ("offsets", np.array([1, 1, 2, 3]), "they must be offsets into M (M = 3)"),
        ("columns", np.array([1, 2, 3], np.int32), "they must be index of V (V = 3)"),
        ("columns", np.array([1, 2, -1], np.int32), "they must be index of V (V = 3)"),
        ("values", np.ones(2, np.float32), "has the shape [2], not [M] with M = 3"),
        ("values", np.ones((3, 1), np.float32), "has the shape [3, 1], not [M]"),
        ("values", np.ones(3), "must be float32, but is float64"),
        ("values", np.array([1, np.nan, 1], np.float32), "holds NaN"),
        ("values", np.array([1, -np.inf, 1], np.float32), "its values must lie within 1e+15"),
        ("values", np.array([1, 1e30, 1], np.float32), "its values must lie within 1e+15"),
        ("more", np.ones(1, np.float32), "does not belong to the model 'covisit'"),
    ],
)
def test_a_wrong_tensor_is_named(name: str, value: np.ndarray, reason: str) -> None:
    with pytest.raises(ValueError) as error:
        check_tensors("covisit", {**ROWS, name: value}, 3)
    assert str(error.value).startswith(f"The tensor '{name}' ")
    assert reason in str(error.value)


@pytest.mark.parametrize(
    "child",
    [[0, 3, 2, 3, 4], [1, 0, 2, 3, 4], [1, 2, 2, 3, 4], [4, 3, 2, 3, 4], [1, 9, 2, 3, 4], [-1, 3, 2, 3, 4]],
    ids=["", "cycle", "shared child", "last node alone", "beyond", "negative"],
)
def test_a_walk_down_a_tree_ends(child: list[int]) -> None:
    """An inner node that leads to itself is a leaf by this tensor; its threshold then says otherwise."""
    trees = {**TREES, "trees.child": np.array(child, np.int32)}
    if child[0] == 0:
        return check_tensors("pipeline", trees, 3)
    with pytest.raises(ValueError, match="they must be children"):
        check_tensors("pipeline", trees, 3)


def test_infinity_of_the_wrong_sign() -> None:
    with pytest.raises(ValueError, match="infinity of the wrong sign"):
        check_tensors("new", {"score": np.array([0, np.inf, 0], np.float32)}, 3)


def test_any_error_of_contents_is_one_sentence() -> None:
    sentence = r"^The artifact of the model 'm' is incomplete .*\(KeyError 'x'\)\.$"
    with pytest.raises(ValueError, match=sentence), refuse_unsound("m"):
        {}["x"]
    with pytest.raises(ImportError), refuse_unsound("m"):
        raise ImportError("onnxruntime")
