"""The Python front door: scikit-learn's habits, raw histories, save and load."""

from pathlib import Path

import polars as pl
import pytest
from sklearn.base import clone

import segue
from segue.recommender import Recommender

MODELS = [segue.Popularity, segue.Markov, segue.CoVisit, segue.ItemKNN, segue.SessionKNN]


@pytest.fixture(scope="module")
def log() -> "segue.EventLog":
    rows = [(f"u{p}", f"i{(p + s) % 9}", 1_700_000_000 + 100 * s + p) for p in range(30) for s in range(6)]
    return segue.read_events(pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row"))


@pytest.mark.parametrize("kind", MODELS)
def test_fit_returns_self_and_answers(kind: type[Recommender], log: "segue.EventLog") -> None:
    model = kind()
    assert model.fit(log) is model
    (answer, empty) = model.recommend([["i1", "i2"], []], k=4)
    assert len(answer) == len(empty) == 4
    assert not {"i1", "i2"} & {item for item, _ in answer}
    assert [score for _, score in answer] == sorted((score for _, score in answer), reverse=True)


def test_a_network_learns_the_ring(log: "segue.EventLog", tmp_path: Path) -> None:
    model = segue.GRU4Rec(dim=8, epochs=4, batch_tokens=64, learning_rate=0.02).fit(log)
    assert model.recommend([["i1", "i2"]], k=1)[0][0][0] == "i3"
    version = model.save(tmp_path / "run")
    loaded = segue.load(tmp_path / "run")
    assert len(version) == 12
    assert loaded.recommend([["i4"], []], k=5) == model.recommend([["i4"], []], k=5)


def test_people_of_the_log_by_name(log: "segue.EventLog") -> None:
    model = segue.Markov().fit(log)
    by_name = model.recommend(users=["u0"], k=2)
    assert by_name == model.recommend([["i0", "i1", "i2", "i3", "i4", "i5"]], k=2)
    assert by_name[0][0][0] == "i6"


def test_allow_list_and_seen_items(log: "segue.EventLog") -> None:
    model = segue.CoVisit().fit(log)
    assert {i for i, _ in model.recommend([["i1"]], k=9, items=["i1", "i5", "i7"])[0]} == {"i5", "i7"}
    seen = model.recommend([["i1"]], k=9, items=["i1", "i5"], exclude_seen=False)[0]
    assert {i for i, _ in seen} == {"i1", "i5"}


def test_parameters_like_scikit_learn() -> None:
    model = segue.CoVisit(decay=0.7, seed=3)
    assert model.get_params() == {"decay": 0.7, "seed": 3}
    twin = clone(model)
    assert twin is not model and twin.get_params() == model.get_params()
    assert model.set_params(decay=0.2).get_params()["decay"] == 0.2
    assert repr(twin) == "CoVisit(decay=0.7, seed=3)"


def test_wrong_parameters_and_unfitted_models() -> None:
    with pytest.raises(ValueError, match=r"^Unknown setting 'dekay'\. Did you mean 'decay'\?$"):
        segue.CoVisit(dekay=1)
    with pytest.raises(ValueError, match=r"^This CoVisit is not fitted yet: call fit\(log\) first\.$"):
        segue.CoVisit().recommend([["a"]])
    with pytest.raises(ValueError, match=r"^Give either histories or users\.$"):
        segue.CoVisit().recommend()


def test_unknown_things_get_sentences(log: "segue.EventLog") -> None:
    model = segue.Markov().fit(log)
    with pytest.raises(ValueError, match=r"^The catalogue has no item 'zzz'\.$"):
        model.similar("zzz")
    with pytest.raises(ValueError, match=r"^There is no person 'zzz' in the log this was fitted on\.$"):
        model.recommend(users=["zzz"])
    assert model.recommend([["zzz", "i1"]]) == model.recommend([["i1"]])
