"""Group commit: no request is acknowledged before its events are on disk, and each gets a result or an error."""

import threading
import time
from concurrent.futures import wait

import apsw
import pytest

from segue.serving.schemas.problems import Problem
from segue.serving.store.event_store import AppendResult, EventStore
from segue.serving.store.group_commit import GroupCommitWriter, is_fsync_error

REFUSED = "The event log cannot be written, nothing was stored: is the disk full? Send the events again later."
BROKEN = "The disk failed to keep written events, and no further event is stored: restart the server on a sound disk."


class Gated:
    """Store whose commits wait until they are opened, and are counted."""

    def __init__(self, store, fail=None):
        self.store, self.open, self.entered, self.groups, self.fail = (
            store, threading.Event(), threading.Event(), [], fail,
        )  # fmt: skip
        self.forced, self.probes = [], 0

    def append(self, batches, *, force):
        self.entered.set()
        assert self.open.wait(10)
        self.groups.append(len(batches))
        self.forced.append(force)
        if self.fail:
            raise self.fail
        return self.store.append(batches, force=force)

    @property
    def unsynced(self):
        return self.store.unsynced

    def probe(self):
        self.probes += 1
        self.store.probe()


def test_requests_that_wait_share_one_commit(store, event):
    gated, seen = Gated(store), []
    writer = GroupCommitWriter(gated, seen.extend)
    first = writer.submit([event("a")])
    assert gated.entered.wait(10)
    others = [writer.submit([event("b"), event("c")]) for _ in range(5)]
    assert not wait([first, *others], timeout=0.05).done, "nobody hears anything before the commit"
    gated.open.set()
    assert first.result(10) == AppendResult(1, 0)
    assert [one.result(10) for one in others] == [AppendResult(2, 0)] * 5
    assert gated.groups == [1, 5]
    assert [one.seq for one in seen] == list(range(1, 12))
    writer.close()


def test_the_listener_gets_the_event_before_the_acknowledgement(store, event):
    seen = []
    writer = GroupCommitWriter(store, seen.extend)
    for number in range(20):
        writer.submit([event(event_id=str(number))]).result(10)
        assert len(seen) == number + 1
    writer.close()


def test_a_conflict_fails_only_its_request(store, event):
    gated = Gated(store)
    writer = GroupCommitWriter(gated, lambda stored: None)
    futures = [writer.submit([event(item, event_id="1")]) for item in "ab"] + [writer.submit([event("c")])]
    gated.open.set()
    assert futures[0].result(10) == futures[2].result(10) == AppendResult(1, 0)
    with pytest.raises(Problem) as refused:
        futures[1].result(10)
    assert refused.value.status == 409
    writer.close()


def test_requests_over_the_queue_size_are_refused(store, event, monkeypatch):
    monkeypatch.setattr("segue.serving.store.group_commit._MAX_WAITING", 2)
    gated = Gated(store)
    writer = GroupCommitWriter(gated, lambda stored: None)
    accepted = [writer.submit([event()])]
    assert gated.entered.wait(10)
    accepted += [writer.submit([event()]) for _ in range(2)]
    with pytest.raises(Problem) as refused:
        writer.submit([event()])
    assert (refused.value.status, refused.value.headers) == (503, {"Retry-After": "1"})
    assert refused.value.detail == "2 requests wait to be stored: send the request again in a moment."
    gated.open.set()
    assert [one.result(10) for one in accepted] == [AppendResult(1, 0)] * 3
    writer.close()


def test_close_stores_the_waiting_requests_and_refuses_new_ones(store, event):
    gated = Gated(store)
    writer = GroupCommitWriter(gated, lambda stored: None)
    accepted = [writer.submit([event()]) for _ in range(4)]
    closer = threading.Thread(target=writer.close)
    closer.start()
    gated.open.set()
    closer.join(10)
    assert [one.result(0) for one in accepted] == [AppendResult(1, 0)] * 4
    with pytest.raises(Problem) as refused:
        writer.submit([event()])
    assert refused.value.detail == "The server is stopping: send the request again in a moment."
    writer.close()


def test_an_unexpected_error_reaches_its_requests_and_the_thread_goes_on(store, event):
    gated = Gated(store, fail=RuntimeError("a bug"))
    gated.open.set()
    writer = GroupCommitWriter(gated, lambda stored: None)
    with pytest.raises(RuntimeError, match="a bug"):
        writer.submit([event()]).result(10)
    gated.fail = None
    assert writer.submit([event()]).result(10) == AppendResult(1, 0)
    writer.close()


def test_a_full_disk_refuses_and_recovers_by_itself(store, event, monkeypatch):
    monkeypatch.setattr("segue.serving.store.group_commit._RETRY_S", 0.02)
    writer = GroupCommitWriter(store, lambda stored: None)
    pages = store._write.execute("PRAGMA page_count").get
    store._write.execute(f"PRAGMA max_page_count = {pages}")
    big = [event(context={"note": "x" * 4000}) for _ in range(20)]
    with pytest.raises(Problem) as refused:
        writer.submit(big).result(10)
    assert (refused.value.status, refused.value.detail) == (503, REFUSED)
    assert store.count() == 0
    store._write.execute("PRAGMA max_page_count = 1000000")
    for _ in range(500):
        if writer.writable:
            break
        threading.Event().wait(0.01)
    assert writer.writable
    assert writer.submit(big).result(10) == AppendResult(20, 0)
    writer.close()


class LosingFile(apsw.VFSFile):
    """File whose fsync fails from a set time on, as on a failing disk."""

    losing = False

    def xSync(self, flags):  # noqa: N802 - SQLite's name
        if LosingFile.losing:
            error = apsw.IOError("fsync failed")
            error.extendedresult = apsw.SQLITE_IOERR_FSYNC
            raise error
        super().xSync(flags)


class LosingDisk(apsw.VFS):
    def __init__(self):
        super().__init__("losing", base="unix", makedefault=True)

    def xOpen(self, name, flags):  # noqa: N802 - SQLite's name
        return LosingFile("unix", name, flags)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_after_a_failed_fsync_nothing_is_ever_acknowledged_again(tmp_path, event, monkeypatch):
    monkeypatch.setattr("segue.serving.store.group_commit._RETRY_S", 0.02)
    disk = LosingDisk()
    try:
        store = EventStore(tmp_path / "log")
        writer = GroupCommitWriter(store, lambda stored: None)
        assert writer.submit([event("a")]).result(10) == AppendResult(1, 0)
        LosingFile.losing = True
        for _ in range(2):
            with pytest.raises(Problem) as refused:
                writer.submit([event("b")]).result(10)
            assert (refused.value.status, refused.value.detail) == (503, BROKEN)
            LosingFile.losing = False  # the second fsync would "succeed": the pages were dropped, it must not count
        threading.Event().wait(0.1)
        assert not writer.writable
        writer.close()
        store.close()
    finally:
        LosingFile.losing = False
        disk.unregister()
    again = EventStore(tmp_path / "log")
    assert [one.event.item_id for one in again.newest("user_id", "ann", 5)] == ["a"]
    again.close()


def test_many_threads_lose_nothing(store, event):
    seen = []
    writer = GroupCommitWriter(store, seen.extend)

    def send(name):
        for number in range(50):
            writer.submit([event(event_id=f"{name}-{number}")]).result(20)

    threads = [threading.Thread(target=send, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert store.count() == len(seen) == 400
    assert [one.seq for one in seen] == list(range(1, 401))
    writer.close()


def test_memory_durability_is_acknowledged_before_the_fsync_that_follows_soon(store, event, monkeypatch):
    monkeypatch.setattr("segue.serving.store.group_commit._SYNC_DELAY_S", 0.1)
    gated, seen = Gated(store), []
    gated.open.set()
    writer = GroupCommitWriter(gated, seen.extend)
    assert writer.submit([event("a")], force=False).result(10) == AppendResult(1, 0)
    assert gated.forced == [False]
    assert store.unsynced
    deadline = time.monotonic() + 10
    while store.unsynced and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not store.unsynced
    assert gated.probes == 1, "nothing else came, so the writer saw to it itself"
    assert len(seen) == 1
    writer.close()


def test_a_steady_stream_with_memory_durability_is_forced_at_intervals(store, event, monkeypatch):
    monkeypatch.setattr("segue.serving.store.group_commit._SYNC_DELAY_S", 0.05)
    gated = Gated(store)
    gated.open.set()
    writer = GroupCommitWriter(gated, lambda stored: None)
    started_s = time.monotonic()
    while time.monotonic() - started_s < 0.5:
        writer.submit([event("a")], force=False).result(10)
    writer.close()
    assert gated.forced[0] is False
    assert 3 <= sum(gated.forced) + gated.probes <= 11
    assert len(gated.forced) > 20


def test_one_fsync_request_forces_its_whole_group(store, event):
    gated = Gated(store)
    writer = GroupCommitWriter(gated, lambda stored: None)
    first = writer.submit([event("a")], force=False)
    assert gated.entered.wait(10)
    others = [writer.submit([event("b")], force=force) for force in (False, True, False)]
    gated.open.set()
    assert [one.result(10) for one in [first, *others]] == [AppendResult(1, 0)] * 4
    assert (gated.groups, gated.forced) == ([1, 3], [False, True])
    assert not store.unsynced
    writer.close()


def test_a_job_runs_after_the_requests_before_it_and_before_later_ones(store, event):
    gated, counts = Gated(store), []
    writer = GroupCommitWriter(gated, lambda stored: None)
    before = [writer.submit([event("a")]) for _ in range(3)]
    jobs = [writer.run(lambda store: counts.append(store.store.count())) for _ in range(2)]
    after = writer.submit([event("b")])
    last = writer.run(lambda store: counts.append(store.store.count()))
    gated.open.set()
    assert [one.result(10) for one in [*before, *jobs, after, last]] == [AppendResult(1, 0)] * 3 + [
        None, None, AppendResult(1, 0), None,
    ]  # fmt: skip
    assert counts == [3, 3, 4]
    writer.close()


def test_events_of_erased_users_are_removed_at_the_commit_and_counted(store, event):
    """The list as it is when the events are stored, not as it was when they arrived."""
    gated, erased = Gated(store), set()
    writer = GroupCommitWriter(
        gated, lambda stored: None, lambda batches: [[e for e in batch if e.user_id not in erased] for batch in batches]
    )
    first = writer.submit([event("a", "ann")])
    writer.run(lambda store: erased.add("ann"))
    second = writer.submit([event("b", "ann"), event("b", "bob"), event("c", "ann")])
    conflict = writer.submit([event("d", "bob", event_id="1"), event("e", "bob", event_id="1"), event("e", "ann")])
    gated.open.set()
    assert (first.result(10), second.result(10)) == (AppendResult(1, 0), AppendResult(1, 0, 2))
    with pytest.raises(Problem, match="already stored with another body"):
        conflict.result(10)
    writer.close()


def test_an_erasure_list_that_cannot_be_written_refuses_the_events(store, event):
    def full(batches):
        raise OSError(28, "No space left on device")

    writer = GroupCommitWriter(store, lambda stored: None, full)
    with pytest.raises(Problem, match="cannot be written, nothing was stored") as refused:
        writer.submit([event()]).result(10)
    assert refused.value.status == 503 and store.count() == 0
    writer.close()


def failing(error):
    """Return a job that raises an error."""

    def job(store):
        raise error

    return job


def fsync_error(code):
    error = apsw.IOError("fsync failed")
    error.extendedresult = code
    return error


def test_a_job_that_fails_reaches_its_caller_and_the_thread_goes_on(store, event, monkeypatch):
    monkeypatch.setattr("segue.serving.store.group_commit._RETRY_S", 60.0)
    writer = GroupCommitWriter(store, lambda stored: None)
    with pytest.raises(KeyError, match="a bug"):
        writer.run(failing(KeyError("a bug"))).result(10)
    assert writer.writable
    with pytest.raises(Problem) as refused:
        writer.run(failing(apsw.FullError("database or disk is full"))).result(10)
    assert (refused.value.status, refused.value.detail) == (503, REFUSED)
    assert writer.writable is False
    assert writer.submit([event()]).result(10) == AppendResult(1, 0)
    assert writer.writable, "a write has succeeded"
    writer.close()


@pytest.mark.parametrize("code", [apsw.SQLITE_IOERR_FSYNC, apsw.SQLITE_IOERR_DIR_FSYNC])
def test_after_a_job_whose_fsync_failed_nothing_runs(store, event, monkeypatch, code):
    monkeypatch.setattr("segue.serving.store.group_commit._RETRY_S", 0.01)
    gated, ran = Gated(store), []
    gated.open.set()
    writer = GroupCommitWriter(gated, lambda stored: None)
    for job in (failing(fsync_error(code)), lambda store: ran.append(1), failing(apsw.FullError("full"))):
        with pytest.raises(Problem) as refused:
            writer.run(job).result(10)
        assert (refused.value.status, refused.value.detail) == (503, BROKEN)
    threading.Event().wait(0.05)
    with pytest.raises(Problem, match="restart the server"):
        writer.submit([event()]).result(10)
    assert (ran, gated.groups, gated.probes, writer.writable) == ([], [], 0, False)
    writer.close()


def test_a_probe_that_fails_leaves_the_log_unwritable(store, event, monkeypatch):
    monkeypatch.setattr("segue.serving.store.group_commit._RETRY_S", 0.01)
    gated = Gated(store)
    gated.open.set()
    errors = [apsw.FullError("full"), apsw.FullError("full"), fsync_error(apsw.SQLITE_IOERR_FSYNC)]

    def probe():
        gated.probes += 1
        raise errors.pop(0)

    gated.probe = probe
    writer = GroupCommitWriter(gated, lambda stored: None)
    with pytest.raises(Problem):
        writer.run(failing(apsw.FullError("full"))).result(10)
    deadline = time.monotonic() + 10
    while errors and time.monotonic() < deadline:
        time.sleep(0.01)
    threading.Event().wait(0.05)
    assert (gated.probes, writer.writable) == (3, False), "none after the disk has lost pages"
    with pytest.raises(Problem, match="restart the server"):
        writer.submit([event()]).result(10)
    writer.close()


def test_a_cancelled_request_is_stored_and_a_cancelled_job_is_not_run(store, event):
    gated, ran = Gated(store), []
    writer = GroupCommitWriter(gated, lambda stored: None)
    first = writer.submit([event("a")])
    assert gated.entered.wait(10)
    second, third = writer.submit([event("b")]), writer.submit([event("c")])
    job, last = writer.run(lambda store: ran.append("cancelled")), writer.run(lambda store: ran.append("last"))
    assert second.cancel() and job.cancel()
    gated.open.set()
    last.result(10)
    assert first.result(10) == third.result(10) == AppendResult(1, 0)
    assert ran == ["last"]
    assert store.count() == 3
    writer.close()


def test_a_group_has_a_limit_of_events(store, event, monkeypatch):
    monkeypatch.setattr("segue.serving.store.group_commit._MAX_GROUP", 4)
    gated = Gated(store)
    writer = GroupCommitWriter(gated, lambda stored: None)
    futures = [writer.submit([event("a")])]
    assert gated.entered.wait(10)
    futures += [writer.submit([event("b")] * size) for size in (1, 2, 1, 3, 2, 1)]
    gated.open.set()
    for future in futures:
        future.result(10)
    assert gated.groups == [1, 3, 2, 1]
    writer.close()


def test_a_job_after_the_stop_is_refused(store):
    writer = GroupCommitWriter(store, lambda stored: None)
    writer.close()
    with pytest.raises(Problem, match="The server is stopping"):
        writer.run(lambda store: None)


def test_the_wait_for_a_request_ends_when_events_must_be_synced(store, monkeypatch):
    monkeypatch.setattr("segue.serving.store.group_commit._SYNC_DELAY_S", 5.0)
    writer = GroupCommitWriter(store, lambda stored: None)
    writer.close()
    assert writer._timeout_s() is None
    writer._unsynced_since_s = time.monotonic() - 2.0
    assert 2.5 < writer._timeout_s() <= 3.0
    assert not writer._must_sync([])
    writer._unsynced_since_s = time.monotonic() - 5.5
    assert writer._timeout_s() == 0.0
    assert writer._must_sync([])
    writer.writable = False
    assert writer._timeout_s() == 1.0


def test_an_error_of_the_disk_that_is_none_of_fsync_may_pass():
    assert not is_fsync_error(apsw.FullError("full"))
    assert not is_fsync_error(fsync_error(apsw.SQLITE_IOERR_WRITE))
    assert not is_fsync_error(ValueError("no error of SQLite"))
    assert is_fsync_error(fsync_error(apsw.SQLITE_IOERR_FSYNC))


def test_the_writer_has_a_name_and_does_not_keep_a_process(store):
    """A thread that waits for a dead disk must not keep the server from its end."""
    writer = GroupCommitWriter(store, lambda stored: None)
    assert (writer._thread.name, writer._thread.daemon) == ("segue-writer", True)
    assert writer.clock is store.clock
    writer.close()
