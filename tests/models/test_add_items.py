"""Items without a past: placed by what is known of them, counted like their neighbors, saved, and refused where a
model knows nothing of features."""

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

KINDS = 6
"""Items come in six kinds, six of each, and whoever has seen kind k takes one of kind k + 1."""
COLD = range(31, 37)
"""The last item of each kind has no event."""
ROWS: list[dict[str, Any]] = [{}, *({"kind": f"种类{(i - 1) % KINDS}"} for i in range(1, 37))]


def log() -> Sequences:
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(200):
        start = int(rng.integers(KINDS))
        rows.append([1 + (start + t) % KINDS + KINDS * int(rng.integers(5)) for t in range(7)])
    return Sequences.from_lists(rows)


def fitted(name: str = "sasrec", **values: Any) -> fit_model.FitResult:
    nothing = EvaluationCases(Sequences.from_lists([]), np.empty(0, np.int32), np.empty(0, np.int64), None, {})
    catalog = Catalog(f"i{i}" for i in range(1, 37))
    facts = ItemFeatures(ROWS, {"kind": "category"})
    split = Split("none", catalog, log(), nothing, log(), nothing, False, "", "", facts)
    quick = {
        "embedding_dim": 16,
        "epochs": 12,
        "batch_tokens": 256,
        "learning_rate": 0.01,
        "features": ["kind"],
        **values,
    }
    return fit_model.fit_model(name, split, quick)


@pytest.fixture(
    scope="module",
    params=[("sasrec", "learned"), ("gru4rec", "learned"), ("sasrec", "placing"), ("gru4rec", "placing")],
)
def model(request: pytest.FixtureRequest) -> fit_model.FitResult:
    name, use = request.param
    return fitted(name, feature_use=use)


@pytest.mark.parametrize("values", [{}, {"temperature": None}, {"input_embedding": "separate"}])
def test_placing_leaves_everything_with_events_as_it_was(values: dict[str, Any]) -> None:
    """The very bits of a network that was told nothing; what has no event moves to where its features put it."""
    plain = fitted("gru4rec", features=[], covisitation_weight=0.0, **values).scorer
    told = fitted("gru4rec", feature_use="placing", covisitation_weight=0.0, **values).scorer
    warm = np.setdiff1d(np.arange(37), COLD)
    rows = log()
    np.testing.assert_array_equal(told.scores(rows)[:, warm], plain.scores(rows)[:, warm])
    assert not np.isclose(told.scores(rows)[:, COLD], plain.scores(rows)[:, COLD]).any()


def test_cold_items_of_the_right_kind_come_with_the_known_ones(model: fit_model.FitResult) -> None:
    histories = Sequences.from_lists([[1, 2, 3], [5, 6, 7], [6, 1]])
    best = top_k(model.scorer.scores(histories), 6)[0]
    kinds = (best - 1) % KINDS
    assert (kinds == np.array([[3], [1], [1]])).all()  # all six items of the kind, the unseen one among them
    after_cold = top_k(model.scorer.scores(Sequences.from_lists([[33]])), 6)[0]
    assert ((after_cold - 1) % KINDS == 3).all()  # and it counts as history


def test_an_item_that_comes_later_is_scored_like_a_cold_one_that_was_there(model: fit_model.FitResult) -> None:
    histories = Sequences.from_lists([[1, 2, 3], [5, 6, 7], []])
    wider = add_rows_for_items(model.scorer, [{"kind": "种类3"}, {"kind": "未知"}, {}])
    scores = wider.scores(histories)
    assert scores.shape == (3, 40)
    np.testing.assert_array_equal(scores[:, :37], model.scorer.scores(histories))
    np.testing.assert_allclose(scores[:, 37], scores[:, 34], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(scores[:, 38], scores[:, 39])  # an unknown value tells as much as none


def test_added_items_survive_the_disk(model: fit_model.FitResult, tmp_path: Any) -> None:
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
        artifact.load(tmp_path / "run"), {"i3": {"kind": "种类0"}, "new": {"kind": "种类3", "title": "N"}}
    )
    artifact.save(larger, tmp_path / "run")
    again = artifact.load(tmp_path / "run")
    assert again.catalog.ids[-1] == "new" and len(again.catalog) == 37
    assert again.items == {"new": {"kind": "种类3", "title": "N"}}
    scores = restore_model(again).scores(Sequences.from_lists([[1, 2, 3]]))[0]
    assert scores[37] == pytest.approx(scores[34], abs=1e-4)
    assert add_items(again, {"i1": {}}) is again


def test_a_model_without_features_refuses() -> None:
    sentence = (
        r"^This {} learned from no facts about items, so it cannot place one that nobody has taken: "
        r"train a network with features\.$"
    )
    with pytest.raises(ValueError, match=sentence.format("markov")):
        add_rows_for_items(Markov.fit(log(), 37, MarkovConfig()), [{}])
    plain = fitted(features=[], epochs=1)
    with pytest.raises(ValueError, match=sentence.format("sasrec")):
        add_rows_for_items(plain.scorer, [{}])


def test_features_need_a_table() -> None:
    nothing = EvaluationCases(Sequences.from_lists([]), np.empty(0, np.int32), np.empty(0, np.int64), None, {})
    split = Split("none", Catalog(["a", "b"]), log(), nothing, log(), nothing, False, "", "")
    with pytest.raises(
        ValueError, match=r"^Learning from kind, price needs a table of items that has these columns\.$"
    ):
        fit_model.fit_model("sasrec", split, {"features": ["kind", "price"]})


def test_lending_is_the_mean_of_the_nearest() -> None:
    rule = CoVisit.fit(log(), 37, CoVisitConfig())
    vectors = np.random.default_rng(1).normal(size=(37, 4)).astype(np.float32)
    lent = rows_from_neighbors(rule, vectors, np.arange(1, 37))
    histories = Sequences.from_lists([[1, 2, 3], [9]])
    before, after = rule.scores(histories), lent.scores(histories)
    np.testing.assert_allclose(after[:, :31], before[:, :31], rtol=1e-5)
    keys = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    nearest = 1 + np.argsort(-(keys[33] @ keys[1:31].T))[:NUM_NEIGHBORS]
    np.testing.assert_allclose(after[:, 33], before[:, nearest].mean(axis=1), rtol=1e-4, atol=1e-6)
    as_history = lent.scores(Sequences.from_lists([[33]]))[0, 1:31]
    alone = np.stack([rule.scores(Sequences.from_lists([[int(i)]]))[0, 1:31] for i in nearest])
    np.testing.assert_allclose(as_history, alone.mean(axis=0), rtol=1e-4, atol=1e-5)
    assert rows_from_neighbors(rule, vectors, np.arange(1, 31)) is rule  # nobody is cold


def test_a_wider_rule_knows_nothing_of_the_new() -> None:
    rule = CoVisit.fit(log(), 37, CoVisitConfig())
    scores = extend_rows(rule, 2).scores(Sequences.from_lists([[1, 2]]))
    assert scores.shape == (1, 39) and not scores[0, 37:].any()
    np.testing.assert_array_equal(scores[:, :37], rule.scores(Sequences.from_lists([[1, 2]])))


def test_the_prior_is_lent_when_a_placed_item_joins(model: fit_model.FitResult) -> None:
    network = model.scorer.inner if isinstance(model.scorer, WithCovisitationPrior) else model.scorer
    blend = WithCovisitationPrior(network, CoVisit.fit(log(), 37, CoVisitConfig()), 1.0)
    wider = add_rows_for_items(blend, [ROWS[34]])
    assert isinstance(wider, WithCovisitationPrior)
    assert wider.prior.scores(Sequences.from_lists([[1, 2, 3]]))[0, 37] > 0
