"""Encoding of item features: each column type by hand, missing and unknown values, fit on training items only."""

from typing import Any

import numpy as np
import pytest

from segue.data.features.encoding import EncodedFeatures, FeatureConfig, FeatureEncoding, ItemFeatures

KINDS = {"colour": "category", "tags": "list", "price": "number", "title": "text", "image": "vector"}
ROWS: list[dict[str, Any]] = [
    {},
    {"colour": "red", "tags": ["a", "b"], "price": 1.0, "title": "Green tea", "image": [1.0, 0.0]},
    {"colour": "red", "tags": ["a", None], "price": 3.0, "title": "green cup", "image": [0.5, -2.0]},
    {"colour": "blue", "tags": ["b", "a"], "title": "绿茶 tea"},
    {"colour": "blue", "tags": [], "price": 5.0, "title": "绿茶 cup", "image": [1.0]},
]
SEEN = np.array([False, True, True, True, True])


def encoding(*names: str, rows: list[dict[str, Any]] = ROWS, seen: np.ndarray = SEEN, **values: Any) -> FeatureEncoding:
    return FeatureEncoding.fit(
        ItemFeatures(rows, KINDS), seen.astype(int), names, FeatureConfig(features=names, **values)
    )


def dense(features: EncodedFeatures) -> np.ndarray:
    """Return the matrix [V, F] entry by entry."""
    out = np.zeros((len(features), features.size), dtype=np.float32)
    for i in range(len(features)):
        for entry in range(features.offsets[i], features.offsets[i + 1]):
            out[i, features.codes[entry]] += features.weights[entry]
    return out


def test_a_category_has_a_feature_for_each_value_and_one_for_none() -> None:
    result = dense(encoding("colour").encode([*ROWS[1:], {}, {"colour": "never seen"}, {"colour": " red "}]))
    assert result.shape == (7, 3)
    assert (result.sum(axis=1) == 1).all()
    assert (result[0] == result[1]).all() and (result[2] == result[3]).all()
    assert result[4].tolist() == result[5].tolist() == [1, 0, 0]  # missing, and as good as missing
    assert (result[6] == result[0]).all()
    assert result[0, 0] == result[2, 0] == 0 and (result[0] != result[2]).any()


def test_a_list_is_the_mean_of_its_members() -> None:
    result = dense(encoding("tags").encode([*ROWS[1:], {"tags": ["b", "unheard of"]}]))
    assert sorted(result[0].tolist()) == [0, 0.5, 0.5]
    assert sorted(result[1].tolist()) == [0, 0, 1]
    assert (result[2] == result[0]).all()  # in any order
    assert result[3].tolist() == [1, 0, 0]
    assert result[4].max() == 1 and result[4, 0] == 0  # what training never saw is left out of the mean


def test_a_text_shares_its_words_and_characters() -> None:
    result = dense(encoding("title").encode([*ROWS[1:], {"title": "绿茶, GREEN!"}]))
    assert result[0] @ result[1] > 0 and result[2] @ result[3] > 0 and result[4] @ result[2] > 0
    assert result.sum(axis=1).tolist() == pytest.approx([1] * 5)
    assert result[:, 0].tolist() == [0] * 5


def test_a_number_is_encoded_by_its_value_and_its_bin() -> None:
    made = encoding("price")
    result = dense(made.encode([*ROWS[1:], {"price": 1e9}, {"price": float("nan")}, {"price": "cheap"}]))
    deviation = np.std([1, 3, 5])
    assert result[:, 1].tolist() == pytest.approx([-2 / deviation, 0, 0, 2 / deviation, 3, 0, 0])
    assert result[:, 0].tolist() == [0, 0, 1, 0, 0, 1, 1]
    assert result[[0, 1, 3], 2:].argmax(axis=1).tolist() == sorted(set(result[[0, 1, 3], 2:].argmax(axis=1).tolist()))
    assert (result[:, 2:].sum(axis=1) + result[:, 0] == 1).all()


@pytest.mark.parametrize("part", [1e308, -1e13, float("nan"), 10**400])
def test_a_vector_whose_scores_would_overflow_is_missing(part: float) -> None:
    result = dense(encoding("image").encode([{"image": [part, 0.0]}, {}]))
    assert (result[0] == result[1]).all()


def test_a_vector_enters_as_it_is() -> None:
    result = dense(encoding("image").encode(ROWS[1:]))
    assert result.tolist() == [[0, 1, 0], [0, 0.5, -2], [1, 0, 0], [1, 0, 0]]  # none, and one of another width


def test_columns_lie_side_by_side() -> None:
    both, color, price = (dense(encoding(*n).encode(ROWS[1:])) for n in (("colour", "price"), ("colour",), ("price",)))
    np.testing.assert_array_equal(both, np.hstack([color, price]))


def test_only_training_items_decide_values_and_scales() -> None:
    seen = np.array([False, True, True, False, False])
    result = dense(encoding("colour", "price", seen=seen).encode(ROWS[1:]))
    prices = np.array([r["price"] for r in ROWS[1:3]])
    assert result[2, 0] == 1  # blue was never trained on
    assert result[0, 3] == pytest.approx((1 - prices.mean()) / prices.std())


def test_rare_values_have_no_feature_and_the_most_frequent_are_kept() -> None:
    assert encoding("tags", min_items=4).size == 1
    assert encoding("title", max_values=2).size == 3
    assert encoding("title", min_items=3).size == 1 < encoding("title").size


def test_pad_has_no_features_and_sums_are_plain_sums() -> None:
    made = encoding("colour", "tags", "price", "title", "image")
    features = made.encode_catalog(ItemFeatures(ROWS, KINDS))
    assert features.offsets[1] == 0
    weights = np.random.default_rng(0).normal(size=(made.size, 3)).astype(np.float32)
    np.testing.assert_allclose(features @ weights, dense(features) @ weights, rtol=1e-5, atol=1e-6)
    kept = features.masked(np.array([False, True, False, True, False]))
    assert (kept @ weights)[[2, 4]].tolist() == [[0] * 3] * 2
    np.testing.assert_allclose((kept @ weights)[[1, 3]], (features @ weights)[[1, 3]])


def test_long_tables_are_summed_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    made = encoding("colour", "tags", "title")
    features = made.encode(ROWS[1:] * 20)
    weights = np.random.default_rng(0).normal(size=(made.size, 3)).astype(np.float32)
    whole = features @ weights
    monkeypatch.setattr("segue.data.features.encoding.CHUNK", 8)
    np.testing.assert_allclose(features @ weights, whole, rtol=1e-6)


def test_it_comes_back_from_arrays_without_any_word_in_them() -> None:
    made = encoding(*KINDS)
    arrays = made.arrays()
    again = FeatureEncoding.restore(arrays)
    np.testing.assert_array_equal(dense(made.encode(ROWS[1:])), dense(again.encode(ROWS[1:])))
    assert all("绿".encode() not in value.tobytes() and b"green" not in value.tobytes() for value in arrays.values())


def test_invalid_settings_and_columns() -> None:
    with pytest.raises(
        ValueError,
        match=r"^The items table has no column 'prize' to train on\. "
        r"Its columns: colour, tags, price, title, image\.$",
    ):
        encoding("prize")
    for values, sentence in (
        ({"min_items": 0}, r"^min_items must be at least 1, got 0\.$"),
        ({"max_values": 0}, r"^max_values must be at least 1, got 0\.$"),
        ({"ridge": 0.0}, r"^ridge must be above 0, got 0\.0\.$"),
        ({"id_dropout": 1.0}, r"^id_dropout must be in \[0, 1\), got 1\.0\.$"),
        ({"context_dropout": -0.5}, r"^context_dropout must be in \[0, 1\), got -0\.5\.$"),
    ):
        with pytest.raises(ValueError, match=sentence):
            FeatureConfig(**values)  # type: ignore[arg-type]


def test_rows_count_as_often_as_they_occur() -> None:
    """A row with weight three equals three equal rows."""
    rows: list[dict[str, Any]] = [{}, {"kind": "a", "price": 1.0}, {"kind": "b", "price": 5.0}]
    config = FeatureConfig(contexts=("kind", "price"), min_items=3)
    item_features = ItemFeatures(rows, {"kind": "category", "price": "number"})
    once = FeatureEncoding.fit(item_features, np.array([0, 3, 1]), config.contexts, config)
    apart = ItemFeatures([{}, rows[1], rows[1], rows[1], rows[2]], item_features.column_types)
    each = FeatureEncoding.fit(apart, np.array([0, 1, 1, 1, 1]), config.contexts, config)
    for name, value in each.arrays().items():
        np.testing.assert_array_equal(once.arrays()[name], value)
    assert once.columns[0].size == 2  # b occurs once: unknown
    with pytest.raises(
        ValueError, match=r"^The log's context has no column 'region' to train on\. Its columns: kind, price\.$"
    ):
        FeatureEncoding.fit(item_features, np.array([0, 1, 1]), ("region",), FeatureConfig(contexts=("region",)))
