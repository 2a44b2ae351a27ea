"""Fitted models of the model tests: fresh ones, and ones that are trained once for a test run."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.support.artifact_cache import ArtifactCache, data_key

from segue.data.catalog import Catalog
from segue.data.evaluation_cases import EvaluationCases, Split
from segue.data.sequences import Sequences
from segue.models import artifact
from segue.models.scorer import Scorer
from segue.models.zoo import ZOO, NeuralEntry
from segue.workflows.fit_model import FitResult
from segue.workflows.fit_model import fit_model as fit_on_split

QUICK = {"embedding_dim": 16, "epochs": 40, "batch_tokens": 512, "learning_rate": 0.01}
"""Enough for a neural model to learn a short pattern in seconds."""
SLOW = {"bert4rec": {"epochs": 80, "max_length": 8}}
"""A net with few targets per sequence, and with positions that must occur in training."""


def fit(name: str, sequences: Sequences, size: int, **values: object) -> FitResult:
    """Fit a model without validation cases; a neural model with few epochs."""
    no_cases = EvaluationCases(Sequences.from_lists([]), np.empty(0, np.int32), np.empty(0, np.int64), None, {})
    split = Split("none", catalog_of(size), sequences, no_cases, sequences, no_cases, False, "", "")
    quick = {**QUICK, **SLOW.get(name, {})} if isinstance(ZOO[name], NeuralEntry) else {}
    return fit_on_split(name, split, {**quick, **values})


def catalog_of(size: int) -> Catalog:
    return Catalog(f"item {i}" for i in range(1, size))


@pytest.fixture(scope="session")
def fit_model() -> Callable[..., Scorer]:
    """Function (name, sequences, catalog size V, settings by name) -> fitted model."""
    return lambda name, sequences, size, **values: fit(name, sequences, size, **values).scorer


@pytest.fixture(scope="session")
def saved_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Function as ``fit_model`` -> folder of the artifact, trained once for a test run.

    ``histories``: the scores of the model before it was saved are in ``scores.npy`` beside it.
    """
    cache = ArtifactCache.for_session(tmp_path_factory)

    def save(name: str, sequences: Sequences, size: int, histories: Sequences, **values: object) -> Path:
        def make(folder: Path) -> None:
            fitted = fit(name, sequences, size, **values)
            arrays = fitted.scorer.arrays()
            artifact.save(artifact.Artifact(name, fitted.settings, catalog_of(size), arrays, {}, {}), folder / "run")
            np.save(folder / "scores.npy", fitted.scorer.scores(histories))

        key = f"model {name} {size} {data_key(sequences)} {data_key(histories)} {sorted(values.items())}"
        return cache.get(key, make) / "run"

    return save
