"""Restoring a scorer from an artifact; unknown models, settings and catalogs are refused in a sentence."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from segue.data.catalog import Catalog
from segue.data.sequences import Sequences
from segue.models import artifact, loading, zoo
from segue.models.artifact_tensors import TENSORS, Tensor


@dataclass(frozen=True)
class LastConfig:
    """No settings."""


class Last:
    """Scores every item by its weight, whatever the history."""

    name = "last"

    def __init__(self, weights: np.ndarray) -> None:
        self.weights = weights

    @property
    def size(self) -> int:
        return len(self.weights)

    def scores(self, histories: Sequences) -> np.ndarray:
        return np.tile(self.weights, (len(histories), 1))

    def arrays(self) -> dict[str, np.ndarray]:
        return {"weights": self.weights}


def _restore(arrays: Mapping[str, np.ndarray], config: Any) -> Last:
    assert isinstance(config, LastConfig)
    return Last(arrays["weights"])


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = zoo.ClassicEntry(LastConfig, lambda sequences, size, config: Last(np.zeros(size, np.float32)), _restore)
    monkeypatch.setattr(loading, "ZOO", {"last": entry})
    monkeypatch.setitem(TENSORS, "last", (Tensor("weights", "float32", "[V]", "Weight of each item."),))


def _artifact(model: str = "last", settings: dict[str, Any] | None = None, items: int = 2) -> artifact.Artifact:
    weights = np.array([0, 3, 5], np.float32)
    return artifact.Artifact(model, settings or {}, Catalog("abcdef"[:items]), {"weights": weights}, {}, {})


def test_a_restored_scorer_has_the_same_scores(known, tmp_path):
    artifact.save(_artifact(), tmp_path / "run")
    scorer = loading.restore_model(artifact.load(tmp_path / "run"))
    assert scorer.scores(Sequences.from_lists([[1], []])).tolist() == [[0, 3, 5], [0, 3, 5]]


def test_an_unknown_model_is_named(known):
    with pytest.raises(ValueError) as error:
        loading.restore_model(_artifact(model="lst"))
    assert str(error.value) == "The artifact holds the model 'lst'; this version of Segue knows: last."


def test_unknown_settings_are_refused(known):
    with pytest.raises(ValueError) as error:
        loading.restore_model(_artifact(settings={"deep": 1}))
    assert str(error.value) == "Unknown setting 'deep'. There are no settings here."


def test_arrays_of_another_catalog_are_refused(known):
    with pytest.raises(ValueError) as error:
        loading.restore_model(_artifact(items=3))
    assert str(error.value) == (
        "The tensor 'weights' has the shape [3], not [V] with V = 4, the number of items in the catalog plus one."
    )
