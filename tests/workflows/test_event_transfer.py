"""Import and export of events: complete, in order, once."""

import json
import time

import polars as pl
import pytest
from tests.support.cli import run

from segue.data.erasure_list import ErasureList
from segue.data.readers.events import read_events
from segue.serving.administration.erasure_steps import ErasureSteps
from segue.serving.schemas.requests import EventIn
from segue.serving.store.data_directory import DataDirectory
from segue.serving.store.event import validate_event
from segue.serving.store.event_reader import scan_events
from segue.serving.store.event_store import AppendResult, EventStore
from segue.workflows.event_transfer import CHUNK_ROWS, export_events, import_log, write_stream

NOW_US = 1_800_000_000_000_000


@pytest.fixture
def log(tmp_path):
    """A log with two equal events of one second, a chunk apart from the others."""
    rows = ["ann,x,2024-01-01 10:00:00,purchase,2.5", "ann,x,2024-01-01 10:00:00,purchase,2.5"]
    rows += [
        f"bob{i % 7},i{i % 50},2024-02-01 {i // 3600 % 24:02d}:{i // 60 % 60:02d}:{i % 60:02d},view,"
        for i in range(CHUNK_ROWS)
    ]
    path = tmp_path / "shop.csv"
    path.write_text("user_id,item_id,timestamp,event,value\n" + "\n".join(rows) + "\n")
    return path


def test_a_log_is_stored_once_however_often_it_is_imported(log, tmp_path):
    data = tmp_path / "data"
    assert import_log(read_events(log), data, NOW_US) == AppendResult(CHUNK_ROWS + 2, 0)
    lines = log.read_text().splitlines()
    log.write_text("\n".join([lines[0], *reversed(lines[1:]), "new,x,2024-03-01,view,"]) + "\n")
    assert import_log(read_events(log), data, NOW_US) == AppendResult(1, CHUNK_ROWS + 2)
    store = EventStore(data / "events.sqlite")
    (first, second) = store.user_events("ann")
    assert (first.event.value, first.event.event, first.event.source) == (2.5, "purchase", "import")
    assert first.event.time_us == second.event.time_us == 1_704_103_200_000_000
    store.close()


def test_context_columns_become_the_events_context(tmp_path):
    columns = {"user_id": ["a", "b"], "item_id": ["x", "y"], "timestamp": [5, 6], "event": ["buy", None]}
    more = {"device": ["tv", None], "tags": [["q", None], []], "age": [3.5, float("nan")], "left": ["out", "out"]}
    log = read_events(pl.DataFrame({**columns, **more})).with_context(["device", "tags", "age", "event", "timestamp"])
    assert import_log(log, tmp_path / "data", NOW_US) == AppendResult(2, 0)
    (stored,) = scan_events(tmp_path / "data" / "events.sqlite")
    events = [(row.event.event, row.event.context) for row in stored]
    assert events == [
        ("buy", '{"age":3.5,"device":"tv","tags":"[\\"q\\", null]"}'),
        ("view", '{"age":null,"tags":"[]"}'),
    ]


def test_contexts_are_exported_as_columns_for_training(tmp_path):
    columns = {"user_id": ["a", "b"], "item_id": ["x", "y"], "timestamp": [5, 6]}
    log = read_events(pl.DataFrame({**columns, "device": ["tv", None], "age": [3.5, 4.0]}))
    import_log(log.with_context(["device", "age"]), tmp_path / "data", NOW_US)
    for name in ("out.parquet", "out.csv", "out.jsonl"):
        assert export_events(tmp_path / "data", tmp_path / name, ["device", "age", "never"]) == 2
        again = read_events(tmp_path / name).with_context(["device", "age"])
        assert again.context == {"device": "text", "age": "number"}
        assert again.frame["device"].to_list() == ["tv", None]
        assert again.frame["never"].to_list() == [None, None]
        assert again.frame["age"].cast(pl.Float64).to_list() == [3.5, 4.0]
    with pytest.raises(ValueError) as refused:
        export_events(tmp_path / "data", tmp_path / "out.csv", ["event"])
    assert str(refused.value) == ("Every event has a column 'event' already: leave it out of the context to export.")


def test_stored_events_are_exported_and_read_again(log, tmp_path):
    data = tmp_path / "data"
    import_log(read_events(log), data, NOW_US)
    for name in ("out.parquet", "out.csv", "out.jsonl"):
        assert export_events(data, tmp_path / "new" / name) == CHUNK_ROWS + 2
        again = read_events(tmp_path / "new" / name)
        wanted = read_events(log)
        assert len(again) == len(wanted)
        columns = ["user_id", "item_id", "timestamp"]
        assert again.frame.select(columns).equals(wanted.frame.select(columns))
    frame = pl.read_parquet(tmp_path / "new" / "out.parquet")
    assert frame.schema["timestamp"] == pl.Datetime("us", "UTC")
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["out.csv", "out.jsonl", "out.parquet"]


def test_sessions_without_a_user_are_exported_and_imported_again(tmp_path):
    sent = [{"session_id": "s"}, {"user_id": "s"}, {"user_id": "ann", "session_id": "s"}]
    data = DataDirectory(tmp_path / "one")
    store = EventStore(data.path / "events.sqlite")
    store.append([[validate_event(EventIn(item_id="a", timestamp=i, **keys), NOW_US) for i, keys in enumerate(sent)]])
    store.close()
    data.release()
    export_events(data.path, tmp_path / "out.parquet")
    log = read_events(tmp_path / "out.parquet")
    assert log.frame["user_id"].to_list() == ["session:s", "s", "ann"]
    erased = ErasureList.open(tmp_path / "one")
    erased.add([("user_id", "ann"), ("session_id", "s")], NOW_US)
    assert erased.filter_log(log).frame["user_id"].to_list() == ["s"], "a user with the id of a session is another user"
    import_log(log, tmp_path / "two", NOW_US)
    (again,) = scan_events(tmp_path / "two" / "events.sqlite")
    assert [(row.event.user_id, row.event.session_id) for row in again] == [(None, "s"), ("s", None), ("ann", "s")]


def test_export_while_events_arrive(tmp_path):
    directory = DataDirectory(tmp_path / "data")
    store = EventStore(directory.path / "events.sqlite")
    for i in range(30):
        store.append([[validate_event(EventIn(item_id="a", user_id="ann", event_id=str(i)), NOW_US)]])
    reading = scan_events(store.path, 10)
    got = list(next(reading))
    store.append([[validate_event(EventIn(item_id="a", user_id="ann", event_id="30"), NOW_US)]])
    got += [row for part in reading for row in part]
    assert [row.event.event_id for row in got] == [str(i) for i in range(31)]
    assert export_events(directory.path, tmp_path / "out.parquet") == 31
    store.close()
    directory.release()


def test_a_failed_export_leaves_the_old_file(tmp_path):
    def frames():
        yield pl.DataFrame({"a": [1]})
        raise OSError("the disk is gone")

    (tmp_path / "out.parquet").write_text("before")
    with pytest.raises(Exception, match="the disk is gone"):
        write_stream(tmp_path / "out.parquet", {"a": pl.Int64}, frames)
    assert [path.name for path in tmp_path.iterdir()] == ["out.parquet"]
    assert (tmp_path / "out.parquet").read_text() == "before"


def test_errors_state_a_cure(log, tmp_path):
    with pytest.raises(ValueError) as error:
        export_events(tmp_path, tmp_path / "out.parquet")
    assert str(error.value) == f"{tmp_path} is not a server's data directory: it has no events.sqlite."
    with pytest.raises(ValueError) as error:
        write_stream(tmp_path / "out.xlsx", {}, lambda: iter(()))
    assert str(error.value) == f"{tmp_path / 'out.xlsx'} should end in .parquet, .csv or .jsonl."
    (tmp_path / "pairs.csv").write_text("user_id,item_id\na,b\n")
    with pytest.raises(ValueError) as error:
        import_log(read_events(tmp_path / "pairs.csv"), tmp_path / "data", NOW_US)
    assert str(error.value) == "A history needs timestamps: without them the order of its events is unknown."
    held = DataDirectory(tmp_path / "data")
    with pytest.raises(ValueError, match="is in use by process"):
        import_log(read_events(log), tmp_path / "data", NOW_US)
    held.release()


def erased_shop(tmp_path):
    """A data directory in which ann was erased, and a log of ann, of bob, and of a session that ann signed in to."""
    store = EventStore(tmp_path / "data" / "events.sqlite")
    steps = ErasureSteps(store, ErasureList.open(tmp_path / "data"))
    (receipt,) = steps.erase(["ann"]).values()
    store.close()
    path = tmp_path / "old.csv"
    rows = ["session:s1,s1,a,5", "ann,s1,b,6", "ann,s2,c,7", "bob,s3,d,8", "session:s4,s4,e,9"]
    rows += [f"ann,s5,f,{(receipt.until_us + 5_000_000) // 1_000_000}"]
    path.write_text("\n".join(["user_id,session_id,item_id,timestamp", *rows]) + "\n")
    return path


def test_events_of_an_erased_user_are_not_imported(tmp_path):
    """Nor those of a session that only the log knows as the user's, in whatever order. A returned user is imported."""
    (tmp_path / "data").mkdir()
    path = erased_shop(tmp_path)
    done = run("import", path, "--data", tmp_path / "data", "--json")
    assert json.loads(done.stdout) == {
        "accepted": 3,
        "duplicates": 0,
        "erased": 3,
        "rejected": {},
        "data": str(tmp_path / "data"),
    }
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], *reversed(lines[1:])]) + "\n")
    again = run("import", path, "--data", tmp_path / "data")
    assert "0 events stored" in again.stdout and "3 duplicates, 3 of erased users left out." in again.stdout
    (stored,) = scan_events(tmp_path / "data" / "events.sqlite")
    assert [row.event.item_id for row in stored] == ["d", "e", "f"]
    assert b"s1" not in (tmp_path / "data" / "events.sqlite").read_bytes()


def test_an_anonymous_event_imported_before_its_user_is_erased_with_it(tmp_path, monkeypatch):
    """The session is named in a later chunk than its first events."""
    monkeypatch.setattr("segue.serving.store.event_store._IMPORT_CHUNK", 1)
    (tmp_path / "data").mkdir()
    result = import_log(read_events(erased_shop(tmp_path)), tmp_path / "data", time.time_ns() // 1000 + 10**7)
    (stored,) = scan_events(tmp_path / "data" / "events.sqlite")
    assert [row.event.item_id for row in stored] == ["d", "e", "f"]
    assert (result.accepted, result.erased) == (4, 2), "one was stored, and erased later"
    assert b"s1" not in (tmp_path / "data" / "events.sqlite").read_bytes()


def test_an_import_needs_the_key_of_the_erasure_list(tmp_path):
    (tmp_path / "data").mkdir()
    path = erased_shop(tmp_path)
    (tmp_path / "data" / "erasures.key").unlink()
    for command in (
        ("import", path, "--data", tmp_path / "data"),
        ("train", path, "--model", "popularity", "--erased", tmp_path / "data", "--out", tmp_path / "run"),
    ):
        refused = run(*command, code=2)
        assert "erasures.key is missing: restore it from a backup." in " ".join(refused.stderr.split())
        assert "Traceback" not in refused.stderr
    assert not (tmp_path / "data" / "erasures.key").exists()
