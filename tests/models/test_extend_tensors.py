"""Tensors of a larger catalog: the model equals one that was fitted among the added items, which have no events."""

import numpy as np
import pytest
from tests.support.ring import SIZE, walks

from segue.config.decode import decode_settings
from segue.data.sequences import Sequences
from segue.models.extend_tensors import extend_tensors
from segue.models.tensor_checks import check_tensors
from segue.models.zoo import ZOO, ClassicEntry

COUNT = 3
SMALL = {
    "ials": {"embedding_dim": 4},
    "bpr": {"embedding_dim": 4},
    "fpmc": {"embedding_dim": 4},
    "spectral": {"embedding_dim": 4},
}
DRAWN = ("bpr", "fpmc", "ials", "spectral")
"""Models that start from random numbers, which depend on the size of the catalog. Items without events keep some."""


@pytest.mark.parametrize("name", [name for name, entry in ZOO.items() if isinstance(entry, ClassicEntry)])
def test_a_classic_model_equals_one_fitted_in_the_larger_catalog(name: str) -> None:
    entry, log = ZOO[name], walks(60, 1)
    assert isinstance(entry, ClassicEntry)
    config = decode_settings(entry.config, SMALL.get(name, {}))
    fitted = entry.fit(log, SIZE, config)
    arrays = extend_tensors(name, fitted.arrays(), COUNT)
    check_tensors(name, arrays, SIZE + COUNT)
    extended = entry.restore(arrays, config)
    assert extended.size == SIZE + COUNT
    histories = Sequences.from_lists([[], [3, 4], [SIZE], [5, SIZE + 1, 6], [7, SIZE + 2]])
    scores_BV = extended.scores(histories)
    assert np.isfinite(scores_BV).all()
    known = Sequences.from_lists([[], [3, 4]])
    np.testing.assert_allclose(scores_BV[:2, 1:SIZE], fitted.scores(known)[:, 1:], rtol=1e-5, atol=1e-6)
    if name not in DRAWN:
        wanted_BV = entry.fit(log, SIZE + COUNT, config).scores(histories)
        np.testing.assert_allclose(scores_BV[:, 1:], wanted_BV[:, 1:], rtol=1e-4, atol=1e-4)


def test_an_unlisted_tensor_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^The tensor 'weights' does not belong to the model 'markov'\.$"):
        extend_tensors("markov", {"weights": np.zeros(3)}, 1)
