"""Steps of an erasure: interrupted at each by a full disk or a kill, and beside every other operation."""

import shutil
import threading
import time
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager

import apsw
import pytest

from segue.data.erasure_list import ErasureList
from segue.serving.administration import erase_user
from segue.serving.administration.erase_user import open_eraser
from segue.serving.administration.erasure_steps import ErasureSteps
from segue.serving.experiments.attribution import AttributionRecorder
from segue.serving.experiments.report import build_report
from segue.serving.schemas.problems import Problem
from segue.serving.schemas.requests import EventIn, Recommendation, RecommendResponse
from segue.serving.store.commit_listeners import CommitListeners
from segue.serving.store.event import validate_event
from segue.serving.store.event_erasure import EventErasure
from segue.serving.store.event_store import AppendResult, EventStore
from segue.serving.store.group_commit import GroupCommitWriter

CANARY = "canary-0451"
SESSION = f"{CANARY}-session"
NOW_US = time.time_ns() // 1000


class DataDir:
    """The storing half of a server on a data directory."""

    def __init__(self, folder, stack):
        folder.mkdir(exist_ok=True)
        self.folder, self.messages, self.forgotten = folder, [], []
        self.store = EventStore(folder / "events.sqlite")
        stack.callback(self.store.close)
        self.eraser = open_eraser(self.store, self.messages.append)
        self.steps = self.eraser.steps
        erasures = self.steps.erasures
        path = folder / "attribution.sqlite"
        self.recorder = AttributionRecorder(path, erasures.digest, erased_until_us=erasures.digest_erased_until_us)
        stack.callback(self.recorder.close)
        self.steps.listeners.forget = self.forgotten.extend
        self.steps.listeners.set_listeners([self.recorder.record_events])
        self.writer = GroupCommitWriter(self.store, self.steps.listeners.on_commit, self.steps.without_erased)
        stack.callback(self.writer.close)
        self.eraser.start(self.writer, self.recorder)
        stack.callback(self.eraser.close)

    def submit(self, *sent):
        events = [EventIn(**{"item_id": "a", **event}) for event in sent]
        return self.writer.submit([validate_event(event, time.time_ns() // 1000) for event in events])

    def send(self, *sent):
        return self.submit(*sent).result(20)

    def erase(self, user=CANARY):
        return self.eraser.submit(user).result(20)

    def record(self, key=("user_id", CANARY), time_us=None):
        response = RecommendResponse(f"list-{time.time_ns()}", "v", [Recommendation("a", 1.0)], [], 1.0)
        self.recorder.record_impression(response, None, key, None, time_us)

    def fill(self):
        """Store 5 events of the canary, of which 2 have only its session, and 3 recorded lists."""
        self.send(*({"user_id": f"u{i}", "context": {"x": "y" * 200}} for i in range(40)))
        self.send({"session_id": SESSION}, {"session_id": SESSION, "user_id": CANARY})
        self.send({"session_id": SESSION}, {"user_id": CANARY, "context": {"mail": f"{CANARY}@shop"}})
        self.send({"user_id": CANARY}, {"user_id": "bob", "session_id": "bobs"})
        self.record()
        self.record(("session_id", SESSION))
        self.record()
        self.recorder.flush()


@contextmanager
def opened(folder):
    with ExitStack() as stack:
        yield DataDir(folder, stack)


def bytes_of(folder, text=CANARY):
    return [path.name for path in folder.iterdir() if path.is_file() and text.encode() in path.read_bytes()]


def counts(record):
    return record.events, record.sessions, record.attribution_rows, record.compacted


WHOLE = (5, 1, 3, True)
STEPS = {
    "listed": (ErasureList, "add_digests"),
    "deleted": (EventErasure, "delete"),
    "forgotten": (CommitListeners, "on_erase"),
    "unrecorded": (AttributionRecorder, "forget_digests"),
    "compacted": (EventErasure, "compact"),
    "receipted": (EventErasure, "give_receipts"),
}
POINTS = [(step, after) for step in STEPS for after in (False, True)]


def at(monkeypatch, step, after, action):
    """Run an action before or after a step, once."""
    owner, name = STEPS[step]
    real, left = getattr(owner, name), [1]

    def call(*arguments):
        if not after and left and left.pop():
            action()
        result = real(*arguments)
        if after and left and left.pop():
            action()
        return result

    monkeypatch.setattr(owner, name, call)


def full():
    raise apsw.FullError("database or disk is full")


@pytest.mark.parametrize(("step", "after"), POINTS)
def test_an_interrupted_erasure_is_whole_after_its_repeat(tmp_path, monkeypatch, step, after):
    """A full disk at every point: a refusal, then the counts of both attempts."""
    with opened(tmp_path / "data") as data:
        data.fill()
        at(monkeypatch, step, after, full)
        with pytest.raises(Problem, match="not complete") as refused:
            data.erase()
        assert refused.value.status == 503
        if step in ("unrecorded", "compacted", "receipted"):
            assert {("user_id", CANARY), ("session_id", SESSION)} <= set(data.forgotten), "memory as the log"
        assert counts(data.erase()) == WHOLE
        assert bytes_of(data.folder) == []
        old = {"timestamp": 5, "session_id": SESSION}
        assert data.send(old, {**old, "user_id": CANARY}) == AppendResult(0, 0, 2)
        assert data.store.count() == 41 and data.store.newest("user_id", "bob", 5) != []


@pytest.mark.parametrize(("step", "after"), POINTS)
def test_a_killed_erasure_is_completed_at_the_start(tmp_path, monkeypatch, step, after):
    """The files as kill -9 leaves them at every point."""
    killed, repeated = tmp_path / "killed", []
    with opened(tmp_path / "data") as data:
        data.fill()
        at(monkeypatch, step, after, lambda: shutil.copytree(data.folder, killed))
        assert counts(data.erase()) == WHOLE
    with opened(killed) as data:
        if (step, after) != ("listed", False):
            assert bytes_of(killed) == [], "the start finishes what was listed"
            assert data.store.newest("session_id", SESSION, 5) == data.store.newest("user_id", CANARY, 5) == []
            assert data.send({"session_id": SESSION, "timestamp": 5}) == AppendResult(0, 0, 1)
        repeated.append(data.erase())
    assert repeated[0].events == 5 and repeated[0].sessions == 1 and repeated[0].compacted
    assert bytes_of(killed) == []


def test_a_repeated_request_gives_the_receipt_again(tmp_path):
    """Its first receipt may be lost on the way. A user who has come back is another erasure."""
    with opened(tmp_path / "data") as data:
        data.fill()
        first, again = data.erase(), data.erase()
        assert counts(first) == counts(again) == WHOLE
        assert again.until_us > first.until_us
        data.send({"user_id": CANARY})
        assert counts(data.erase()) == (1, 0, 0, True)


def test_erasures_that_wait_together_share_one_compaction(tmp_path, monkeypatch):
    compactions, going = [], threading.Event()
    real = EventErasure.compact
    monkeypatch.setattr(EventErasure, "compact", lambda self: (compactions.append(1), real(self))[1])
    with opened(tmp_path / "data") as data:
        data.fill()
        data.send(*({"user_id": f"{CANARY}-{i}"} for i in range(200)))
        data.writer.run(lambda store: going.wait(10))
        futures = [data.eraser.submit(f"{CANARY}-{i}") for i in range(200)]
        same = [data.eraser.submit(CANARY) for _ in range(3)]
        gone = data.eraser.submit(f"{CANARY}-0")
        gone.cancel()  # a client that hangs up
        going.set()
        assert [future.result(20).events for future in futures] == [1] * 200
        assert [counts(future.result(20)) for future in same] == [WHOLE] * 3
        assert len(compactions) == 1
        entries = ErasureList.read(data.folder)
        assert all(entries.erased_until_us("user_id", f"{CANARY}-{i}") for i in range(200))
        assert bytes_of(data.folder) == []


def test_events_on_their_way_do_not_overtake_an_erasure(tmp_path):
    """Events of other writers are queued before, between and behind; the server stamps some of them."""
    with opened(tmp_path / "data") as data:
        data.fill()
        stop, sent = threading.Event(), []

        def ingest(name):
            while not stop.is_set():
                sent.append(data.submit({"user_id": CANARY, "timestamp": 5}, {"session_id": SESSION, "timestamp": 5}))
                sent.append(data.submit({"user_id": "carl"}, {"session_id": f"{SESSION}-{name}", "user_id": CANARY}))
                sent[-1].result(20)

        threads = [threading.Thread(target=ingest, args=(name,)) for name in range(3)]
        for thread in threads:
            thread.start()
        time.sleep(0.05)
        until = data.erase().until_us
        stop.set()
        for thread in threads:
            thread.join(20)
        results = [future.result(20) for future in sent]
        left = list(data.store.user_events(CANARY))
        assert all(row.event.time_us > until for row in left)
        assert data.store.newest("session_id", SESSION, 5) == []
        assert sum(one.accepted + one.duplicates + one.erased for one in results) == 2 * len(sent)
        data.erase()
        assert bytes_of(data.folder) == []


def test_a_late_event_that_names_a_session_erases_that_session_too(tmp_path):
    other = "session-of-canary"
    with opened(tmp_path / "data") as data:
        data.fill()
        data.send({"session_id": other, "timestamp": 5}, {"session_id": other})
        data.erase()
        assert len(data.store.newest("session_id", other, 5)) == 2, "not known as the user's"
        late = {"session_id": other, "timestamp": 6}
        assert data.send({**late, "user_id": CANARY}, late) == AppendResult(0, 0, 2)
        assert data.store.newest("session_id", other, 5) == []
        assert ("session_id", other) in data.forgotten
        assert data.send({"session_id": other}).accepted == 1, "a new visit is another visitor"
    with opened(tmp_path / "data"):
        pass
    with opened(tmp_path / "data") as data:
        assert len(data.store.newest("session_id", other, 5)) == 1


def test_events_with_a_clock_ahead_do_not_come_back(tmp_path):
    ahead = {"user_id": CANARY, "timestamp": time.time() + 200}
    with opened(tmp_path / "data") as data:
        data.fill()
        data.send(ahead)
        assert data.erase().events == 6
        assert data.send(ahead) == AppendResult(0, 0, 1)


def test_a_pending_list_of_an_erased_user_is_not_recorded(tmp_path):
    with opened(tmp_path / "data") as data:
        data.fill()
        began_us = time.time_ns() // 1000
        assert data.erase().attribution_rows == 3
        data.record(time_us=began_us)  # requested before the erasure, scored after it
        data.record(("session_id", SESSION), began_us)
        data.record()
        data.recorder.flush()
        assert sum(cell.lists for cell in build_report(data.recorder.path).cells) == 1


def test_an_erasure_beside_a_report_and_a_backup(tmp_path):
    """A backup holds the write-ahead log: the receipt says so, and the rest follows by itself."""
    with opened(tmp_path / "data") as data:
        data.fill()
        reader = apsw.Connection(str(data.store.path), flags=apsw.SQLITE_OPEN_READONLY)
        reading = reader.execute("SELECT * FROM events")
        next(reading)
        report = threading.Thread(target=lambda: [build_report(data.recorder.path) for _ in range(50)])
        report.start()
        record = data.erase()
        report.join(20)
        assert (record.events, record.attribution_rows, record.compacted) == (5, 3, False)
        assert data.store.erasure.compaction_due
        backup = apsw.Connection(str(tmp_path / "backup.sqlite"))
        with backup.backup("main", reader, "main") as copy:
            copy.step()
        backup.close()
        reading.close()
        reader.close()
        deadline = time.monotonic() + 20
        while bytes_of(data.folder) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert bytes_of(data.folder) == []
    for name in ("events.sqlite-wal", "events.sqlite.crc"):
        (tmp_path / "data" / name).unlink(missing_ok=True)
    shutil.copy(tmp_path / "backup.sqlite", tmp_path / "data" / "events.sqlite")
    with opened(tmp_path / "data") as data:
        assert bytes_of(data.folder) == [] and data.store.count() == 41


def test_a_restored_backup_brings_no_anonymous_session_back(tmp_path):
    """Not even of a backup from before the session had a user, with rows that are damaged."""
    with opened(tmp_path / "data") as data:
        data.send(
            {"session_id": SESSION}, {"session_id": SESSION}, {"user_id": f"{CANARY}-damaged"}, {"user_id": "bob"}
        )
    path = tmp_path / "data" / "events.sqlite"
    connection = apsw.Connection(str(path))
    connection.execute("INSERT INTO damaged SELECT * FROM events WHERE seq = 3; DELETE FROM events WHERE seq = 3")
    connection.close()
    (tmp_path / "data" / "events.sqlite.crc").unlink(missing_ok=True)
    shutil.copy(path, tmp_path / "backup")
    with opened(tmp_path / "data") as data:
        data.send({"session_id": SESSION, "user_id": CANARY})
        assert (data.erase().events, data.erase(f"{CANARY}-damaged").events) == (3, 1)
    (tmp_path / "data" / "events.sqlite.crc").unlink(missing_ok=True)
    shutil.copy(tmp_path / "backup", path)
    with opened(tmp_path / "data") as data:
        assert data.messages == [f"2 erased users or sessions were in {path} again, and were erased from it."]
        assert data.store.count() == 1 and bytes_of(data.folder) == []


def test_a_lost_list_is_restored_from_the_log(tmp_path):
    with opened(tmp_path / "data") as data:
        data.fill()
        data.erase()
    (tmp_path / "data" / "erasures.json").unlink()
    with opened(tmp_path / "data") as data:
        assert len(data.messages) == 1 and "were not in the erasure list, and were added" in data.messages[0]
        assert data.send({"user_id": CANARY, "timestamp": 5}) == AppendResult(0, 0, 1)
    (tmp_path / "data" / "erasures.json").unlink()
    (tmp_path / "data" / "erasures.key").unlink()
    with pytest.raises(ValueError, match="is missing: restore it from a backup"), opened(tmp_path / "data"):
        pass


def test_a_start_without_room_for_the_deletion_is_refused(tmp_path, monkeypatch):
    with opened(tmp_path / "data") as data:
        data.fill()
        shutil.copytree(data.folder, tmp_path / "killed")
        data.steps.erasures.add([("user_id", CANARY)], NOW_US + 10**9)
        shutil.copy(data.folder / "erasures.json", tmp_path / "killed")
    at(monkeypatch, "deleted", False, full)
    with pytest.raises(ValueError, match="free space and start again"), opened(tmp_path / "killed"):
        pass
    at(monkeypatch, "compacted", False, full)
    with opened(tmp_path / "killed") as data:
        assert "the erasure is tried again later" in data.messages[-1]
        deadline = time.monotonic() + 20
        while bytes_of(data.folder) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert bytes_of(data.folder) == []


def test_a_deletion_is_forced_to_disk_after_events_that_were_not(tmp_path):
    with opened(tmp_path / "data") as data:
        data.writer.submit([validate_event(EventIn(item_id="a", user_id=CANARY), NOW_US)], force=False).result(20)
        levels = []
        real = ErasureSteps._forget
        ErasureSteps._forget = lambda self, targets: (
            levels.append(self.store._write.execute("PRAGMA synchronous").get), real(self, targets)
        )  # fmt: skip
        try:
            data.erase()
        finally:
            ErasureSteps._forget = real
        assert levels == [2]


def test_an_erasure_after_a_failed_fsync_is_refused(tmp_path):
    with opened(tmp_path / "data") as data:
        data.fill()
        data.writer._fsync_failed = True
        with pytest.raises(Problem, match="restart the server on a sound disk"):
            data.erase()
        assert data.eraser._waiting == []


def test_an_erasure_while_the_server_stops_is_refused(tmp_path):
    with opened(tmp_path / "data") as data:
        data.fill()
        going: Future[None] = data.writer.run(lambda store: time.sleep(0.1))
        waiting = data.eraser.submit(CANARY)
        data.writer.close()
        assert counts(waiting.result(1)) == WHOLE, "it was accepted before"
        with pytest.raises(Problem, match="The server is stopping"):
            data.erase()
        assert going.done() and data.eraser._waiting == []


def test_a_session_goes_on_between_two_attempts(tmp_path, monkeypatch):
    """The first attempt has deleted the event that named the session; its digest is in the record."""
    with opened(tmp_path / "data") as data:
        data.fill()
        at(monkeypatch, "compacted", False, full)
        with pytest.raises(Problem):
            data.erase()
        between = {"session_id": SESSION, "timestamp": time.time()}
        assert data.send(between, {"session_id": "other"}) == AppendResult(2, 0)
        assert counts(data.erase()) == (6, 1, 3, True)
        assert data.send(between) == AppendResult(0, 0, 1)
        assert bytes_of(data.folder) == [] and len(data.store.newest("session_id", "other", 5)) == 1


def test_a_restored_attribution_file_brings_no_list_back(tmp_path):
    with opened(tmp_path / "data") as data:
        data.fill()
        data.record(("user_id", "bob"))
    files = [path for path in (tmp_path / "data").iterdir() if path.name.startswith("attribution.sqlite")]
    kept = {path: path.read_bytes() for path in files}
    with opened(tmp_path / "data") as data:
        assert data.erase().attribution_rows == 3
    for path in (tmp_path / "data").glob("attribution.sqlite*"):
        path.unlink()
    for path, content in kept.items():
        path.write_bytes(content)
    with opened(tmp_path / "data") as data:
        data.recorder.flush()
        assert sum(cell.lists for cell in build_report(data.recorder.path).cells) == 1


class SyncError(apsw.IOError):
    """Error of an fsync, as SQLite reports it."""

    extendedresult = apsw.SQLITE_IOERR_FSYNC


def lost():
    raise SyncError("disk I/O error")


def until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "not in 20 seconds"
        time.sleep(0.01)


def test_an_erasure_before_the_start_and_after_the_stop_is_refused(tmp_path):
    with opened(tmp_path / "data") as data:
        data.eraser.close()
        with pytest.raises(Problem) as refused:
            data.eraser.submit(CANARY)
        assert (refused.value.status, refused.value.detail) == (
            503,
            "The server is stopping: send the request again in a moment.",
        )


@pytest.mark.parametrize("step", ["deleted", "compacted"])
def test_an_erasure_whose_fsync_fails_stops_the_writer(tmp_path, monkeypatch, step):
    """The system may have dropped the pages: a repeat on the same disk must not succeed."""
    with opened(tmp_path / "data") as data:
        data.fill()
        at(monkeypatch, step, False, lost)
        with pytest.raises(Problem) as refused:
            data.erase()
        assert refused.value.detail == (
            "The erasure is not complete (the event log: SyncError): send the request again later."
        )
        until(lambda: data.writer._fsync_failed)
        for _ in range(2):
            with pytest.raises(Problem, match="restart the server on a sound disk"):
                data.erase()
        assert data.eraser._waiting == []
    with opened(tmp_path / "data") as data:
        assert counts(data.erase())[0] == 5


def test_a_compaction_is_tried_again_with_growing_pauses(tmp_path, monkeypatch):
    monkeypatch.setattr(erase_user, "_RETRY_S", 0.01)
    monkeypatch.setattr(erase_user, "_MAX_RETRY_S", 0.03)
    pauses, real = [], threading.Timer
    monkeypatch.setattr(threading, "Timer", lambda pause, work: (pauses.append(pause), real(pause, work))[1])
    tries, compact = [], EventErasure.compact

    def busy(self):
        tries.append(1)
        if len(tries) in (3, 4):
            full()
        return compact(self) if len(tries) > 5 else False

    monkeypatch.setattr(EventErasure, "compact", busy)
    with opened(tmp_path / "data") as data:
        data.fill()
        assert counts(data.erase()) == (5, 1, 3, False)
        until(lambda: not data.writer.run(lambda store: store.erasure.compaction_due).result(10))
        until(lambda: data.eraser._retry_s == 0.01)
        assert len(tries) == 6
        assert pauses == [0.01, 0.02, 0.03, 0.03, 0.03]
        assert data.writer.writable, "a disk without room for a copy of the log stops no events"


def test_a_compaction_whose_fsync_fails_stops_the_writer(tmp_path, monkeypatch):
    monkeypatch.setattr(erase_user, "_RETRY_S", 0.01)
    tries = []

    def fail(self):
        tries.append(1)
        if len(tries) == 1:
            return False
        lost()

    monkeypatch.setattr(EventErasure, "compact", fail)
    with opened(tmp_path / "data") as data:
        data.fill()
        assert not data.erase().compacted
        until(lambda: data.writer._fsync_failed)
        with pytest.raises(Problem, match="restart the server on a sound disk"):
            data.send({"user_id": "bob"})
        assert len(tries) == 2


def test_a_compaction_that_is_due_at_the_start_waits_for_the_reader(tmp_path, monkeypatch):
    """Another process reads the log: the start goes on, says so, and the rest follows by itself."""
    monkeypatch.setattr(erase_user, "_RETRY_S", 0.01)
    with opened(tmp_path / "data") as data:
        data.fill()
        at(monkeypatch, "compacted", False, full)
        with pytest.raises(Problem):
            data.erase()
        data.eraser.close()
    compact, busy = EventErasure.compact, [1]
    monkeypatch.setattr(EventErasure, "compact", lambda self: not busy and compact(self))
    with opened(tmp_path / "data") as data:
        path = data.store.path
        assert data.messages == [
            f"{path} may still hold bytes of erased events (another process reads the file): the erasure is tried "
            "again later."
        ]
        assert bytes_of(data.folder) != [] or data.store.erasure.compaction_due
        busy.clear()
        until(lambda: bytes_of(data.folder) == [])


def test_an_interrupted_erasure_is_reported_at_the_start(tmp_path, monkeypatch):
    with opened(tmp_path / "data") as data:
        data.fill()
        at(monkeypatch, "compacted", False, full)
        with pytest.raises(Problem):
            data.erase()
        data.eraser.close()
    with opened(tmp_path / "data") as data:
        assert data.messages == [f"An erasure from {data.store.path} was interrupted, and was completed."]
    with opened(tmp_path / "data") as data:
        assert data.messages == []


def test_an_erasure_without_recorded_lists(tmp_path):
    with opened(tmp_path / "data") as data:
        data.fill()
        data.steps.recorder = None
        other = "session-of-canary"
        data.send({"session_id": other, "timestamp": 5})
        assert counts(data.erase()) == (5, 1, 0, True)
        late = {"session_id": other, "timestamp": 6, "user_id": CANARY}
        assert data.send(late) == AppendResult(0, 0, 1)
        assert data.store.newest("session_id", other, 5) == []


def test_a_repeat_over_other_sessions_counts_only_the_new_ones(tmp_path, monkeypatch):
    with opened(tmp_path / "data") as data:
        data.send({"session_id": "one", "user_id": CANARY})
        at(monkeypatch, "compacted", False, full)
        with pytest.raises(Problem):
            data.erase()
        data.send({"session_id": "one", "user_id": CANARY}, {"session_id": "two", "user_id": CANARY})
        record = data.erase()
        assert (record.events, record.sessions, record.session_digests) == (3, 2, ())
        digest = data.steps.erasures.digest("user_id", CANARY)
        stored = data.store.erasure.record(digest)
        assert (stored.receipted, stored.compacted, list(stored.session_digests)) == (True, True, [])
        assert data.store.erasure.record("0" * 32) is None


def test_errors_name_their_cause_without_an_id():
    assert erase_user._cause(OSError(28, "No space left on device", f"/data/{CANARY}")) == (
        "the erasure list: No space left on device"
    )
    assert erase_user._cause(ValueError("It is damaged.")) == "It is damaged"
    assert erase_user._cause(apsw.FullError(f"about {CANARY}")) == "the event log: FullError"


def test_the_first_event_after_an_erasure_is_a_microsecond_later(tmp_path):
    with opened(tmp_path / "data") as data:
        data.fill()
        ahead_us = NOW_US + 10**9
        data.store.clock.now_us = lambda: ahead_us
        assert data.erase().until_us == ahead_us
        assert data.store.clock.stamp_us() == ahead_us + 1


def test_ids_that_are_no_text_are_keys_too(tmp_path):
    with opened(tmp_path / "data") as data:
        data.send({"session_id": "s", "user_id": "u"}, {"session_id": "alone"})
        write = data.store._write.execute
        write("INSERT INTO damaged SELECT * FROM events WHERE user_id = 'u'").fetchall()
        write("UPDATE damaged SET user_id = x'ff61', session_id = x'ff62'").fetchall()
        assert sorted(data.store.erasure.stored_keys()) == [
            ("session_id", "alone"), ("user_id", "u"), ("user_id", "\ufffda"),
        ]  # fmt: skip
        write("UPDATE damaged SET user_id = 'u'").fetchall()
        assert data.store.erasure.sessions_of("u")[0] == ["s", "\ufffdb"]


def test_a_late_event_of_an_erased_user_changes_nothing_for_others(tmp_path):
    """Not even for one at the first microsecond of 1970, without an erasure of its own."""
    with opened(tmp_path / "data") as data:
        data.fill()
        data.erase()
        late = {"user_id": CANARY, "session_id": "late", "timestamp": 5}
        others = [{"user_id": "zed", "session_id": f"zeds-{time_s}", "timestamp": time_s} for time_s in (0, 1e-6, 5)]
        assert data.send(late, *others) == AppendResult(3, 0, 1)
        erasures = data.steps.erasures
        assert erasures.erased_until_us("session_id", "late") is not None
        assert [erasures.erased_until_us("session_id", f"zeds-{time_s}") for time_s in (0, 1e-6, 5)] == [None] * 3


def test_a_waiting_retry_does_not_keep_a_process(tmp_path):
    with opened(tmp_path / "data") as data:
        data.eraser._retry_later()
        timer = data.eraser._timer
        assert timer.daemon is True
        data.eraser._retry_later()
        assert data.eraser._timer is timer, "one at a time"
        data.eraser.close()
        timer.join(10)
        assert not timer.is_alive()


def test_a_start_rewrites_the_file_of_an_interrupted_erasure(tmp_path, monkeypatch):
    """Deleted rows leave free pages; none are left after the compaction at the start."""
    with opened(tmp_path / "data") as data:
        data.send(*({"user_id": CANARY, "context": {"x": "y" * 900}} for _ in range(60)))
        at(monkeypatch, "compacted", False, full)
        with pytest.raises(Problem):
            data.erase()
        data.eraser.close()
        assert data.store._write.execute("PRAGMA freelist_count").get > 5
    with opened(tmp_path / "data") as data:
        assert data.store._write.execute("PRAGMA freelist_count").get == 0
