"""Vectors from what is known: of items, so that one nobody has taken yet can be placed; of events' contexts. No torch.

Shape letters: V catalog size with PAD, F features, D width, N items.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from segue.data.features.encoding import EncodedFeatures, FeatureEncoding, ItemFeatures

STEPS = 100
"""At most so many steps of conjugate gradients; far fewer bring the residual below 1e-4."""


class FeatureEmbeddings:
    """vector(row of facts) = sum over its features of weight * the feature's vector."""

    def __init__(self, encoding: FeatureEncoding, weights_FD: np.ndarray) -> None:
        self.encoding = encoding
        self.weights_FD = weights_FD
        self._last: tuple[ItemFeatures, np.ndarray] | None = None

    def of(self, rows: Iterable[Mapping[str, Any]]) -> np.ndarray:
        """float32 [N, D]: of items by their facts, column -> value."""
        return self.encoding.encode(rows) @ self.weights_FD

    def table(self, facts: ItemFeatures) -> np.ndarray:
        """float32 [N, D]: of a table of facts, its row 0 zero; kept for the next question with the very same table."""
        last = self._last
        if last is None or last[0] is not facts:
            last = self._last = (facts, self.encoding.of_catalog(facts) @ self.weights_FD)
        return last[1]

    def arrays(self, prefix: str) -> dict[str, np.ndarray]:
        """Everything to save, by name."""
        own = {"weights": self.weights_FD, **self.encoding.arrays()}
        return {f"{prefix}.{name}": value for name, value in own.items()}

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray], prefix: str) -> "FeatureEmbeddings | None":
        """What ``arrays`` gave; None where the model knows nothing of that kind."""
        start = f"{prefix}."
        own = {name.removeprefix(start): value for name, value in arrays.items() if name.startswith(start)}
        return cls(FeatureEncoding.restore(own), own["weights"]) if own else None


def fit_feature_embeddings(features: EncodedFeatures, vectors_VD: np.ndarray, strength: float) -> np.ndarray:
    """float32 [F, D]: W that minimises |X W - Y|^2 + strength |W|^2 (ridge regression, Hoerl & Kennard 1970), by
    conjugate gradients on all columns side by side, so that no [F, F] matrix is ever needed."""
    from scipy import sparse

    matrix = sparse.csr_array(
        (features.weights, features.codes, features.offsets), shape=(len(features), features.size)
    )
    turned = matrix.T.tocsr()
    weights_FD = np.zeros((features.size, vectors_VD.shape[1]), dtype=np.float32)
    rest_FD = (turned @ vectors_VD).astype(np.float32)
    way_FD = rest_FD.copy()
    size_D = (rest_FD * rest_FD).sum(axis=0)
    enough_D = 1e-8 * size_D
    for _ in range(STEPS):
        if (size_D <= enough_D).all():
            break
        image_FD = turned @ (matrix @ way_FD) + np.float32(strength) * way_FD
        step_D = size_D / np.maximum((way_FD * image_FD).sum(axis=0), 1e-30)
        weights_FD += step_D * way_FD
        rest_FD -= step_D * image_FD
        before_D, size_D = size_D, (rest_FD * rest_FD).sum(axis=0)
        way_FD = rest_FD + (size_D / np.maximum(before_D, 1e-30)) * way_FD
    return weights_FD
