"""Engine: history and filters in, list of recommendations out, without HTTP."""

import gc
import time
import weakref
from dataclasses import replace

import numpy as np
import pytest

from segue.data.sequences import NO_TIME, Sequences
from segue.models import artifact
from segue.models.loading import restore_model
from segue.models.top_k import top_k
from segue.serving.config import SessionsConfig
from segue.serving.inference.engine import Engine
from segue.serving.inference.request_scorer import RequestScorer
from segue.serving.inference.served_model import ServedModel
from segue.serving.schemas.problems import Problem
from segue.serving.schemas.requests import EventIn, RecommendRequest, SimilarRequest
from segue.serving.sessions.request_key import check_request
from segue.serving.sessions.session_cache import SessionCache
from segue.serving.store.group_commit import GroupCommitWriter


@pytest.fixture
def engine(run, store):
    model = ServedModel.open(run)
    sessions = SessionCache(store, model.catalog)
    writer = GroupCommitWriter(store, sessions.add)
    yield Engine(model, sessions, writer)
    writer.close()


def ids(response):
    return [item.id for item in response.items]


def ask(engine, **fields):
    return engine.recommend(RecommendRequest(**fields))


def test_the_next_item_is_ranked_first(engine):
    assert ids(ask(engine, history=["c", "d", "e"], k=1)) == ["f"]


def test_a_new_user_gets_popular_items_from_the_engine(engine):
    unknown_user, unknown, empty = ask(engine, k=12), ask(engine, user_id="new", k=12), ask(engine, history=[], k=12)
    assert ids(unknown_user) == ids(unknown) == ids(empty)
    assert ids(unknown_user)[:3] == ["a", "b", "l"] or set(ids(unknown_user)[:3]) == {"a", "b", "l"}
    assert len(ids(unknown_user)) == 12


def test_always_k_while_k_are_allowed(engine):
    for k in (1, 5, 9, 12):
        assert len(ids(ask(engine, history=["a", "b", "c"], k=k))) == min(k, 9)
        assert len(ids(ask(engine, history=["a", "b", "c"], k=k, exclude_seen=False))) == k


def test_seen_excluded_and_forbidden_items_never_appear(engine):
    response = ask(engine, history=["a", "b"], exclude=["c", "nope"], allow=["a", "c", "e", "f", "what"], k=12)
    assert sorted(ids(response)) == ["e", "f"]
    assert response.unknown_items == ["nope", "what"]
    assert ids(ask(engine, allow=[], k=3)) == []


def test_unknown_items_are_named_once_and_skipped(engine):
    response = ask(engine, history=["?", "d", "?", "e"], k=3)
    assert response.unknown_items == ["?"]
    assert ids(response) == ids(ask(engine, history=["d", "e"], k=3))


def test_known_titles_are_returned(engine):
    titles = {item.id: item.title for item in ask(engine, k=12).items}
    assert titles == {**dict.fromkeys("bcdefghijkl"), "a": "The first"}


def test_an_event_changes_the_next_list(engine):
    before = ids(ask(engine, user_id="ann", k=1))
    engine.store([EventIn(item_id="e", user_id="ann")])[0].result(10)
    assert before != ids(ask(engine, user_id="ann", k=1)) == ["f"]
    assert "e" not in ids(ask(engine, user_id="ann", k=12))
    assert "e" in ids(ask(engine, user_id="ann", k=12, exclude_seen=False))
    assert ids(ask(engine, session_id="ann", k=1)) == before, "a session of the user's name is somebody else"


def test_an_event_beside_a_history_is_its_newest(engine):
    response = ask(engine, history=["a"], event=EventIn(item_id="g", session_id="s"), k=1)
    assert ids(response) == ids(ask(engine, history=["a", "g"], k=1)) == ["h"]


def test_similar_items_follow_a_history_of_one_item(engine):
    response = engine.similar(SimilarRequest(item_id="e", k=11))
    assert ids(response)[0] == "f"
    assert len(response.items) == 11
    assert "e" not in ids(response)


def test_similar_to_an_unknown_item_is_refused(engine):
    with pytest.raises(Problem) as refused:
        engine.similar(SimilarRequest(item_id="zz"))
    assert (refused.value.status, refused.value.detail) == (404, "The catalog does not know the item 'zz'.")


@pytest.mark.parametrize(
    ("fields", "detail"),
    [
        (
            {"user_id": "a", "session_id": "b"},
            "user_id and session_id name different histories: give one of them.",
        ),
        (
            {"user_id": "a", "history": []},
            "user_id and history name different histories: give one of them.",
        ),
        (
            {"user_id": "a", "event": EventIn(item_id="x", user_id="b")},
            "The event's user_id is not the request's: the list would not take the event into account.",
        ),
    ],
)
def test_contradictions_are_refused(fields, detail):
    with pytest.raises(Problem) as refused:
        check_request(RecommendRequest(**fields))
    assert (refused.value.status, refused.value.detail) == (422, detail)


def test_an_event_gets_the_user_of_its_request():
    request = RecommendRequest(session_id="s", event=EventIn(item_id="x", user_id="ann"))
    check_request(request)
    assert (request.event.user_id, request.event.session_id) == ("ann", "s")


def test_the_evaluations_filter_is_the_default(run, store, tmp_path):
    saved = artifact.load(run)
    again = artifact.Artifact(
        saved.model, saved.settings, saved.catalog, saved.arrays, saved.items, {"exclude_seen": False}
    )
    artifact.save(again, tmp_path / "open")
    assert ServedModel.open(run).exclude_seen
    assert not ServedModel.open(tmp_path / "open").exclude_seen


def test_a_model_that_cannot_score_is_not_opened(run, tmp_path):
    saved = artifact.load(run)
    arrays = {
        name: np.full_like(values, np.nan) if values.dtype.kind == "f" else values
        for name, values in saved.arrays.items()
    }
    artifact.save(artifact.Artifact(saved.model, saved.settings, saved.catalog, arrays, {}, {}), tmp_path / "broken")
    with pytest.raises(ValueError, match="NaN"):
        ServedModel.open(tmp_path / "broken")


def test_the_list_is_the_top_k_of_the_scores(run, engine):
    saved = artifact.load(run)
    history = Sequences.from_lists([[3, 4, 5]])
    items, scores = top_k(restore_model(saved).scores(history), 6, exclude=history)
    response = ask(engine, history=["c", "d", "e"], k=6)
    assert [(item.id, item.score) for item in response.items] == list(
        zip(saved.catalog.to_ids(items[0]), scores[0].tolist(), strict=True)
    )
    assert response.model_version == saved.version


class RecordingScorer:
    """Scorer that records the histories it scores."""

    def __init__(self, scorer):
        self.scorer, self.name, self.size, self.histories = scorer, scorer.name, scorer.size, []

    def scores(self, histories):
        self.histories.append(histories)
        return self.scorer.scores(histories)

    def arrays(self):
        return self.scorer.arrays()


def test_a_model_receives_event_times_and_the_query_time(run, store):
    """A stored history has the times of its events, an event beside a sent history its own, a sent history none."""
    model = replace(ServedModel.open(run), scorer=(recording := RecordingScorer(ServedModel.open(run).scorer)))
    sessions = SessionCache(store, model.catalog)
    writer = GroupCommitWriter(store, sessions.add)
    engine = Engine(model, sessions, writer)
    before = time.time_ns() // 1000
    for item, timestamp in (("b", 20), ("a", 10)):
        engine.store([EventIn(item_id=item, user_id="ann", timestamp=timestamp)])[0].result(10)
    ask(engine, user_id="ann")
    ask(engine, history=["a", "c"], event=EventIn(item_id="d", user_id="x", timestamp=30))
    ask(engine, history=["a"], event=EventIn(item_id="d", user_id="x"))
    writer.close()
    known, mixed, now = recording.histories[-3:]
    assert (known.to_lists(), known.times.tolist()) == ([[1, 2]], [10_000_000, 20_000_000])
    assert (mixed.to_lists(), mixed.times.tolist()) == ([[1, 3, 4]], [NO_TIME, NO_TIME, 30_000_000])
    assert now.times.tolist() == [NO_TIME, now.query_times[0]]
    assert all(before <= history.query_times[0] <= time.time_ns() // 1000 for history in recording.histories[-3:])


def test_no_more_last_lists_are_kept_than_histories(run, store):
    model = ServedModel.open(run)
    scorer = RequestScorer(model, SessionCache(store, model.catalog, SessionsConfig(max_histories=2)))
    for user in "xyz":
        scorer.respond_batch([RecommendRequest(user_id=user, k=3)])
    sources = [scorer.respond_without_scoring(RecommendRequest(user_id=user, k=3)).fallback for user in "xyz"]
    assert sources == ["popular", "cached", "cached"]


def test_a_retired_model_is_freed_without_the_cycle_collector(run, store):
    """A server rarely collects cycles: 50 swaps must not keep 50 models in memory."""
    model = ServedModel.open(run)
    engine = Engine(model, SessionCache(store, model.catalog), None)
    gone = weakref.ref(engine), weakref.ref(model)
    gc.disable()
    try:
        engine.close()
        del engine, model
        assert [one() for one in gone] == [None, None]
    finally:
        gc.enable()
