"""Backup of a data directory: a consistent prefix, also under load, and erased users stay erased after a restore."""

import shutil
import threading
from pathlib import Path

import apsw
import pytest
from tests.serving.conftest import make_event

from segue.data.erasure_list import ErasureList
from segue.serving.administration import back_up as module
from segue.serving.administration.back_up import back_up
from segue.serving.experiments.attribution import AttributionRecorder
from segue.serving.experiments.report import build_report
from segue.serving.schemas.requests import Recommendation, RecommendResponse
from segue.serving.store.data_directory import DataDirectory
from segue.serving.store.event_store import AppendResult, EventStore

NOW_US = 2_000_000_000_000_000


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return a data directory with an event, a recorded list and an empty erasure list."""
    folder = tmp_path / "data"
    DataDirectory(folder).release()
    erasures = ErasureList.open(folder)
    store = EventStore(folder / "events.sqlite")
    store.append([[make_event("a", event_id="first")]])
    store.close()
    recorder = AttributionRecorder(folder / "attribution.sqlite", erasures.digest)
    recorder.record_impression(RecommendResponse("list", "v", [Recommendation("a", 1.0)], [], 0.1), None, None, None)
    recorder.close()
    return folder


def test_a_backup_is_a_data_directory_with_the_same_content(data, tmp_path):
    made = back_up(data, tmp_path / "deep" / "backup")
    assert (made.events, made.notices) == (1, [])
    copy = tmp_path / "deep" / "backup"
    assert copy.stat().st_mode & 0o777 == 0o700
    store = EventStore(copy / "events.sqlite")
    assert store.completely_checked and store.notices == []
    assert store.append([[make_event("a", event_id="first")]])[0] == [AppendResult(0, 1)]
    store.close()
    assert build_report(copy / "attribution.sqlite").cells[0].lists == 1
    assert ErasureList.open(copy).digest("user_id", "x") == ErasureList.open(data).digest("user_id", "x")


def test_backups_under_load_hold_every_event_acknowledged_before_and_whole_requests(data, tmp_path):
    store = EventStore(data / "events.sqlite")
    acknowledged: list[int] = []
    stop = threading.Event()

    def ingest() -> None:
        n = 0
        while not stop.is_set():
            store.append([[make_event("a", event_id=f"{n}-{i}") for i in range(3)]])
            acknowledged.append(n)
            n += 1

    thread = threading.Thread(target=ingest)
    thread.start()
    try:
        for cycle in range(8):
            while len(acknowledged) < 20 * (cycle + 1):
                stop.wait(0.001)
            before = len(acknowledged)
            back_up(data, tmp_path / f"backup-{cycle}")
            copy = EventStore(tmp_path / f"backup-{cycle}" / "events.sqlite")
            ids = {row.event.event_id for row in copy.events_after(0, 0, 10**6)} - {"first"}
            copy.close()
            requests = {id.split("-")[0] for id in ids}
            assert len(ids) == 3 * len(requests), "a request is in it completely or not at all"
            assert requests == {str(n) for n in range(len(requests))}, "a prefix"
            assert len(requests) >= before
    finally:
        stop.set()
        thread.join()
        store.close()


def test_a_user_erased_after_the_copy_of_the_events_is_in_the_copied_list(data, tmp_path, monkeypatch):
    """The list is copied last, so that no erasure falls between the two copies."""
    copy_database = module._copy_database

    def copy_and_erase(source: Path, target: Path) -> None:
        copy_database(source, target)
        if source.name == "events.sqlite":
            ErasureList.open(data).add([("user_id", "ann")], NOW_US)

    monkeypatch.setattr(module, "_copy_database", copy_and_erase)
    back_up(data, tmp_path / "backup")
    assert ErasureList.open(tmp_path / "backup").covers("ann", None, NOW_US - 1)


def test_erased_users_stay_erased_after_a_restore(data, tmp_path, run, open_server):
    """An event of the user that a client sends again after the restore is not stored either."""
    ErasureList.open(data).add([("user_id", "ann")], NOW_US)
    back_up(data, tmp_path / "backup")
    with open_server(tmp_path / "backup", run) as server:
        assert any("erased" in message for message in server.messages)
        assert server.web.get("/v1/users/ann").status_code == 404
        sent = {"item_id": "a", "user_id": "ann", "event_id": "again", "timestamp": 1_000_000_000}
        server.web.post("/v1/events", json=sent)
        assert server.web.get("/v1/users/ann").status_code == 404
        assert server.bytes_with("first") == []


def test_what_cannot_be_backed_up_is_refused_in_a_sentence(data, tmp_path):
    with pytest.raises(ValueError, match=r"nothing is not a server's data directory: it has no events\.sqlite"):
        back_up(tmp_path / "nothing", tmp_path / "backup")
    (tmp_path / "there").mkdir()
    with pytest.raises(ValueError, match="there exists already: choose another folder for the backup"):
        back_up(data, tmp_path / "there")
    connection = apsw.Connection(str(data / "events.sqlite"))
    connection.execute("UPDATE events SET item_id = 'b'")
    connection.close()
    with pytest.raises(ValueError, match="is damaged: start the server again, which repairs it, then back up"):
        back_up(data, tmp_path / "backup")
    assert not (tmp_path / "backup").exists() and not (tmp_path / "backup.writing").exists()


def test_unusable_recorded_lists_do_not_stop_a_backup(data, tmp_path):
    (data / "attribution.sqlite").write_bytes(b"no database" * 1000)
    made = back_up(data, tmp_path / "backup")
    assert made.events == 1
    assert made.notices == [
        f"{data / 'attribution.sqlite'} cannot be copied (file is not a database): the backup has no recorded lists."
    ]
    assert not (tmp_path / "backup" / "attribution.sqlite").exists()


def test_a_restored_server_that_is_killed_at_once_keeps_its_recorded_lists(data, tmp_path):
    back_up(data, tmp_path / "backup")
    recorder = AttributionRecorder(tmp_path / "backup" / "attribution.sqlite", lambda kind, name: name)
    recorder.flush()
    shutil.copytree(tmp_path / "backup", tmp_path / "killed")
    recorder.close()
    again = AttributionRecorder(tmp_path / "killed" / "attribution.sqlite", lambda kind, name: name)
    again.flush()
    assert again.notices == []
    assert build_report(again.path).cells[0].lists == 1
    again.close()
