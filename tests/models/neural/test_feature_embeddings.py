"""Feature embeddings: the ridge regression against its closed form, and restoring."""

import numpy as np
import pytest

from segue.data.features.encoding import FeatureConfig, FeatureEncoding, ItemFeatures
from segue.models.neural.feature_embeddings import FeatureEmbeddings, fit_feature_embeddings

ROWS = [{}, *({"kind": f"k{i % 5}", "title": f"w{i % 3} w{i % 4} tea"} for i in range(40))]
FEATURES = ItemFeatures(ROWS, {"kind": "category", "title": "text"})
ENCODING = FeatureEncoding.fit(FEATURES, np.minimum(np.arange(41), 1), ("kind", "title"), FeatureConfig())


@pytest.mark.parametrize("strength", [0.01, 0.3, 10.0])
def test_the_regression_is_the_closed_form(strength: float) -> None:
    features = ENCODING.encode_catalog(FEATURES)
    matrix = np.stack([(features @ np.eye(features.size, dtype=np.float32))[i] for i in range(41)])
    vectors = np.random.default_rng(0).normal(size=(41, 6)).astype(np.float32)
    gram = matrix.T @ matrix + strength * np.eye(features.size)
    expected = np.linalg.solve(gram, matrix.T @ vectors)
    np.testing.assert_allclose(fit_feature_embeddings(features, vectors, strength), expected, rtol=1e-2, atol=1e-3)


def test_zero_embeddings_give_zero_weights() -> None:
    features = ENCODING.encode_catalog(FEATURES)
    assert not fit_feature_embeddings(features, np.zeros((41, 6), dtype=np.float32), 1.0).any()


def test_restored_embeddings_are_equal() -> None:
    weights = np.random.default_rng(0).normal(size=(ENCODING.size, 4)).astype(np.float32)
    fitted = FeatureEmbeddings(ENCODING, weights)
    restored = FeatureEmbeddings.restore({**fitted.arrays("features"), "table": np.zeros(3)}, "features")
    assert restored is not None
    np.testing.assert_array_equal(restored.embed_rows(ROWS[1:7]), fitted.embed_rows(ROWS[1:7]))
    assert FeatureEmbeddings.restore({**fitted.arrays("features")}, "contexts") is None


def test_a_table_is_embedded_once_and_row_0_is_zero() -> None:
    weights = np.random.default_rng(0).normal(size=(ENCODING.size, 4)).astype(np.float32)
    fitted = FeatureEmbeddings(ENCODING, weights)
    embeddings = fitted.embed_table(FEATURES)
    np.testing.assert_array_equal(embeddings[1:], fitted.embed_rows(ROWS[1:]))
    assert not embeddings[0].any() and fitted.embed_table(FEATURES) is embeddings
    other = fitted.embed_table(ItemFeatures(ROWS[:3], FEATURES.column_types))
    np.testing.assert_array_equal(other, embeddings[:3])
