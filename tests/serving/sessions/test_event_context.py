"""Models with context features or times are served as they are evaluated: live, after a restart, after an import."""

import json
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
USERS, ITEMS = 40, 15
CONTEXTS = ["device", "age", "tags", "event"]


def frame_of_events():
    """The device decides which ring a user walks; some cells are missing, and some users are rare."""
    rng = np.random.default_rng(4)
    rows = []
    for u in range(USERS):
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
    return read_events(frame_of_events()).with_context(CONTEXTS)


@pytest.fixture(scope="module")
def train(log, artifacts):
    """Return the folder of a model that is trained once per test run for its name and settings."""

    def make(name, **settings):
        def fit(folder):
            split = split_log(log.with_context(settings.get("contexts", [])), "leave-last-out")
            size = {"embedding_dim": 8, **({} if name == "gru4rec" else {"num_layers": 1})}
            fitted = fit_model(name, split, {"epochs": 2, **size, **settings})
            about = {"exclude_seen": False}
            arrays = fitted.scorer.arrays()
            artifact.save(artifact.Artifact(name, fitted.settings, split.catalog, arrays, {}, about), folder)

        return artifacts.get(f"contexts {name} {settings}", fit)

    return make


def open_engine(run, store, **options):
    model = ServedModel.open(run)
    sessions = SessionCache(store, model.catalog, context_reader=model.event_contexts, **options)
    writer = GroupCommitWriter(store, sessions.add)
    return model, Engine(model, sessions, writer), writer


def evaluated_histories(model, log):
    """Return the whole history of each user as an evaluation has it, and the users."""
    if model.event_contexts is not None:
        log = log.with_context(model.event_contexts.column_types)
    return log.sequences(model.catalog)


def evaluated_lists(model, histories, k=10):
    items_BK, scores_BK = top_k(model.scorer.scores(histories), k)
    return [
        list(zip(model.catalog.to_ids(i), s.tolist(), strict=False)) for i, s in zip(items_BK, scores_BK, strict=True)
    ]


def listed(response):
    return [(item.id, item.score) for item in response.items]


def to_event(row):
    context = {name: row[name] for name in ("device", "age", "tags") if row[name] is not None}
    fields = {"timestamp": row["timestamp"], "event": row["event"], "context": {**context, "page": "home"}}
    return EventIn(
        item_id=row["item_id"], user_id=row["user_id"], event_id=f"{row['user_id']}-{row['timestamp']}", **fields
    )


def store_all(engine):
    engine.store([to_event(row) for row in frame_of_events().iter_rows(named=True)])[0].result(10)


def assert_close(actual, expected):
    assert [item for item, _ in actual] == [item for item, _ in expected]
    np.testing.assert_allclose([s for _, s in actual], [s for _, s in expected], rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("name", ["sasrec", "gru4rec"])
def test_context_features_are_served_as_evaluated_live_and_after_a_restart(tmp_path, log, train, name):
    run, frame = train(name, contexts=CONTEXTS), frame_of_events()
    path = tmp_path / "events.sqlite"
    store = EventStore(path)
    model, engine, writer = open_engine(run, store)
    assert model.event_contexts.column_types == {
        "device": "category",
        "age": "number",
        "tags": "list",
        "event": "category",
    }
    rows, users = evaluated_histories(model, log)
    expected = dict(zip(users, evaluated_lists(model, rows), strict=True))
    without = evaluated_lists(model, Sequences(rows.items, rows.times, rows.starts, rows.stops))
    assert sum(a != b for a, b in zip(expected.values(), without, strict=True)) > USERS / 2
    for row in frame.iter_rows(named=True):
        if row["user_id"] == users[0]:  # in memory from the first event on
            engine.recommend(RecommendRequest(user_id=users[0], event=to_event(row)))
        engine.store([to_event(row)], "memory")[0].result(10)
    requests = [RecommendRequest(user_id=user, k=10, exclude_seen=False) for user in users]
    for response, user in zip(engine.respond_batch(requests), users, strict=True):
        assert_close(listed(response), expected[user])
    engine.close(), writer.close(), store.close()

    store = EventStore(path)
    _, engine, writer = open_engine(run, store, config=SessionsConfig(max_histories=3))
    for user in users:
        assert_close(listed(engine.recommend(RecommendRequest(user_id=user, k=10, exclude_seen=False))), expected[user])
    first = engine.next(NextRequest(user_id=users[1], steps=1)).items[0].id
    assert first == expected[users[1]][0][0], "a generated sequence begins with the best item"
    engine.close(), writer.close(), store.close()


def test_an_imported_log_keeps_its_context_features(tmp_path, log, train, open_server):
    """Through the whole server."""
    run = train("gru4rec", contexts=CONTEXTS)
    import_log(log, tmp_path / "data", 1_800_000_000_000_000)
    model = ServedModel.open(run)
    rows, users = evaluated_histories(model, log)
    with open_server(tmp_path / "data", run) as server:
        for user, expected in zip(users, evaluated_lists(model, rows), strict=True):
            response = server.web.post("/v1/recommend", json={"user_id": user, "k": 10, "exclude_seen": False}).json()
            assert_close([(item["id"], item["score"]) for item in response["items"]], expected)


def test_unknown_and_missing_context_values_are_equal(train, store):
    """Also in a store whose events have no context at all."""
    run = train("gru4rec", contexts=["device"])
    model, engine, writer = open_engine(run, store)
    contexts = {"u": {"device": "fridge"}, "n": {"other": "tv"}, "e": {}, "t": {"device": "tv"}}
    for user, context in contexts.items():
        events = [EventIn(item_id=f"i0{n}", user_id=user, timestamp=n, context=context) for n in range(3)]
        engine.store(events)[0].result(10)
    lists = {
        user: listed(engine.recommend(RecommendRequest(user_id=user, k=10, exclude_seen=False))) for user in contexts
    }
    sent = listed(engine.recommend(RecommendRequest(history=["i00", "i01", "i02"], k=10, exclude_seen=False)))
    assert lists["n"] == lists["e"] == sent
    values = EventContextReader({"device": "category"}).from_request(EventIn(item_id="x", context=contexts["u"]), 0)
    assert values == {"device": "fridge"}
    encoder = model.scorer.inner.side_information.contexts
    np.testing.assert_array_equal(encoder.embed_rows([values])[0], encoder.embed_rows([{"device": ""}])[0])
    assert lists["u"] != lists["t"] != lists["e"]
    engine.close(), writer.close()


def test_an_event_beside_a_sent_history_has_its_own_context(train, store):
    _, engine, writer = open_engine(train("gru4rec", contexts=["device"]), store)
    tv = EventIn(item_id="i02", session_id="s", event="buy", context={"device": "tv"})
    pids = engine.recommend(RecommendRequest(history=["i00", "i01"], event=tv, k=10, exclude_seen=False))
    for item in ("i00", "i01"):
        engine.store([EventIn(item_id=item, session_id="s", timestamp=1)])[0].result(10)
    engine.store([tv])[0].result(10)
    assert_close(listed(engine.recommend(RecommendRequest(session_id="s", k=10, exclude_seen=False))), listed(pids))
    without = engine.recommend(RecommendRequest(history=["i00", "i01", "i02"], k=10, exclude_seen=False))
    assert listed(without) != listed(pids)
    engine.close(), writer.close()


@pytest.mark.parametrize(
    "settings",
    [{"time_inputs": ["gap", "daypart"]}, {"target_time": True}, {"target_time": True, "contexts": ["device"]}],
    ids=str,
)
def test_times_are_served_as_evaluated(log, train, store, monkeypatch, settings):
    """The server's clock is set to the query time of each evaluated case."""
    model, engine, writer = open_engine(train("hstu", **settings), store)
    store_all(engine)
    rows, users = evaluated_histories(model, log)
    now_B = rows.times[rows.stops - 1] + 1_000_000 * np.arange(1, len(rows) + 1) ** 3
    expected = evaluated_lists(model, rows.as_of(now_B))
    later = evaluated_lists(model, rows.as_of(now_B + 40 * 86_400_000_000))
    assert (expected != later) == bool(settings.get("target_time"))
    for b, user in enumerate(users):
        clock = SimpleNamespace(time_ns=lambda b=b: int(now_B[b]) * 1000)
        monkeypatch.setattr("segue.serving.inference.prepared_request.time", clock)
        assert_close(listed(engine.recommend(RecommendRequest(user_id=user, k=10, exclude_seen=False))), expected[b])
    engine.close(), writer.close()


def test_models_of_an_ensemble_each_read_their_own_columns(log, artifacts, store):
    log = log.with_context(["device", "age"])

    def fit(folder):
        split = split_log(log, "leave-last-out")
        members = [
            fit_model("gru4rec", split, {"epochs": 1, "embedding_dim": 8, "contexts": [column]})
            for column in ("device", "age")
        ]
        both = Ensemble([(member.scorer, 0.5) for member in members])
        settings = {str(number): member.settings for number, member in enumerate(members)}
        about = {"exclude_seen": False}
        artifact.save(artifact.Artifact(both.name, settings, split.catalog, both.arrays(), {}, about), folder)

    model, engine, writer = open_engine(artifacts.get("ensemble with contexts", fit), store)
    assert model.event_contexts.column_types == {"device": "category", "age": "number"}
    store_all(engine)
    rows, users = evaluated_histories(model, log)
    for user, expected in zip(users, evaluated_lists(model, rows), strict=True):
        assert_close(listed(engine.recommend(RecommendRequest(user_id=user, k=10, exclude_seen=False))), expected)
    engine.close(), writer.close()


def test_two_models_with_different_types_of_a_column_are_refused():
    def column(column_type):
        return np.frombuffer(json.dumps([["age", column_type, 0]]).encode(), dtype=np.uint8)

    arrays = {"model.0.contexts.columns": column("number"), "model.1.contexts.columns": column("category")}
    with pytest.raises(ValueError) as refused:
        EventContextReader.from_arrays(arrays)
    assert str(refused.value) == (
        "Two models in one use the context 'age', one as number, one as category: train both on logs with one type "
        "of it."
    )
    assert EventContextReader.from_arrays({"features.columns": column("number")}) is None


def test_equal_rows_are_shared_and_bounded(monkeypatch):
    reader = EventContextReader({"device": "category", "event": "category", "age": "number"})

    def read(**context):
        return reader.from_request(EventIn(item_id="x", context=context), 0)

    assert read(device="tv", page=1) is read(device="tv", page=2)
    assert read(device="1") != read(age=1) and read(age=1) == {"event": "view", "age": 1.0}
    assert read(age=True)["age"] == 1.0 and read(device=True)["device"] == "true", "equal to Python, not in a column"
    assert EventContextReader({"device": "category"}).from_request(EventIn(item_id="x"), 0) is NO_CONTEXT
    monkeypatch.setattr("segue.serving.sessions.event_context._MAX_SHARED", 10)
    for n in range(100):
        read(age=n)
    assert len(reader._rows) <= 10
