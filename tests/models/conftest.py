"""What the model tests share: the one way a test fits any model of the zoo."""

from collections.abc import Callable

import numpy as np
import pytest

from segue.data.catalog import Catalog
from segue.data.evaluation_cases import EvaluationCases, Split
from segue.data.sequences import Sequences
from segue.models.scorer import Scorer
from segue.models.zoo import ZOO, NeuralEntry
from segue.workflows.fit_model import fit_model as fit_on_split

QUICK = {"embedding_dim": 16, "epochs": 40, "batch_tokens": 512, "learning_rate": 0.01}
"""Enough for a network to learn a short rule in seconds."""
SLOW = {"bert4rec": {"epochs": 160, "max_length": 8}}
"""A net that is asked for few of the events that it reads, and knows no place that no window of the log had."""


def _fit(name: str, sequences: Sequences, size: int, **values: object) -> Scorer:
    nothing = EvaluationCases(Sequences.from_lists([]), np.empty(0, np.int32), np.empty(0, np.int64), None, {})
    catalog = Catalog(f"item {i}" for i in range(1, size))
    split = Split("none", catalog, sequences, nothing, sequences, nothing, False, "", "")
    quick = {**QUICK, **SLOW.get(name, {})} if isinstance(ZOO[name], NeuralEntry) else {}
    return fit_on_split(name, split, {**quick, **values}).scorer


@pytest.fixture(scope="session")
def fit_model() -> Callable[..., Scorer]:
    """(name, sequences, catalog size V, settings by name) -> fitted without validation; a network quickly."""
    return _fit
