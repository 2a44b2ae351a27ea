"""Recommender classes: scikit-learn's conventions, histories of item ids, save and load."""

import ast
import importlib
import inspect
import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.base import clone

import segue
from segue.data.sequences import Sequences
from segue.estimators import recommenders, trained_model
from segue.estimators.estimator import Recommender
from segue.models import artifact
from segue.models.zoo import ZOO, ClassicEntry, NeuralEntry

ROOT = Path(__file__).resolve().parents[2]
CLASSES: list[type[Recommender]] = [getattr(recommenders, name) for name in recommenders.CLASSES]
MODELS = [cls for cls in CLASSES if isinstance(ZOO[cls.model], ClassicEntry)]


@pytest.fixture(scope="module")
def log() -> "segue.EventLog":
    rows = [(f"u{p}", f"i{(p + s) % 9}", 1_700_000_000 + 100 * s + p) for p in range(30) for s in range(6)]
    return segue.read_events(pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row"))


def test_every_model_of_the_zoo_is_a_public_class() -> None:
    assert {cls.model for cls in CLASSES} == set(ZOO)
    for cls in CLASSES:
        assert getattr(segue, cls.__name__) is cls and cls.__module__ == recommenders.__name__


@pytest.mark.parametrize("kind", MODELS)
def test_fit_returns_self_and_recommends(kind: type[Recommender], log: "segue.EventLog") -> None:
    model = kind()
    assert model.fit(log) is model
    (ranking, empty) = model.recommend([["i1", "i2"], []], k=4)
    assert len(ranking) == len(empty) == 4
    assert "i2" not in {item for item, _ in ranking}, "the last item is not recommended again"
    (unseen,) = model.recommend([["i1", "i2"]], k=4, exclude_seen=True)
    assert not {"i1", "i2"} & {item for item, _ in unseen}
    assert [score for _, score in ranking] == sorted((score for _, score in ranking), reverse=True)


def test_a_neural_model_predicts_the_ring(log: "segue.EventLog", tmp_path: Path) -> None:
    model = segue.GRU4Rec(embedding_dim=8, epochs=4, batch_tokens=64, learning_rate=0.02).fit(log)
    assert model.recommend([["i1", "i2"]], k=1)[0][0][0] == "i3"
    version = model.save(tmp_path / "run")
    loaded = segue.load(tmp_path / "run")
    assert len(version) == 12
    assert loaded.recommend([["i4"], []], k=5) == model.recommend([["i4"], []], k=5)


def test_users_of_the_log_by_id(log: "segue.EventLog") -> None:
    model = segue.Markov().fit(log)
    by_user = model.recommend(users=["u0"], k=2)
    assert by_user == model.recommend([["i0", "i1", "i2", "i3", "i4", "i5"]], k=2)
    assert by_user[0][0][0] == "i6"


def test_allow_list_and_seen_items(log: "segue.EventLog") -> None:
    model = segue.CoVisit().fit(log)
    assert {i for i, _ in model.recommend([["i1"]], k=9, items=["i1", "i5", "i7"])[0]} == {"i5", "i7"}
    seen = model.recommend([["i1"]], k=9, items=["i1", "i5"], exclude_seen=False)[0]
    assert {i for i, _ in seen} == {"i1", "i5"}


def test_lists_are_generated_item_by_item(log: "segue.EventLog") -> None:
    fitted = segue.Markov().fit(log).fitted
    history = ["i1"]
    generated = fitted.generate([history], steps=3, strategy="greedy")[0]
    for item, _ in generated:
        assert fitted.recommend([history[-1:]], k=1, items=set(fitted.catalog.ids) - set(history))[0][0][0] == item
        history.append(item)
    samples = [fitted.generate([["i1"]], steps=3, seed=s) for s in (1, 1, 2)]
    assert samples[0] == samples[1]
    assert len(samples[2][0]) == 3
    assert {i for i, _ in fitted.generate([["i1"]], steps=2, items=["i4", "i5"])[0]} == {"i4", "i5"}
    with pytest.raises(ValueError, match=r"^There is no strategy 'best'\. Known strategies: top-k, greedy"):
        fitted.generate([["i1"]], strategy="best")


def test_parameters_like_scikit_learn() -> None:
    model = segue.CoVisit(decay=0.7, seed=3)
    assert model.get_params() == {"window": 10, "backward": 0.25, "damping": 0.15, "decay": 0.7, "seed": 3}
    copy = clone(model)
    assert copy is not model and copy.get_params() == model.get_params()
    assert model.set_params(decay=0.2).get_params()["decay"] == 0.2
    assert repr(copy) == "CoVisit(decay=0.7, seed=3)"


def test_the_signature_shows_the_defaults_in_use() -> None:
    """The signature once showed the trainer's ten epochs where this model uses five."""
    shown = {name: p.default for name, p in inspect.signature(segue.GRU4Rec).parameters.items()}
    assert shown == segue.GRU4Rec().get_params()
    used = ZOO["gru4rec"]
    assert isinstance(used, NeuralEntry) and used.training["epochs"] == shown["epochs"] == 5
    assert clone(segue.GRU4Rec(embedding_dim=8)).get_params() == {**shown, "embedding_dim": 8}
    assert repr(segue.GRU4Rec(epochs=5)) == "GRU4Rec()"


def test_new_parameters_need_a_new_fit(log: "segue.EventLog") -> None:
    model = segue.Markov().fit(log)
    assert model.set_params(seed=1) is model
    with pytest.raises(ValueError, match=r"^This Markov is not fitted yet: call fit\(log\) first\.$"):
        model.recommend([[]])


def test_titles_and_provenance_are_saved(log: "segue.EventLog", tmp_path: Path) -> None:
    titles = pl.DataFrame({"item_id": ["i1", "gone"], "title": ["Tea", "Cup"]})
    segue.CoVisit(seed=4).fit(log, items=titles).save(tmp_path / "run")
    assert segue.load(tmp_path / "run").items == {"i1": {"title": "Tea"}}
    about = artifact.load(tmp_path / "run").about
    assert (about["seed"], about["events"], about["trained_on_everything"]) == (4, 180, True)


@pytest.mark.parametrize(
    ("histories", "sentence"),
    [
        (["i1", "i2"], "A history is a list of item ids, got the text 'i1': for one history write [[...]]."),
        ([["i1", 2]], "Item ids are texts, got 2: write '2'."),
        ([[10.0]], "Item ids are texts, got 10.0: write '10'."),
    ],
)
def test_wrong_histories_are_refused(histories: list[Any], sentence: str, log: "segue.EventLog") -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        segue.Popularity().fit(log).recommend(histories)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"users": [1]}, "User ids are texts, got 1: write '1'."),
        ({"histories": [["i1"]], "items": [10]}, "Item ids are texts, got 10: write '10'."),
        ({"histories": [["i1"]], "items": "i2"}, "items is a list of item ids, got the text 'i2': write ['i2']."),
        ({"histories": [["i1"]], "k": 2.0}, "k must be a whole number of at least 1, got 2.0."),
        ({"histories": [["i1"]], "k": 0}, "k must be a whole number of at least 1, got 0."),
        ({"histories": [["i1"]], "k": True}, "k must be a whole number of at least 1, got True."),
    ],
)
def test_values_of_another_type_are_refused(options: dict[str, Any], sentence: str, log: "segue.EventLog") -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        segue.Popularity().fit(log).recommend(**options)


def test_one_user_as_a_text_is_refused(log: "segue.EventLog") -> None:
    with pytest.raises(ValueError, match=r"^users is a list of ids, got the text 'u0': write \['u0'\]\.$"):
        segue.Popularity().fit(log).recommend(users="u0")


def test_wrong_parameters_and_unfitted_models() -> None:
    with pytest.raises(ValueError, match=r"^Unknown setting 'dekay'\. Did you mean 'decay'\?$"):
        segue.CoVisit(dekay=1)
    with pytest.raises(ValueError, match=r"^This CoVisit is not fitted yet: call fit\(log\) first\.$"):
        segue.CoVisit().recommend([["a"]])
    with pytest.raises(ValueError, match=r"^Give either histories or users\.$"):
        segue.CoVisit().recommend()


def test_unknown_items_and_users_are_named(log: "segue.EventLog") -> None:
    model = segue.Markov().fit(log)
    with pytest.raises(ValueError, match=r"^The catalog has no item 'zzz'\.$"):
        model.similar("zzz")
    with pytest.raises(ValueError, match=r"^There is no user 'zzz' in the log this was fitted on\.$"):
        model.recommend(users=["zzz"])
    assert model.recommend([["zzz", "i1"]]) == model.recommend([["i1"]])


def test_users_of_the_log_have_the_times_of_their_events() -> None:
    """A list of ids has no times, so a model with time features may score it otherwise."""
    rows = [
        (f"u{p}", f"i{(p * s) % 7}", 1_700_000_000 + p + 4_000 * s * (1 + p % 5)) for p in range(30) for s in range(6)
    ]
    log = segue.read_events(pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row"))
    model = segue.GRU4Rec(time_inputs=("gap", "daypart"), embedding_dim=8, epochs=4, covisitation_weight=0.0).fit(log)
    scored: list[Sequences] = []

    class RecordingScorer:
        name, size = model.fitted.scorer.name, model.fitted.scorer.size

        def scores(self, histories: Sequences) -> np.ndarray:
            scored.append(histories)
            return np.zeros((len(histories), self.size), dtype=np.float32)

        def arrays(self) -> dict[str, np.ndarray]:
            return {}

    model.fitted.lists.scorer = RecordingScorer()
    model.recommend(users=["u3", "u0"], k=1)
    assert scored[0].times is not None
    first = scored[0].starts[0]
    assert scored[0].times[first : first + 2].tolist() == [1_700_000_003_000_000, 1_700_016_003_000_000]


def test_help_lists_every_setting_with_type_range_default_and_source() -> None:
    text = inspect.getdoc(segue.SASRec)
    assert text is not None and "Kang & McAuley 2018" in text
    assert "embedding_dim (int, at least 1): Width of item embeddings" in text
    assert "Default: 64." in text
    assert "epochs (int" in text and "Default: 5." in str(segue.GRU4Rec.__doc__)
    for cls in CLASSES:
        doc = str(cls.__doc__)
        assert doc.startswith(f"{cls.summary}\n")
        for name in inspect.signature(cls).parameters:
            entry = doc.partition(f"    {name} (")[2]
            assert entry.partition("):")[2].strip(), f"{cls.__name__}.{name} has no documentation"


def test_stubs_for_editors_are_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """The signatures of the stub file are those at run time; scripts/make_stubs.py writes it."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    make_stubs = importlib.import_module("make_stubs")
    assert make_stubs.STUB.read_text(encoding="utf-8") == make_stubs.stub()
    tree = ast.parse(make_stubs.STUB.read_text(encoding="utf-8"))
    stubs = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    for cls in CLASSES:
        init = next(node for node in stubs[cls.__name__].body if isinstance(node, ast.FunctionDef))
        assert [a.arg for a in init.args.kwonlyargs] == list(inspect.signature(cls).parameters)
    assert (ROOT / "src" / "segue" / "py.typed").exists()


def test_type_checkers_see_every_public_name() -> None:
    """The names under TYPE_CHECKING are those that are imported at their first use."""
    tree = ast.parse((ROOT / "src" / "segue" / "__init__.py").read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    names = {a.asname: node.module for node in block.body if isinstance(node, ast.ImportFrom) for a in node.names}
    assert names == {name: getattr(segue, "_HOMES")[name] for name in segue.__all__}  # noqa: B009


def test_fit_recommend_similar_save_and_load_have_examples() -> None:
    methods = [Recommender.fit, Recommender.recommend, Recommender.similar, Recommender.save, trained_model.load]
    assert all(">>> " in str(method.__doc__) for method in methods)
