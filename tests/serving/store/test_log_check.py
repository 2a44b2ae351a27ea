"""Damage of the event log: pages, indexes and the write-ahead log are checked, repaired, or refused in a sentence."""

import os
import random
import re
import shutil
import struct
import subprocess
import sys
import time

import apsw
import numpy as np
import pytest

from segue.serving.store import event_store, wal_check
from segue.serving.store.background_check import BackgroundCheck
from segue.serving.store.event import Event
from segue.serving.store.event_reader import EventReader
from segue.serving.store.event_store import AppendResult, EventStore
from segue.serving.store.file_digest import digest_path, matches_digest, remove_digest
from segue.serving.store.log_check import DamagedLogError, damaged_rows
from segue.serving.store.sqlite import COLUMNS

COUNT = 600


@pytest.fixture(scope="module")
def filled(tmp_path_factory, event):
    """Return a closed log and its events."""
    path = tmp_path_factory.mktemp("filled") / "log"
    store = EventStore(path)
    events = [event(f"item-{i}", f"user-{i % 9}", event_id=f"id-{i}", session_id=f"s-{i // 5}") for i in range(COUNT)]
    store.append([events])
    store.close()
    return path, events


@pytest.fixture
def log(filled, tmp_path):
    """Return a copy of the closed log."""
    path = tmp_path / "log"
    shutil.copyfile(filled[0], path)
    shutil.copyfile(digest_path(filled[0]), digest_path(path))
    return path


def root_page(path, name):
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    page = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (name,)).get
    connection.close()
    return page


def lose_index_entry(path, index):
    """Remove an index entry of the row 17 and no other trace of it, as a damaged page may."""
    connection = apsw.Connection(str(path))
    columns = connection.execute("SELECT sql FROM sqlite_schema WHERE name = ?", (index,)).get
    connection.execute("PRAGMA writable_schema = ON").fetchall()
    table = f"CREATE INDEX {index} ON events{re.search(r'[(].*[)]', columns)[0]} WHERE seq <> 17"
    connection.execute("DELETE FROM sqlite_schema WHERE name = ?", (index,))
    connection.execute("PRAGMA writable_schema = RESET").fetchall()
    connection.execute(table)
    connection.execute("PRAGMA writable_schema = ON").fetchall()
    connection.execute("UPDATE sqlite_schema SET sql = ? WHERE name = ?", (columns, index))
    connection.close()


def change_index_key(path, index, old, new):
    """Change the first key with a text in a page of an index."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    pages = [row[0] for row in connection.execute("SELECT pageno FROM dbstat WHERE name = ?", (index,))]
    connection.close()
    raw = bytearray(path.read_bytes())
    for page in pages:
        place = raw.find(old, (page - 1) * 4096, page * 4096)
        if place >= 0:
            raw[place : place + len(new)] = new
            break
    path.write_bytes(raw)


@pytest.mark.parametrize("was_killed", [False, True])
@pytest.mark.parametrize("index", ["once", "by_user", "by_session"])
def test_an_index_that_lost_an_entry_is_built_again(log, filled, index, was_killed):
    lose_index_entry(log, index)
    if was_killed:
        remove_digest(log)
    store = EventStore(log)
    assert [row.event.item_id for row in store.newest("user_id", "user-7", 999)] == [
        e.item_id for e in filled[1] if e.user_id == "user-7"
    ]
    assert [row.event.item_id for row in store.newest("session_id", "s-3", 9)] == [f"item-{i}" for i in range(15, 20)]
    assert store.append([filled[1]])[0] == [AppendResult(0, COUNT)]
    assert store.notices == [f"{log} was damaged: its indexes were built again from the sound rows."]
    store.close()
    again = EventStore(log)
    assert again.notices == [] and again.num_damaged == 0
    again.close()


def test_an_event_that_was_stored_twice_meanwhile_is_set_aside(log, filled):
    lose_index_entry(log, "once")
    connection = apsw.Connection(str(log))
    row = list(connection.execute(f"SELECT {COLUMNS} FROM events WHERE seq = 17").fetchone())
    again = [9999, *row[1:-1], Event(*row[1:-1]).checksum(9999)]
    connection.execute(f"INSERT INTO events VALUES ({', '.join('?' * len(again))})", again)
    connection.close()
    store = EventStore(log)
    assert (store.count(), store.num_damaged) == (COUNT, 1)
    assert store.append([filled[1]])[0] == [AppendResult(0, COUNT)]
    store.close()


def test_an_index_damaged_while_running_is_repaired_by_the_next_event(log, filled, event):
    store = EventStore(log)
    other = apsw.Connection(str(log))
    other.execute("UPDATE events SET event_id = 'another' WHERE seq = 4")  # the checksum stays that of the old row
    other.close()
    outcomes, stored = store.append([[event("x", event_id="another"), event("y", event_id="new")]])
    assert outcomes == [AppendResult(2, 0)]
    assert store.num_damaged == 1
    assert [row.event.event_id for row in stored] == ["another", "new"]
    store.close()


def test_damage_beyond_repair_while_running_refuses_events_without_trying_again(log, event, monkeypatch):
    store = EventStore(log)
    tries = []

    def fail(connection):
        tries.append(1)
        raise DamagedLogError("broken")

    monkeypatch.setattr(event_store, "repair", fail)
    other = apsw.Connection(str(log))
    other.execute("UPDATE events SET event_id = 'another' WHERE seq = 4")
    other.close()
    for _ in range(3):
        with pytest.raises(apsw.CorruptError):
            store.append([[event("x", event_id="another")]])
    assert len(tries) == 1
    with pytest.raises(apsw.CorruptError):
        store.probe()
    assert store.notices == [f"{log} is damaged beyond its rows (broken): restore it from a backup."]
    store.close()


def test_damaged_pages_of_the_rows_are_refused_and_nothing_is_changed(log):
    raw = bytearray(log.read_bytes())
    start = (root_page(log, "events") - 1) * 4096
    raw[start + 12 : start + 60] = os.urandom(48)
    log.write_bytes(raw)
    with pytest.raises(ValueError, match=r"is damaged beyond its rows .*: restore it from a backup"):
        EventStore(log)
    assert log.read_bytes() == raw


def test_a_log_with_many_damaged_rows_is_refused_instead_of_emptied(log):
    connection = apsw.Connection(str(log))
    connection.execute("UPDATE events SET item_id = 'other' WHERE seq < 300")
    connection.close()
    with pytest.raises(ValueError, match="299 of 600 rows fail their checksums"):
        EventStore(log)
    reader = EventReader(log)
    assert reader.count() == COUNT
    reader.close()


def test_a_long_log_after_a_crash_is_checked_in_the_background(log, filled, monkeypatch):
    change_index_key(log, "by_user", b"user-7", b"user-x")
    remove_digest(log)
    monkeypatch.setattr(event_store, "CHECKED_ROWS", 5)
    store = EventStore(log)
    assert not store.completely_checked
    before = store.newest("user_id", "user-7", 999)
    assert len(before) < len([e for e in filled[1] if e.user_id == "user-7"])
    assert store.newest("user_id", "user-x", 999) == [], "the row that the index names is of another user"
    check = BackgroundCheck(log, store.repair, at_once=True)
    deadline = time.monotonic() + 20
    while check.num_checks == 0 and time.monotonic() < deadline:
        time.sleep(0.01)
    check.close()
    assert store.notices == [f"{log} was damaged: its indexes were built again from the sound rows."]
    assert [row.event.item_id for row in store.newest("user_id", "user-7", 999)] == [
        e.item_id for e in filled[1] if e.user_id == "user-7"
    ]
    store.close()


def test_the_background_check_ends_at_once_and_finds_a_sound_log_sound(log):
    store = EventStore(log)
    repaired = []
    check = BackgroundCheck(log, lambda: repaired.append(1), at_once=True)
    deadline = time.monotonic() + 20
    while check.num_checks == 0 and time.monotonic() < deadline:
        time.sleep(0.01)
    began = time.monotonic()
    check.close()
    assert time.monotonic() - began < 5
    assert check.num_checks == 1 and repaired == []
    store.close()


def test_a_sound_log_is_opened_without_a_complete_check(log, monkeypatch):
    complete = []
    real = event_store.is_sound
    monkeypatch.setattr(event_store, "is_sound", lambda c, complete_: complete.append(1) or real(c, complete=True))
    store = EventStore(log)
    assert complete == [] and store.completely_checked
    assert matches_digest(log) is None, "it may change now"
    store.close()
    assert matches_digest(log) is True


FILL = """
import os, sys
from segue.serving.store.event_store import EventStore
from segue.serving.store.event import validate_event
from segue.serving.schemas.requests import EventIn
store = EventStore(sys.argv[1])
for n in range(60):
    store.append([[validate_event(EventIn(item_id="a", user_id="u", event_id=str(n)), 10**15)]])
os._exit(0)
"""


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """Return the folder of a log whose process was killed, with a write-ahead log of 60 commits."""
    folder = tmp_path_factory.mktemp("killed")
    subprocess.run([sys.executable, "-c", FILL, str(folder / "log")], check=True)
    return folder


@pytest.fixture
def crashed(killed, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(killed, folder)
    return folder / "log"


def test_a_write_ahead_log_of_a_killed_server_is_read_completely(crashed):
    assert wal_check.unread_pages(crashed) == 0
    store = EventStore(crashed)
    assert store.count() == 60 and store.notices == []
    store.close()
    assert wal_check.unread_pages(crashed) == 0, "there is none after a stop"


@pytest.mark.parametrize("with_index", [True, False], ids=["killed", "power cut"])
@pytest.mark.parametrize("seed", range(12))
def test_every_flipped_bit_of_a_write_ahead_log_is_noticed(crashed, seed, with_index):
    if not with_index:
        crashed.with_name("log-shm").unlink()
    wal = crashed.with_name("log-wal")
    raw = bytearray(wal.read_bytes())
    rng = random.Random(seed)
    place = rng.randrange(32) if seed < 3 else rng.randrange(len(raw))
    raw[place] ^= 1 << rng.randrange(8)
    wal.write_bytes(raw)
    assert wal_check.unread_pages(crashed) > 0
    store = EventStore(crashed)
    (notice,) = store.notices
    assert "pages at the end of the write-ahead log" in notice
    assert crashed.with_name("log-wal.unread").read_bytes() == raw
    store.close()


@pytest.mark.parametrize("left", [0, 31, 32, 32 + 4120 * 7, 32 + 4120 * 7 + 30])
def test_a_shortened_write_ahead_log_is_noticed(crashed, left):
    os.truncate(crashed.with_name("log-wal"), left)
    assert wal_check.unread_pages(crashed) > 0
    store = EventStore(crashed)
    assert len(store.notices) == 1
    store.close()


def test_a_removed_write_ahead_log_is_noticed(crashed):
    crashed.with_name("log-wal").unlink()
    assert wal_check.unread_pages(crashed) > 0
    store = EventStore(crashed)
    (notice,) = store.notices
    assert notice.endswith("may be missing. The unread log cannot be kept (No such file or directory).")
    store.close()


def test_pages_of_an_unfinished_commit_after_a_kill_are_no_damage(crashed):
    """The index file still tells what was committed: a write that a kill interrupted needs no notice."""
    with open(crashed.with_name("log-wal"), "ab") as file:
        file.write(crashed.with_name("log-wal").read_bytes()[32 : 32 + 24 + 1000])
    assert wal_check.unread_pages(crashed) == 0


def test_pages_left_over_from_an_earlier_log_are_no_damage(tmp_path, event):
    store = EventStore(tmp_path / "log")
    store.append([[event(event_id=str(n)) for n in range(200)]])
    store._write.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
    store.append([[event(event_id="last")]])
    for suffix in ("", "-wal", "-shm"):
        shutil.copyfile(tmp_path / f"log{suffix}", tmp_path / f"copy{suffix}")
    store.close()
    assert wal_check.unread_pages(tmp_path / "copy") == 0
    (tmp_path / "copy-shm").unlink()
    assert wal_check.unread_pages(tmp_path / "copy") == 0
    again = EventStore(tmp_path / "copy")
    assert again.count() == 201
    again.close()


def test_an_erasure_deletes_the_kept_write_ahead_log(crashed):
    raw = bytearray(crashed.with_name("log-wal").read_bytes())
    raw[5000] ^= 1
    crashed.with_name("log-wal").write_bytes(raw)
    store = EventStore(crashed)
    assert crashed.with_name("log-wal.unread").exists()
    store.erasure.compact()
    assert not crashed.with_name("log-wal.unread").exists()
    store.close()


def test_a_log_whose_damage_was_met_while_running_is_checked_at_the_next_start(log):
    store = EventStore(log)
    other = apsw.Connection(str(log))
    other.execute("UPDATE events SET item_id = 'other' WHERE seq = 8")
    other.close()
    assert store.num_left_out == 0
    assert all(row.event.item_id != "other" for row in store.events_after(0, 0, COUNT))
    assert store.num_left_out == 1
    store.close()
    assert matches_digest(log) is None
    again = EventStore(log)
    assert again.num_damaged == 1
    again.close()


@pytest.mark.parametrize("place", [0, 4, 12, 16, 40, 47, 48, 95, "short"])
def test_a_damaged_index_file_is_not_trusted(crashed, place):
    """Without a sound one the pages behind the last complete commit are unknown, and a whole log is complete."""
    os.truncate(crashed.with_name("log-wal"), 32 + 4120 * 7)
    assert wal_check.unread_pages(crashed) > 0
    index = crashed.with_name("log-shm")
    raw = bytearray(index.read_bytes())
    if place == "short":
        raw = raw[:135]
    else:
        raw[place] ^= 1
    index.write_bytes(raw)
    assert wal_check.unread_pages(crashed) == 0


@pytest.mark.parametrize("version", [3007000, 3007001])
@pytest.mark.parametrize("is_initialized", [True, False])
def test_an_index_file_of_another_format_is_not_trusted(crashed, version, is_initialized):
    """Both copies and their checksum agree."""
    os.truncate(crashed.with_name("log-wal"), 32 + 4120 * 7)
    index = crashed.with_name("log-shm")
    raw = bytearray(index.read_bytes())
    raw[:4], raw[12] = struct.pack("=I", version), is_initialized
    words = np.frombuffer(bytes(raw[:40]), np.uint32)[None]
    raw[40:48] = wal_check._checksums(words, np.zeros((1, 2), np.uint32))[0].astype("=u4").tobytes()
    raw[48:96] = raw[:48]
    index.write_bytes(raw)
    assert (wal_check.unread_pages(crashed) > 0) is (version == 3007000 and is_initialized)


def test_the_number_of_unread_pages_is_exact(crashed):
    """By the index file: committed pages without those that are in the database already."""
    pages = (crashed.with_name("log-wal").stat().st_size - 32) // 4120
    os.truncate(crashed.with_name("log-wal"), 32 + 4120 * (pages - 3))
    assert wal_check.unread_pages(crashed) == 3
    os.truncate(crashed.with_name("log-wal"), 0)
    assert wal_check.unread_pages(crashed) == pages
    raw = bytearray(crashed.with_name("log-shm").read_bytes())
    raw[96:100] = struct.pack("=I", pages - 2)
    crashed.with_name("log-shm").write_bytes(raw)
    assert wal_check.unread_pages(crashed) == 2
    raw[96:100] = struct.pack("=I", pages + 5)
    crashed.with_name("log-shm").write_bytes(raw)
    assert wal_check.unread_pages(crashed) == 0, "more than all of them are not possible"


def test_the_number_of_unread_pages_without_an_index_file(crashed):
    wal = crashed.with_name("log-wal")
    crashed.with_name("log-shm").unlink()
    raw = bytearray(wal.read_bytes())
    pages = (len(raw) - 32) // 4120
    raw[32 + 4120 * (pages - 4) + 100] ^= 1
    wal.write_bytes(raw)
    assert wal_check.unread_pages(crashed) == 4, "the damaged page and those behind it"
    wal.write_bytes(raw + bytes(50))
    assert wal_check.unread_pages(crashed) == 5, "a part of a page counts as one"
    raw[0] ^= 1
    wal.write_bytes(raw)
    assert wal_check.unread_pages(crashed) == pages
    wal.write_bytes(raw + bytes(1))
    assert wal_check.unread_pages(crashed) == pages + 1
    wal.unlink()
    assert wal_check.unread_pages(crashed) == 0


@pytest.mark.parametrize("chunk", [9, 10])
def test_a_write_ahead_log_is_read_in_chunks(crashed, chunk, monkeypatch):
    monkeypatch.setattr(wal_check, "_CHUNK_FRAMES", chunk)
    crashed.with_name("log-shm").unlink()
    assert wal_check.unread_pages(crashed) == 0
    raw = bytearray(crashed.with_name("log-wal").read_bytes())
    raw[32 + 4120 * 9 + 2000] ^= 1
    crashed.with_name("log-wal").write_bytes(raw)
    assert wal_check.unread_pages(crashed) == (len(raw) - 32) // 4120 - 9


def test_a_kept_write_ahead_log_is_on_disk(crashed, monkeypatch):
    synced, real = [], os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda handle: (synced.append(os.readlink(f"/proc/self/fd/{handle}")), real(handle))
    )
    assert wal_check.keep_copy(crashed) == "The unread log is kept as log-wal.unread."
    assert synced == [str(crashed.with_name("log-wal.unread"))]
    wal_check.remove_copy(crashed)
    wal_check.remove_copy(crashed)
    assert not crashed.with_name("log-wal.unread").exists()


def with_schema(path, table, old, new):
    """Change the text of a table's definition."""
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA writable_schema = ON").fetchall()
    connection.execute("UPDATE sqlite_schema SET sql = replace(sql, ?, ?) WHERE name = ?", (old, new, table)).fetchall()
    connection.execute("PRAGMA writable_schema = RESET").fetchall()
    connection.close()


def test_damage_of_another_table_is_refused_by_name_and_nothing_is_changed(log):
    EventStore(log).close()
    with_schema(log, "live_items", "cells TEXT NOT NULL", "cells TEXT         ")
    connection = apsw.Connection(str(log))
    connection.execute("INSERT INTO live_items VALUES ('a', 1, 0, 0, 0, 0, NULL, 0)").fetchall()
    connection.close()
    with_schema(log, "live_items", "cells TEXT         ", "cells TEXT NOT NULL")
    with pytest.raises(ValueError) as error:
        EventStore(log)
    assert str(error.value) == (
        f"{log} is damaged beyond its rows (NULL value in live_items.cells): restore it from a backup."
    )
    reader = EventReader(log)
    assert reader.count() == COUNT
    assert reader.rows("SELECT count(*) FROM sqlite_schema WHERE type = 'index' AND tbl_name = 'events'") == [(3,)]
    reader.close()


def test_damaged_pages_of_another_table_are_refused(log):
    EventStore(log).close()
    raw = bytearray(log.read_bytes())
    start = (root_page(log, "live_items") - 1) * 4096
    raw[start] = 77
    log.write_bytes(raw)
    with pytest.raises(ValueError, match=r"is damaged beyond its rows .*: restore it from a backup"):
        EventStore(log)


def test_few_damaged_rows_of_a_short_log_are_set_aside(tmp_path, event):
    """Ten of them, or a tenth of the rows."""
    store = EventStore(tmp_path / "log")
    store.append([[event(event_id=str(n)) for n in range(12)]])
    store.close()
    connection = apsw.Connection(str(tmp_path / "log"))
    connection.execute("UPDATE events SET value = 9 WHERE seq <= 10")
    connection.close()
    store = EventStore(tmp_path / "log")
    assert (store.num_damaged, store.count()) == (10, 2)
    assert store.rows("SELECT seq, value FROM damaged WHERE seq = 10") == [(10, 9.0)]
    store.close()
    connection = apsw.Connection(str(tmp_path / "log"))
    connection.execute("UPDATE events SET value = 9")
    connection.close()
    store = EventStore(tmp_path / "log")
    assert (store.num_damaged, store.count()) == (12, 0)
    store.close()


def test_a_tenth_of_the_rows_may_be_damaged(log):
    connection = apsw.Connection(str(log))
    connection.execute("UPDATE events SET value = 9 WHERE seq <= 60")
    connection.close()
    store = EventStore(log)
    assert (store.num_damaged, store.count()) == (60, COUNT - 60)
    store.close()


def test_only_rows_behind_a_number_are_compared_with_their_checksums(log):
    connection = apsw.Connection(str(log))
    connection.execute("UPDATE events SET value = 9 WHERE seq IN (5, 6, 600)")
    connection.execute("UPDATE events SET item_id = CAST(x'ff' AS TEXT) WHERE seq IN (7, 599)")
    assert list(damaged_rows(connection)) == [5, 6, 7, 599, 600]
    assert list(damaged_rows(connection, 5)) == [6, 7, 599, 600]
    assert list(damaged_rows(connection, 599)) == [600]
    connection.close()
