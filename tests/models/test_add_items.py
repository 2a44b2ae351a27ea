"""Cold items: placed by their features, counted like their neighbors, saved, and refused by models without features."""

from typing import Any

import numpy as np
import pytest

from segue.data.catalog import Catalog
from segue.data.evaluation_cases import EvaluationCases, Split
from segue.data.features.encoding import ItemFeatures
from segue.data.sequences import Sequences
from segue.models import artifact
from segue.models.add_items import NUM_NEIGHBORS, add_items, add_rows_for_items, extend_rows, rows_from_neighbors
from segue.models.counting.covisitation import CoVisit, CoVisitConfig
from segue.models.counting.markov import Markov, MarkovConfig
from segue.models.loading import restore_model
from segue.models.neural.covisitation_prior import WithCovisitationPrior
from segue.models.top_k import top_k
from segue.workflows import fit_model
from segue.workflows.fit_result import FitResult

CATEGORIES = 6
"""Items have six categories, six items each; after category k comes category k + 1."""
COLD = range(31, 37)
"""The last item of each category has no event."""
ROWS: list[dict[str, Any]] = [{}, *({"category": f"种类{(i - 1) % CATEGORIES}"} for i in range(1, 37))]


def log() -> Sequences:
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(200):
        start = int(rng.integers(CATEGORIES))
        rows.append([1 + (start + t) % CATEGORIES + CATEGORIES * int(rng.integers(5)) for t in range(7)])
    return Sequences.from_lists(rows)


def fit(name: str = "sasrec", **values: Any) -> FitResult:
    no_cases = EvaluationCases(Sequences.from_lists([]), np.empty(0, np.int32), np.empty(0, np.int64), None, {})
    catalog = Catalog(f"i{i}" for i in range(1, 37))
    item_features = ItemFeatures(ROWS, {"category": "category"})
    split = Split("none", catalog, log(), no_cases, log(), no_cases, False, "", "", item_features)
    quick = {
        "embedding_dim": 16,
        "epochs": 12,
        "batch_tokens": 256,
        "learning_rate": 0.01,
        "features": ["category"],
        **values,
    }
    return fit_model.fit_model(name, split, quick)


@pytest.fixture(
    scope="module",
    params=[("sasrec", "learned"), ("gru4rec", "learned"), ("sasrec", "placing"), ("gru4rec", "placing")],
)
def model(request: pytest.FixtureRequest) -> FitResult:
    name, use = request.param
    return fit(name, feature_use=use)


@pytest.mark.parametrize("values", [{}, {"temperature": None}, {"input_embedding": "separate"}])
def test_placing_leaves_items_with_events_unchanged(values: dict[str, Any]) -> None:
    """Bit-equal to a network without features for items with events; the others get scores by their features."""
    plain = fit("gru4rec", features=[], covisitation_weight=0.0, **values).scorer
    placed = fit("gru4rec", feature_use="placing", covisitation_weight=0.0, **values).scorer
    warm = np.setdiff1d(np.arange(37), COLD)
    rows = log()
    np.testing.assert_array_equal(placed.scores(rows)[:, warm], plain.scores(rows)[:, warm])
    assert not np.isclose(placed.scores(rows)[:, COLD], plain.scores(rows)[:, COLD]).any()


def test_cold_items_rank_with_the_known_ones_of_their_category(model: FitResult) -> None:
    histories = Sequences.from_lists([[1, 2, 3], [5, 6, 7], [6, 1]])
    best = top_k(model.scorer.scores(histories), 6)[0]
    categories = (best - 1) % CATEGORIES
    assert (categories == np.array([[3], [1], [1]])).all()  # all six items of the category, the cold one among them
    after_cold = top_k(model.scorer.scores(Sequences.from_lists([[33]])), 6)[0]
    assert ((after_cold - 1) % CATEGORIES == 3).all()  # and it is a valid history


def test_an_added_item_is_scored_like_a_cold_one_of_the_catalog(model: FitResult) -> None:
    histories = Sequences.from_lists([[1, 2, 3], [5, 6, 7], []])
    extended = add_rows_for_items(model.scorer, [{"category": "种类3"}, {"category": "未知"}, {}])
    scores = extended.scores(histories)
    assert scores.shape == (3, 40)
    np.testing.assert_array_equal(scores[:, :37], model.scorer.scores(histories))
    np.testing.assert_allclose(scores[:, 37], scores[:, 34], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(scores[:, 38], scores[:, 39])  # an unknown value equals a missing one


def test_added_items_survive_the_disk(model: FitResult, tmp_path: Any) -> None:
    saved = artifact.Artifact(
        model.scorer.name,
        model.settings,
        Catalog(f"i{i}" for i in range(1, 37)),
        model.scorer.arrays(),
        {},
        {},
    )
    artifact.save(saved, tmp_path / "run")
    larger = add_items(
        artifact.load(tmp_path / "run"), {"i3": {"category": "种类0"}, "new": {"category": "种类3", "title": "N"}}
    )
    artifact.save(larger, tmp_path / "run")
    loaded = artifact.load(tmp_path / "run")
    assert loaded.catalog.ids[-1] == "new" and len(loaded.catalog) == 37
    assert loaded.items == {"new": {"category": "种类3", "title": "N"}}
    scores = restore_model(loaded).scores(Sequences.from_lists([[1, 2, 3]]))[0]
    assert scores[37] == pytest.approx(scores[34], abs=1e-4)
    assert add_items(loaded, {"i1": {}}) is loaded


def test_a_model_without_features_refuses() -> None:
    sentence = (
        r"^This {} was trained without item features, so it cannot score new items: train a neural model with "
        r"features\.$"
    )
    with pytest.raises(ValueError, match=sentence.format("markov")):
        add_rows_for_items(Markov.fit(log(), 37, MarkovConfig()), [{}])
    plain = fit(features=[], epochs=1)
    with pytest.raises(ValueError, match=sentence.format("sasrec")):
        add_rows_for_items(plain.scorer, [{}])


def test_features_need_an_items_table() -> None:
    no_cases = EvaluationCases(Sequences.from_lists([]), np.empty(0, np.int32), np.empty(0, np.int64), None, {})
    split = Split("none", Catalog(["a", "b"]), log(), no_cases, log(), no_cases, False, "", "")
    with pytest.raises(ValueError, match=r"^Features category, price need an items table with these columns\.$"):
        fit_model.fit_model("sasrec", split, {"features": ["category", "price"]})


def test_rows_of_cold_items_are_the_mean_of_their_neighbors() -> None:
    prior = CoVisit.fit(log(), 37, CoVisitConfig())
    embeddings = np.random.default_rng(1).normal(size=(37, 4)).astype(np.float32)
    extended = rows_from_neighbors(prior, embeddings, np.arange(1, 37))
    histories = Sequences.from_lists([[1, 2, 3], [9]])
    before, after = prior.scores(histories), extended.scores(histories)
    np.testing.assert_allclose(after[:, :31], before[:, :31], rtol=1e-5)
    keys = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    nearest = 1 + np.argsort(-(keys[33] @ keys[1:31].T))[:NUM_NEIGHBORS]
    np.testing.assert_allclose(after[:, 33], before[:, nearest].mean(axis=1), rtol=1e-4, atol=1e-6)
    as_history = extended.scores(Sequences.from_lists([[33]]))[0, 1:31]
    alone = np.stack([prior.scores(Sequences.from_lists([[int(i)]]))[0, 1:31] for i in nearest])
    np.testing.assert_allclose(as_history, alone.mean(axis=0), rtol=1e-4, atol=1e-5)
    assert rows_from_neighbors(prior, embeddings, np.arange(1, 31)) is prior  # no item is cold


def test_an_extended_prior_has_no_counts_for_new_items() -> None:
    prior = CoVisit.fit(log(), 37, CoVisitConfig())
    scores = extend_rows(prior, 2).scores(Sequences.from_lists([[1, 2]]))
    assert scores.shape == (1, 39) and not scores[0, 37:].any()
    np.testing.assert_array_equal(scores[:, :37], prior.scores(Sequences.from_lists([[1, 2]])))


def test_an_added_item_gets_rows_of_the_prior(model: FitResult) -> None:
    network = model.scorer.inner if isinstance(model.scorer, WithCovisitationPrior) else model.scorer
    blend = WithCovisitationPrior(network, CoVisit.fit(log(), 37, CoVisitConfig()), 1.0)
    extended = add_rows_for_items(blend, [ROWS[34]])
    assert isinstance(extended, WithCovisitationPrior)
    assert extended.prior.scores(Sequences.from_lists([[1, 2, 3]]))[0, 37] > 0
