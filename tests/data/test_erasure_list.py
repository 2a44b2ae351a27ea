"""Erasure list: no entry is lost to another writer, and a list or key that cannot be trusted is refused."""

import json
import os
import threading

import polars as pl
import pytest
from tests.support.disk_faults import Disk, recorded

from segue.data.erasure_list import KEY, LIST, ErasureList
from segue.data.readers.events import read_events

USERS = [("user_id", f"u{i}") for i in range(24)]


def listed(folder, users=USERS):
    entries = json.loads((folder / LIST).read_text())
    erasures = ErasureList.read(folder)
    return [key for key in users if erasures.digest(*key) in entries]


def in_threads(count, work):
    threads = [threading.Thread(target=work, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)


def test_concurrent_additions_lose_no_entry(tmp_path):
    """With one object, and with one for each writer, as in several processes."""
    shared = ErasureList.open(tmp_path)
    in_threads(12, lambda i: shared.add([USERS[i]], 5))
    in_threads(12, lambda i: ErasureList.read(tmp_path).add([USERS[12 + i]], 5))
    assert listed(tmp_path) == USERS
    assert sorted(path.name for path in tmp_path.iterdir()) == [LIST, KEY], "no temporary file is left"


def test_the_later_time_of_an_entry_stays(tmp_path):
    erasures = ErasureList.open(tmp_path)
    for time_us in (7, 9, 8):
        erasures.add([USERS[0]], time_us)
    assert erasures.erased_until_us(*USERS[0]) == ErasureList.read(tmp_path).erased_until_us(*USERS[0]) == 9


def test_a_list_of_an_older_version_is_read_and_completed(tmp_path):
    erasures = ErasureList.open(tmp_path)
    (tmp_path / LIST).write_text(json.dumps({erasures.digest(*USERS[0]): 5}))
    again = ErasureList.open(tmp_path)
    assert again.covers("u0", None, 5) and not again.covers("u0", None, 6)
    again.add([USERS[1]], 5)
    assert listed(tmp_path) == USERS[:2]
    assert "check" in json.loads((tmp_path / LIST).read_text())


def refusal(folder, **options):
    for read in (ErasureList.read, ErasureList.open):
        with pytest.raises(ValueError) as error:
            read(folder, **options)
    return str(error.value)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b'{"a": "b"}', b'{"a": 1}', b"[" * 100_000, b"\xff\xfe"]
)
def test_a_damaged_list_is_one_sentence(tmp_path, content):
    ErasureList.open(tmp_path)
    (tmp_path / LIST).write_bytes(content)
    assert refusal(tmp_path) == f"{tmp_path / LIST} is damaged: restore it from a backup, or erased users come back."


def test_every_changed_letter_of_a_list_is_noticed(tmp_path):
    ErasureList.open(tmp_path).add(USERS[:3], 1_700_000_000_000_000)
    sound = (tmp_path / LIST).read_bytes()
    accepted = []
    for place, bit in [(place, bit) for place in range(len(sound)) for bit in (0, 4)]:
        changed = sound[:place] + bytes([sound[place] ^ 1 << bit]) + sound[place + 1 :]
        (tmp_path / LIST).write_bytes(changed)
        try:
            ErasureList.read(tmp_path)
            accepted.append(changed)
        except ValueError:
            pass
    assert all(json.loads(changed) == json.loads(sound) for changed in accepted), "only white space may change"


@pytest.mark.parametrize("content", [b"", b"00", b"x" * 64, b"0" * 62, b"0" * 66, b"\x00" * 64])
def test_a_damaged_key_is_refused_and_never_replaced(tmp_path, content):
    ErasureList.open(tmp_path).add(USERS[:1], 5)
    (tmp_path / KEY).write_bytes(content)
    assert refusal(tmp_path).startswith(f"{tmp_path / KEY} is damaged: it should hold 64 hexadecimal digits.")
    assert (tmp_path / KEY).read_bytes() == content


def test_a_key_of_another_directory_is_refused(tmp_path):
    ErasureList.open(tmp_path).add(USERS[:1], 5)
    ErasureList.open(tmp_path / "other")
    (tmp_path / KEY).write_bytes((tmp_path / "other" / KEY).read_bytes())
    assert "does not belong to" in refusal(tmp_path)


@pytest.mark.parametrize("has_list", [True, False])
def test_a_missing_key_is_refused_where_users_were_erased(tmp_path, has_list):
    ErasureList.open(tmp_path).add(USERS[:1], 5)
    (tmp_path / KEY).unlink()
    if not has_list:
        (tmp_path / LIST).unlink()
    assert refusal(tmp_path, has_erased=not has_list) == (
        f"{tmp_path / KEY} is missing: restore it from a backup. Without it erased users are not recognized, and come "
        "back."
    )
    assert not (tmp_path / KEY).exists()


def test_an_unreadable_key_and_list_are_one_sentence(tmp_path):
    ErasureList.open(tmp_path)
    (tmp_path / LIST).mkdir()
    assert refusal(tmp_path) == f"{tmp_path / LIST} cannot be read (Is a directory)."
    (tmp_path / KEY).unlink()
    (tmp_path / KEY).mkdir()
    assert refusal(tmp_path) == f"{tmp_path / KEY} cannot be read (Is a directory)."


def test_a_key_is_private_from_its_first_byte_and_another_mode_is_reported(tmp_path):
    modes = []
    real = os.fchmod
    old = os.umask(0)
    try:
        os.fchmod = lambda handle, mode: (real(handle, mode), modes.append((mode, os.fstat(handle).st_size)))
        erasures = ErasureList.open(tmp_path)
    finally:
        os.fchmod = real
        os.umask(old)
    assert modes == [(0o600, 0)]
    assert erasures.warning() is None
    (tmp_path / KEY).chmod(0o640)
    assert erasures.warning() == (
        f"{tmp_path / KEY} can be read by other users of this machine, who could recognize erased ids: chmod 600 it."
    )


def test_a_failed_write_adds_nothing_and_a_repeat_does(tmp_path, monkeypatch):
    erasures = ErasureList.open(tmp_path)
    erasures.add(USERS[:1], 5)
    real = os.replace
    monkeypatch.setattr(os, "replace", lambda *paths: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        erasures.add(USERS[1:2], 5)
    assert not erasures.covers("u1", None, 5)
    monkeypatch.setattr(os, "replace", real)
    erasures.add(USERS[1:2], 5)
    assert listed(tmp_path) == USERS[:2]


def test_a_power_cut_leaves_the_old_list_or_the_new_one(tmp_path):
    """Also at the first start: a key is whole or absent, and never absent beside a list."""
    folder, disk, states = tmp_path / "data", Disk(tmp_path), 0
    operations = recorded(
        lambda: [ErasureList.open(folder), *(ErasureList.open(folder).add([key], 5) for key in USERS[:3])]
    )
    key = (folder / KEY).read_bytes()
    acknowledged = [n for n, (name, about) in enumerate(operations) if name == "replace" and about[1].endswith(LIST)]
    for number, (name, about) in enumerate(operations):
        disk.do(name, about)
        for files, _ in disk.states():
            states += 1
            names = {os.path.basename(path): content for path, content in files.items()}
            assert names.get(KEY, key) == key
            if LIST in names:
                assert KEY in names
                entries = json.loads(names[LIST])
                at_least = sum(1 for n in acknowledged if n + 1 < number)
                assert len(entries) - 1 >= at_least, "an acknowledged entry is lost"
            else:
                assert number <= acknowledged[0] + 1
    assert states > 30


def test_leftovers_of_a_killed_write_are_removed(tmp_path):
    ErasureList.open(tmp_path)
    (tmp_path / f"{LIST}.writing").write_text("{")
    ErasureList.open(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [KEY]


def log_of(*rows):
    frame = pl.DataFrame(
        {"user_id": [r[0] for r in rows], "session_id": [r[1] for r in rows], "item_id": [r[2] for r in rows]}
    )
    return read_events(frame.with_columns(timestamp=pl.from_epoch(pl.Series(range(len(rows))) * 1_000_000, "us")))


@pytest.mark.parametrize("session", ["s1", "s2"])
def test_sessions_of_an_erased_user_are_filtered_out_of_a_log(tmp_path, session):
    """A session that the server never met is known from the log itself."""
    erasures = ErasureList.open(tmp_path)
    erasures.add([("user_id", "ann")], 3_000_000)
    log = log_of(
        ("session:s1", "s1", "a"), ("ann", session, "b"), ("session:s1", "s1", "c"), ("bob", "s3", "d"),
        ("session:s1", "s1", "e"), ("ann", "s4", "f"),
    )  # fmt: skip
    kept = erasures.filter_log(log).frame["item_id"].to_list()
    assert kept == (["d", "e", "f"] if session == "s1" else ["a", "c", "d", "e", "f"])


def test_an_empty_list_covers_nothing_and_changes_no_log(tmp_path):
    erasures = ErasureList.open(tmp_path)
    log = log_of(("ann", "s", "a"))
    assert not erasures.covers("ann", "s", -5)
    assert erasures.erased_until_us("user_id", "ann") is None
    assert erasures.filter_log(log) is log
    assert len(erasures) == 0
    erasures.add([("user_id", "bob")], 10**12)
    assert erasures.filter_log(log) is log, "no user of it is erased"
    assert len(erasures) == 1


def test_an_event_is_covered_by_its_user_or_else_by_its_session(tmp_path):
    erasures = ErasureList.open(tmp_path)
    erasures.add([("user_id", "ann")], 5)
    erasures.add([("session_id", "s")], 7)
    assert erasures.covers("ann", None, 5) and not erasures.covers("ann", None, 6)
    assert erasures.covers(None, "s", 7) and not erasures.covers(None, "s", 8)
    assert not erasures.covers("bob", "s", 1), "a session of another user stays"
    assert not erasures.covers(None, "ann", 1) and not erasures.covers(None, None, 0)
    assert not erasures.covers("bob", None, -1), "no time is before all erasures"


def test_a_digest_is_known_by_itself(tmp_path):
    erasures = ErasureList.open(tmp_path)
    erasures.add([USERS[0]], 5)
    digest = erasures.digest(*USERS[0])
    assert (len(digest), erasures.digest_erased_until_us(digest)) == (32, 5)
    assert erasures.digest_erased_until_us("0" * 32) is None
    assert erasures.digest("session_id", "u0") != digest


def test_a_log_without_times_loses_all_events_of_an_erased_user(tmp_path):
    erasures = ErasureList.open(tmp_path)
    erasures.add([("user_id", "ann")], 1)
    frame = pl.DataFrame({"user_id": ["ann", "bob", "ann"], "item_id": ["a", "b", "c"]})
    log = read_events(frame)
    assert not log.has_times
    assert erasures.filter_log(log).frame["item_id"].to_list() == ["b"]


def test_an_event_at_the_time_of_the_erasure_is_left_out(tmp_path):
    erasures = ErasureList.open(tmp_path)
    erasures.add([("user_id", "ann")], 1_000_000)
    log = log_of(("ann", None, "a"), ("ann", None, "b"), ("ann", None, "c"))
    assert erasures.filter_log(log).frame["item_id"].to_list() == ["c"]


def test_a_listed_session_is_left_out_where_it_stands_for_a_user(tmp_path):
    erasures = ErasureList.open(tmp_path)
    erasures.add([("session_id", "s1")], 1_500_000)
    log = log_of(("session:s1", "s1", "a"), ("s1", None, "b"), ("session:s1", "s1", "c"), ("session:s2", "s2", "d"))
    assert erasures.filter_log(log).frame["item_id"].to_list() == ["b", "c", "d"]


def test_the_latest_erasure_of_a_linked_session_counts(tmp_path):
    """By two of its users, and by its own entry."""
    erasures = ErasureList.open(tmp_path)
    erasures.add([("user_id", "ann")], 2_000_000)
    erasures.add([("user_id", "bob")], 4_000_000)
    rows = [("ann", "s", "x"), ("bob", "s", "y"), *(("session:s", "s", item) for item in "abcd")]
    log = log_of(*rows)
    assert erasures.filter_log(log).frame["item_id"].to_list() == ["d"]
    erasures.add([("session_id", "s")], 5_000_000)
    assert erasures.filter_log(log).frame["item_id"].to_list() == []


def test_a_session_that_was_met_after_the_erasure_stays(tmp_path):
    erasures = ErasureList.open(tmp_path)
    erasures.add([("user_id", "ann")], 0)
    log = log_of(("session:s", "s", "a"), ("ann", "s", "b"), ("session:s", "s", "c"))
    assert erasures.filter_log(log).frame["item_id"].to_list() == ["a", "b", "c"]
    erasures.add([("user_id", "ann")], 1_000_000)
    assert erasures.filter_log(log).frame["item_id"].to_list() == ["c"]


def test_a_session_id_that_users_share_is_known_by_both_names(tmp_path):
    """A reader splits it into one session of each user."""
    erasures = ErasureList.open(tmp_path)
    erasures.add([("user_id", "ann")], 10_000_000)
    log = log_of(("ann", "s", "a"), ("bob", "s", "b"), ("session:s", None, "c"), ("session:ann/s", None, "d"))
    assert log.frame["session_id"].to_list()[0] == "ann/s"
    assert erasures.filter_log(log).frame["item_id"].to_list() == ["b"]


def test_events_before_1970_of_other_users_stay(tmp_path):
    """The time of an erasure is none for them, and not the start of all times."""
    erasures = ErasureList.open(tmp_path)
    erasures.add([("user_id", "ann")], 5)
    log = log_of(("ann", None, "a"), ("bob", None, "b"))
    log = log.with_frame(log.frame.with_columns(pl.col("timestamp") - 10_000_000))
    assert log.frame["timestamp"].max() < 0
    assert erasures.filter_log(log).frame["item_id"].to_list() == ["b"]
