"""A model that learned from events' circumstances or times is served as it was judged: live, restored, imported."""

import json
import time
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from segue.data.readers.events import read_events
from segue.data.sequences import Sequences
from segue.data.splits.split import split_log
from segue.models import artifact
from segue.models.ensemble import Ensemble
from segue.models.top_k import top_k
from segue.serving.config import SessionsConfig
from segue.serving.inference.engine import Engine
from segue.serving.inference.served_model import ServedModel
from segue.serving.schemas.requests import EventIn, NextRequest, RecommendRequest
from segue.serving.sessions.event_context import NO_CONTEXT, EventContextReader
from segue.serving.sessions.session_cache import SessionCache
from segue.serving.store.event_store import EventStore
from segue.serving.store.group_commit import GroupCommitWriter
from segue.workflows.event_transfer import import_log
from segue.workflows.fit_model import fit_model

T0 = 1_700_000_000
PEOPLE, ITEMS = 40, 15
CONTEXTS = ["device", "age", "tags", "event"]


def shop():
    """Which ring a person walks is told by the device; some cells are missing, and some people are rare."""
    rng = np.random.default_rng(4)
    rows = []
    for u in range(PEOPLE):
        phone, item = bool(rng.integers(2)), int(rng.integers(ITEMS))
        for t in range(int(rng.integers(4, 16))):
            item = (item + (1 if phone else 4)) % ITEMS
            device = None if rng.random() < 0.1 else ("phone" if phone else " tv")
            age = None if rng.random() < 0.2 else float(rng.integers(20, 60))
            tags = rng.choice(["a|b", "b; c", "c"])
            rows.append((f"u{u}", f"i{item:02d}", T0 + 3617 * t + u, device, age, tags, rng.choice(["view", "buy"])))
    names = ["user_id", "item_id", "timestamp", "device", "age", "tags", "event"]
    return pl.DataFrame(rows, schema=names, orient="row")


@pytest.fixture(scope="module")
def log():
    return read_events(shop()).with_context(CONTEXTS)


def trained(folder, log, name, **values):
    log = log.with_context(values.get("contexts", []))
    split = split_log(log, "leave-last-out")
    fitted = fit_model(name, split, {"epochs": 2, "embedding_dim": 8, **values})
    about = {"exclude_seen": False}
    saved = artifact.Artifact(name, fitted.settings, split.catalog, fitted.scorer.arrays(), {}, about)
    artifact.save(saved, folder)
    return folder


def opened(run, store, **options):
    model = ServedModel.open(run)
    sessions = SessionCache(store, model.catalog, context_reader=model.event_contexts, **options)
    writer = GroupCommitWriter(store, sessions.add)
    return model, Engine(model, sessions, writer), writer


def cases_of(model, log):
    """Everybody's whole history as an evaluation has it, and whose each is."""
    if model.event_contexts is not None:
        log = log.with_context(model.event_contexts.column_types)
    return log.sequences(model.catalog)


def wanted_lists(model, histories, k=10):
    items_BK, scores_BK = top_k(model.scorer.scores(histories), k)
    return [
        list(zip(model.catalog.to_ids(i), s.tolist(), strict=False)) for i, s in zip(items_BK, scores_BK, strict=True)
    ]


def listed(answer):
    return [(one.id, one.score) for one in answer.items]


def sent(row):
    around = {name: row[name] for name in ("device", "age", "tags") if row[name] is not None}
    fields = {"timestamp": row["timestamp"], "event": row["event"], "context": {**around, "page": "home"}}
    return EventIn(
        item_id=row["item_id"], user_id=row["user_id"], event_id=f"{row['user_id']}-{row['timestamp']}", **fields
    )


@pytest.mark.parametrize("name", ["sasrec", "gru4rec"])
def test_served_with_contexts_as_evaluated_live_and_after_a_restart(tmp_path, log, name):
    run, frame = trained(tmp_path / "run", log, name, contexts=CONTEXTS), shop()
    path = tmp_path / "events.sqlite"
    store = EventStore(path)
    model, engine, writer = opened(run, store)
    assert model.event_contexts.column_types == {"device": "category", "age": "number", "tags": "list", "event": "category"}
    rows, people = cases_of(model, log)
    wanted = dict(zip(people, wanted_lists(model, rows), strict=True))
    bare = wanted_lists(model, Sequences(rows.items, rows.times, rows.starts, rows.stops))
    assert sum(one != other for one, other in zip(wanted.values(), bare, strict=True)) > PEOPLE / 2
    for row in frame.iter_rows(named=True):
        if row["user_id"] == people[0]:  # is in memory from the first event on
            engine.recommend(RecommendRequest(user_id=people[0], event=sent(row)))
        engine.store([sent(row)])[0].result(10)
    requests = [RecommendRequest(user_id=person, k=10) for person in people]
    for answer, person in zip(engine.respond_batch(requests), people, strict=True):
        assert_close(listed(answer), wanted[person])
    engine.close(), writer.close(), store.close()

    store = EventStore(path)
    _, engine, writer = opened(run, store, config=SessionsConfig(max_histories=3))
    for person in people:
        assert_close(listed(engine.recommend(RecommendRequest(user_id=person, k=10))), wanted[person])
    first = engine.next(NextRequest(user_id=people[1], steps=1)).items[0].id
    assert first == wanted[people[1]][0][0], "what is written next begins where the list does"
    engine.close(), writer.close(), store.close()


def assert_close(found, wanted):
    assert [item for item, _ in found] == [item for item, _ in wanted]
    np.testing.assert_allclose([s for _, s in found], [s for _, s in wanted], rtol=2e-5, atol=2e-5)


def test_an_imported_log_has_the_contexts_it_was_imported_with(tmp_path, log, open_server):
    """Through the whole server."""
    run = trained(tmp_path / "run", log, "gru4rec", contexts=CONTEXTS)
    import_log(log, tmp_path / "data", 1_800_000_000_000_000)
    model = ServedModel.open(run)
    rows, people = cases_of(model, log)
    with open_server(tmp_path / "data", run) as server:
        for person, wanted in zip(people, wanted_lists(model, rows), strict=True):
            answer = server.web.post("/v1/recommend", json={"user_id": person, "k": 10}).json()
            assert_close([(one["id"], one["score"]) for one in answer["items"]], wanted)


def test_what_is_unknown_or_missing_counts_as_missing(tmp_path, log, store):
    """Also in a store from before, whose events have no context at all."""
    run = trained(tmp_path / "run", log, "sasrec", contexts=["device"])
    model, engine, writer = opened(run, store)
    told = {"u": {"device": "fridge"}, "n": {"other": "tv"}, "e": {}, "t": {"device": "tv"}}
    for person, context in told.items():
        events = [EventIn(item_id=f"i0{n}", user_id=person, timestamp=n, context=context) for n in range(3)]
        engine.store(events)[0].result(10)
    lists = {person: listed(engine.recommend(RecommendRequest(user_id=person, k=10))) for person in told}
    assert lists["n"] == lists["e"] == listed(engine.recommend(RecommendRequest(history=["i00", "i01", "i02"], k=10)))
    facts = EventContextReader({"device": "category"}).from_request(EventIn(item_id="x", context=told["u"]), 0)
    assert facts == {"device": "fridge"}
    vector_D = model.scorer.inner.sides.contexts.from_shared([facts])[0]
    np.testing.assert_array_equal(vector_D, model.scorer.inner.sides.contexts.from_shared([{"device": ""}])[0])
    assert lists["u"] != lists["t"] != lists["e"]
    engine.close(), writer.close()


def test_an_event_beside_a_bare_history_brings_its_own_context(tmp_path, log, store):
    run = trained(tmp_path / "run", log, "gru4rec", contexts=["device"])
    _, engine, writer = opened(run, store)
    tv = EventIn(item_id="i02", session_id="s", event="buy", context={"device": "tv"})
    beside = engine.recommend(RecommendRequest(history=["i00", "i01"], event=tv, k=10))
    for item in ("i00", "i01"):
        engine.store([EventIn(item_id=item, session_id="s", timestamp=1)])[0].result(10)
    engine.store([tv])[0].result(10)
    assert_close(listed(engine.recommend(RecommendRequest(session_id="s", k=10))), listed(beside))
    plain = engine.recommend(RecommendRequest(history=["i00", "i01", "i02"], k=10))
    assert listed(plain) != listed(beside)
    engine.close(), writer.close()


@pytest.mark.parametrize(
    "values",
    [{"time_inputs": ["gap", "daypart"]}, {"target_time": True}, {"target_time": True, "contexts": ["device"]}],
    ids=str,
)
def test_served_with_times_as_evaluated(tmp_path, log, store, monkeypatch, values):
    """The engine's clock stands at each case's own moment."""
    run = trained(tmp_path / "run", log, "hstu", **values)
    model, engine, writer = opened(run, store)
    for row in shop().iter_rows(named=True):
        engine.store([sent(row)])[0].result(10)
    rows, people = cases_of(model, log)
    now_B = rows.times[rows.stops - 1] + 1_000_000 * np.arange(1, len(rows) + 1) ** 3
    wanted = wanted_lists(model, rows.as_of(now_B))
    earlier = wanted_lists(model, rows.as_of(now_B + 40 * 86_400_000_000))
    assert (wanted != earlier) == bool(values.get("target_time"))
    for b, person in enumerate(people):
        clock = SimpleNamespace(time_ns=lambda b=b: int(now_B[b]) * 1000, perf_counter=time.perf_counter)
        monkeypatch.setattr("segue.serving.inference.prepared_request.time", clock)
        assert_close(listed(engine.recommend(RecommendRequest(user_id=person, k=10))), wanted[b])
    engine.close(), writer.close()


def test_models_that_answer_together_each_read_their_own_columns(tmp_path, store):
    log = read_events(shop()).with_context(["device", "age"])
    split = split_log(log, "leave-last-out")
    members = [
        fit_model("sasrec", split, {"epochs": 1, "embedding_dim": 8, "contexts": [name]}) for name in ("device", "age")
    ]
    both = Ensemble([(one.scorer, 0.5) for one in members])
    values = {str(place): one.settings for place, one in enumerate(members)}
    artifact.save(
        artifact.Artifact(both.name, values, split.catalog, both.arrays(), {}, {"exclude_seen": False}),
        tmp_path / "run",
    )
    model, engine, writer = opened(tmp_path / "run", store)
    assert model.event_contexts.column_types == {"device": "category", "age": "number"}
    for row in shop().iter_rows(named=True):
        engine.store([sent(row)])[0].result(10)
    rows, people = cases_of(model, log)
    for person, wanted in zip(people, wanted_lists(model, rows), strict=True):
        assert_close(listed(engine.recommend(RecommendRequest(user_id=person, k=10))), wanted)
    engine.close(), writer.close()


def test_two_models_that_take_a_column_differently_are_refused():
    told = lambda kind: np.frombuffer(json.dumps([["age", kind, 0]]).encode(), dtype=np.uint8)  # noqa: E731
    arrays = {"model.0.contexts.columns": told("number"), "model.1.contexts.columns": told("category")}
    with pytest.raises(ValueError) as refused:
        EventContextReader.from_arrays(arrays)
    assert str(refused.value) == (
        "Two models in one use the context 'age', one as number, one as category: train both on logs with one type "
        "of it."
    )
    assert EventContextReader.from_arrays({"features.columns": told("number")}) is None


def test_equal_rows_are_shared_and_bounded(monkeypatch):
    found = EventContextReader({"device": "category", "event": "category", "age": "number"})
    ask = lambda **context: found.from_request(EventIn(item_id="x", context=context), 0)  # noqa: E731
    assert ask(device="tv", page=1) is ask(device="tv", page=2)
    assert ask(device="1") != ask(age=1) and ask(age=1) == {"event": "view", "age": 1.0}
    assert ask(age=True)["age"] == 1.0 and ask(device=True)["device"] == "true", "equal to Python, not in a column"
    assert EventContextReader({"device": "category"}).from_request(EventIn(item_id="x"), 0) is NO_CONTEXT
    monkeypatch.setattr("segue.serving.sessions.event_context._MAX_SHARED", 10)
    for n in range(100):
        ask(age=n)
    assert len(found._rows) <= 10
