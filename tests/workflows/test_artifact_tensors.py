"""Reference of tensors: what models with side information, ensembles, rankers and pipelines save is listed there.

Models of the zoo without side information are checked by the contract suite.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.support.ring import CONFIG, split_of

from segue.data.catalog import Catalog
from segue.data.evaluation_cases import EvaluationCases, Split
from segue.data.event_contexts import EventContexts
from segue.data.features.encoding import ItemFeatures
from segue.data.sequences import Sequences
from segue.models.artifact_tensors import FILES, TENSORS, find_tensor
from segue.models.counting.covisitation import CoVisit, CoVisitConfig
from segue.models.neural.covisitation_prior import WithCovisitationPrior
from segue.models.rankers.ranker import RANKERS
from segue.models.zoo import ZOO
from segue.pipeline.candidates.builtin_sources import BUILTIN_SOURCES
from segue.pipeline.config import decode_pipeline
from segue.workflows.fit_model import fit_model
from segue.workflows.fit_ranker import fit_ranker_on_split
from segue.workflows.train_pipeline import fit_pipeline

QUICK: dict[str, Any] = {"embedding_dim": 8, "epochs": 1}


def check(model: str, arrays: dict[str, np.ndarray]) -> set[str]:
    """Names in the reference of all tensors; their dtypes and dimensions must be the listed ones."""
    listed = set()
    for name, array in arrays.items():
        tensor = find_tensor(model, name)
        assert tensor is not None, f"{model} saves {name}, which artifact_tensors.py does not list"
        assert tensor.dtype in ("any", array.dtype), name
        assert "..." in tensor.shape or array.ndim == tensor.shape.count(",") + 1, name
        listed.add(tensor.name)
    return listed


@pytest.fixture(scope="module")
def split() -> Split:
    """A log with timestamps, item features and contexts."""
    rng = np.random.default_rng(0)
    rows = [rng.integers(1, 12, 6).tolist() for _ in range(60)]
    log = Sequences.from_lists(rows, [(np.arange(6) * 10**9).tolist() for _ in rows])
    features = ItemFeatures([{}, *({"price": float(i % 5), "kind": f"k{i % 3}"} for i in range(1, 12))], {})
    features = replace(features, column_types={"price": "number", "kind": "category"})
    contexts = ItemFeatures([{}, {"device": "tv"}, {"device": "phone"}], {"device": "category"})
    log = replace(log, contexts=EventContexts(rng.integers(0, 3, len(log.items)).astype(np.int32), contexts))
    no_cases = EvaluationCases(Sequences.from_lists([]), np.empty(0, np.int32), np.empty(0, np.int64), None, {})
    catalog = Catalog(f"i{i}" for i in range(1, 12))
    return Split("none", catalog, log, no_cases, log, no_cases, False, "", "", features)


def test_side_information_and_the_prior_are_listed(split: Split) -> None:
    side = {"features": ["price", "kind"], "contexts": ["device"], "time_inputs": ("gap",), "covisitation_weight": 0.0}
    scorer = fit_model("gru4rec", split, {**QUICK, **side}).scorer
    prior = CoVisit.fit(split.train, split.catalog.size, CoVisitConfig())
    names = check("gru4rec", WithCovisitationPrior(scorer, prior, 0.5).arrays())  # type: ignore[arg-type]
    assert names == {tensor.name for tensor in TENSORS["gru4rec"]}


def test_tensors_of_an_ensemble_are_those_of_its_members(split: Split) -> None:
    scorer = fit_model("markov+covisit", split).scorer
    assert check("markov+covisit", scorer.arrays()) == {
        "weights",
        *(tensor.name for member in ("markov", "covisit") for tensor in TENSORS[member]),
    }


@pytest.mark.parametrize("name", RANKERS)
def test_tensors_of_a_ranker_are_listed(name: str) -> None:
    fitted, _ = fit_ranker_on_split(split_of(60), name, {**QUICK, "max_length": 8})
    names = check("ranker", fitted.ranker.arrays())
    assert ("item_histories.times" in names) == (name == "dual-gru")


def test_tensors_of_a_pipeline_are_listed() -> None:
    source = [
        *CONFIG["source"],
        {"model": "new", "num_candidates": 5},
        {"model": "list", "num_candidates": 3, "settings": {"items": ["item 3"]}},
    ]
    rank = {**CONFIG["rank"], "model": "pooled", "weight": 0.5, "settings": {**QUICK, "max_length": 8}}  # type: ignore[dict-item]
    fitted = fit_pipeline(split_of(60), decode_pipeline({"source": source, "rank": rank}))
    arrays = fitted.scorer.arrays()
    names = check("pipeline", arrays)
    assert {"model.{model}.{tensor}", "ranker.{tensor}", "trees.roots", "blend.weights"} <= names
    for number, model in enumerate(fitted.settings["models"]):
        prefix = f"model.{number}."
        check(model["name"], {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)})
    check("ranker", {k.removeprefix("ranker."): v for k, v in arrays.items() if k.startswith("ranker.")})


def test_every_model_and_source_is_in_the_reference() -> None:
    assert set(TENSORS) == {*ZOO, *BUILTIN_SOURCES, "ensemble", "ranker", "pipeline"}
    assert set(FILES) == {"manifest.json", "catalog.json", "items.json", "weights.safetensors"}


def test_an_unlisted_tensor_is_noticed() -> None:
    with pytest.raises(AssertionError, match="markov saves smoothing, which"):
        check("markov", {"smoothing": np.zeros(1, np.float32)})
    with pytest.raises(AssertionError):
        check("markov", {"backoff": np.zeros(1, np.float64)})
