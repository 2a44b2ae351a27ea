"""Served pipelines: placements, filters, explanations, and their refusal by a single model."""

import numpy as np
import pytest
from tests.serving.conftest import split_of

from segue.data.catalog import Catalog
from segue.models import artifact
from segue.pipeline.config import decode_pipeline
from segue.serving.inference.engine import Engine
from segue.serving.inference.served_model import ServedModel
from segue.serving.schemas.problems import Problem
from segue.serving.schemas.requests import EventIn, RecommendRequest
from segue.serving.sessions.session_cache import SessionCache
from segue.serving.store.group_commit import GroupCommitWriter
from segue.workflows.train_pipeline import fit_pipeline

SETTINGS = {
    "source": [{"model": "markov"}, {"model": "covisit"}],
    "blend": {"method": "reciprocal-rank"},
    "rank": {"method": "none"},
    "placement": [{"name": "dear", "rules": {"filter": "price > 6"}}],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, ring):
    catalog = Catalog("abcdefghijkl")
    fitted = fit_pipeline(split_of(ring, catalog), decode_pipeline(SETTINGS))
    items = {item: {"price": float(i), "title": f"Tea {item}"} for i, item in enumerate(catalog.ids)}
    out = tmp_path_factory.mktemp("pipeline") / "run"
    artifact.save(artifact.Artifact("pipeline", fitted.settings, catalog, fitted.scorer.arrays(), items, {}), out)
    return out


@pytest.fixture
def open_engine(store):
    writers = []

    def opened(run):
        model = ServedModel.open(run)
        sessions = SessionCache(store, model.catalog)
        writers.append(GroupCommitWriter(store, sessions.add))
        return Engine(model, sessions, writers[-1])

    yield opened
    for writer in writers:
        writer.close()


def test_an_event_changes_the_next_list_of_a_pipeline(folder, open_engine):
    engine = open_engine(folder)
    engine.store([EventIn(item_id="d", user_id="ann")])[0].result(10)
    first = engine.recommend(RecommendRequest(user_id="ann", k=3)).items[0]
    assert (first.id, first.source, first.title, first.propensity) == ("e", "markov", "Tea e", 1.0)
    assert first.reason is None


def test_placements_filters_and_explanations(folder, open_engine):
    engine = open_engine(folder)
    dear = engine.recommend(RecommendRequest(history=["d"], k=12, placement="dear"))
    assert {item.id for item in dear.items} == set("hijkl")
    cheap = engine.recommend(RecommendRequest(history=["d"], k=12, filter="price < 2", explain=True))
    assert {item.id for item in cheap.items} == {"a", "b"}
    received = engine.recommend(RecommendRequest(history=["d"], k=1, explain=True)).items[0]
    assert received.reason.en == "Often chosen next after Tea d."
    assert received.reason.zh == "选了Tea d的人，接下来常常选它。"
    assert received.reason.because == ["d"]


def test_allow_and_exclude_of_the_request_apply_too(folder, open_engine):
    engine = open_engine(folder)
    response = engine.recommend(RecommendRequest(history=["d"], k=12, exclude=["e"], allow=["e", "f", "zzz"]))
    assert [item.id for item in response.items] == ["f"]
    assert response.unknown_items == ["zzz"]


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"placement": "attic"}, "There is no placement 'attic'. The placements: dear, default."),
        ({"filter": "colour == 1"}, "The items have no column 'colour'. The columns: item_id, price, title."),
    ],
)
def test_an_unknown_placement_and_an_invalid_filter_are_refused(folder, open_engine, fields, sentence):
    with pytest.raises(Problem) as refused:
        open_engine(folder).recommend(RecommendRequest(history=["d"], **fields))
    assert refused.value.status == 422
    assert str(refused.value.body().detail).startswith(sentence)


def test_a_single_model_has_no_filters(run, open_engine):
    with pytest.raises(Problem) as refused:
        open_engine(run).recommend(RecommendRequest(history=["d"], explain=True))
    assert refused.value.body().detail == "Filters and explanations need a pipeline; this is a single model."


def test_lists_stay_full_however_long_the_history(folder, open_engine):
    engine = open_engine(folder)
    rng = np.random.default_rng(1)
    for length in (0, 1, 5, 40):
        history = [str(item) for item in rng.choice(list("abcdefghijkl"), length)]
        response = engine.recommend(RecommendRequest(history=history, k=12, exclude_seen=True))
        assert {item.id for item in response.items} == set("abcdefghijkl") - set(history)
