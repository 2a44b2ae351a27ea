"""Features' vectors: the regression against the closed form, and the way to disk."""

import numpy as np
import pytest

from segue.data.features.encoding import FeatureConfig, FeatureEncoding, ItemFeatures
from segue.models.neural.feature_embeddings import FeatureEmbeddings, fit_feature_embeddings

ROWS = [{}, *({"kind": f"k{i % 5}", "title": f"w{i % 3} w{i % 4} tea"} for i in range(40))]
FACTS = ItemFeatures(ROWS, {"kind": "category", "title": "text"})
ENCODING = FeatureEncoding.fit(FACTS, np.minimum(np.arange(41), 1), ("kind", "title"), FeatureConfig())


@pytest.mark.parametrize("strength", [0.01, 0.3, 10.0])
def test_the_regression_is_the_closed_form(strength: float) -> None:
    features = ENCODING.encode_catalog(FACTS)
    matrix = np.stack([(features @ np.eye(features.size, dtype=np.float32))[i] for i in range(41)])
    vectors = np.random.default_rng(0).normal(size=(41, 6)).astype(np.float32)
    gram = matrix.T @ matrix + strength * np.eye(features.size)
    wanted = np.linalg.solve(gram, matrix.T @ vectors)
    np.testing.assert_allclose(fit_feature_embeddings(features, vectors, strength), wanted, rtol=1e-2, atol=1e-3)


def test_nothing_to_explain_gives_zeros() -> None:
    features = ENCODING.encode_catalog(FACTS)
    assert not fit_feature_embeddings(features, np.zeros((41, 6), dtype=np.float32), 1.0).any()


def test_it_comes_back_from_arrays() -> None:
    weights = np.random.default_rng(0).normal(size=(ENCODING.size, 4)).astype(np.float32)
    made = FeatureEmbeddings(ENCODING, weights)
    again = FeatureEmbeddings.restore({**made.arrays("features"), "table": np.zeros(3)}, "features")
    assert again is not None
    np.testing.assert_array_equal(again.embed_rows(ROWS[1:7]), made.embed_rows(ROWS[1:7]))
    assert FeatureEmbeddings.restore({**made.arrays("features")}, "contexts") is None


def test_a_table_is_encoded_once_and_row_0_is_nothing() -> None:
    weights = np.random.default_rng(0).normal(size=(ENCODING.size, 4)).astype(np.float32)
    made = FeatureEmbeddings(ENCODING, weights)
    told = made.embed_table(FACTS)
    np.testing.assert_array_equal(told[1:], made.embed_rows(ROWS[1:]))
    assert not told[0].any() and made.embed_table(FACTS) is told
    other = made.embed_table(ItemFeatures(ROWS[:3], FACTS.column_types))
    np.testing.assert_array_equal(other, told[:3])
