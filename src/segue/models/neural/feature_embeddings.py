"""Embeddings of item features and event contexts: weighted sums of trained feature embeddings.

Shape letters: V catalog size with PAD, F features, D width, N rows.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from segue.data.features.encoding import EncodedFeatures, FeatureEncoding, ItemFeatures

MAX_STEPS = 100
"""Maximum number of conjugate gradient steps; far fewer bring the residual below 1e-4."""


class FeatureEmbeddings:
    """Encoding of feature rows and one embedding a feature: embedding(row) = sum of weight * feature embedding."""

    def __init__(self, encoding: FeatureEncoding, weights_FD: np.ndarray) -> None:
        self.encoding = encoding
        self.weights_FD = weights_FD
        self._cached: tuple[ItemFeatures, np.ndarray] | None = None

    def embed_rows(self, rows: Iterable[Mapping[str, Any]]) -> np.ndarray:
        """Return the embeddings of rows (column -> value), float32 [N, D]."""
        return self.encoding.encode(rows) @ self.weights_FD

    def embed_table(self, features: ItemFeatures) -> np.ndarray:
        """Return the embeddings of a feature table, float32 [N, D]; row 0 is zero.

        The result is cached for the next call with the same object.
        """
        cached = self._cached
        if cached is None or cached[0] is not features:
            cached = self._cached = (features, self.encoding.encode_catalog(features) @ self.weights_FD)
        return cached[1]

    def arrays(self, prefix: str) -> dict[str, np.ndarray]:
        """Return the tensors of the artifact: ``{prefix}.weights`` and those of the encoding."""
        own = {"weights": self.weights_FD, **self.encoding.arrays()}
        return {f"{prefix}.{name}": value for name, value in own.items()}

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray], prefix: str) -> "FeatureEmbeddings | None":
        """Restore the embeddings of an artifact.

        Args:
            arrays: tensors of the artifact.
            prefix: ``features`` or ``contexts``.

        Returns:
            None if the artifact has no tensors of this prefix.
        """
        start = f"{prefix}."
        own = {name.removeprefix(start): value for name, value in arrays.items() if name.startswith(start)}
        if not own:
            return None
        encoding = FeatureEncoding.restore(own)
        if len(own["weights"]) != encoding.size:
            raise ValueError(f"The tensor '{prefix}.weights' has not one row for each of {encoding.size} features.")
        return cls(encoding, own["weights"])


def fit_feature_embeddings(features: EncodedFeatures, embeddings_VD: np.ndarray, strength: float) -> np.ndarray:
    """Fit W that minimizes |X W - Y|^2 + strength |W|^2 (ridge regression, Hoerl & Kennard 1970).

    Conjugate gradients on all columns side by side, so that no [F, F] matrix is needed.

    Args:
        features: X, encoded features of V rows.
        embeddings_VD: Y, float32 [V, D].
        strength: weight of the penalty, above 0.

    Returns:
        float32 [F, D].
    """
    from scipy import sparse

    matrix = sparse.csr_array(
        (features.weights, features.codes, features.offsets), shape=(len(features), features.size)
    )
    transposed = matrix.T.tocsr()
    weights_FD = np.zeros((features.size, embeddings_VD.shape[1]), dtype=np.float32)
    residual_FD = (transposed @ embeddings_VD).astype(np.float32)
    direction_FD = residual_FD.copy()
    norm_D = (residual_FD * residual_FD).sum(axis=0)
    tolerance_D = 1e-8 * norm_D
    for _ in range(MAX_STEPS):
        if (norm_D <= tolerance_D).all():
            break
        image_FD = transposed @ (matrix @ direction_FD) + np.float32(strength) * direction_FD
        step_D = norm_D / np.maximum((direction_FD * image_FD).sum(axis=0), 1e-30)
        weights_FD += step_D * direction_FD
        residual_FD -= step_D * image_FD
        previous_D, norm_D = norm_D, (residual_FD * residual_FD).sum(axis=0)
        direction_FD = residual_FD + (norm_D / np.maximum(previous_D, 1e-30)) * direction_FD
    return weights_FD
