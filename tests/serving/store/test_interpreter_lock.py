"""Commits and closes that keep the interpreter lock through an fsync stall every thread: no part of the server has one.

tests/faults/test_disk.py shows it with a slow disk where there is a compiler; this test needs none.
"""

import apsw
import pytest

from segue.serving.administration.back_up import back_up
from segue.serving.store.event_store import EventStore


class StrictConnection(apsw.Connection):
    """Connection that refuses what would keep the interpreter lock while SQLite waits for the disk."""

    def __enter__(self):
        raise AssertionError("'with connection' keeps the interpreter lock through the fsync of its commit.")

    def close(self, force=False):
        if not self.readonly("main") and not self.in_transaction:
            log_pages = self.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()[0][1]
            assert log_pages <= 0, "'close' would merge the write-ahead log, and keep the interpreter lock meanwhile."
        super().close(force)


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_no_commit_and_no_close_keeps_the_interpreter_lock(tmp_path, run, open_server, monkeypatch):
    monkeypatch.setattr(apsw, "Connection", StrictConnection)
    with open_server(tmp_path / "data", run) as server:
        for n in range(20):
            sent = {"user_id": f"u{n % 3}", "k": 3, "event": {"item_id": "abc"[n % 3]}}
            assert server.web.post("/v1/recommend", json=sent).status_code == 200
        assert server.web.get("/v1/admin/report").status_code == 200
        recorder = server.admin.router.recorder
        assert recorder.recording and recorder.dropped == 0
        assert server.web.delete("/v1/users/u1").status_code == 200
        back_up(tmp_path / "data", tmp_path / "backup")
        assert server.admin.writer.run(EventStore.repair).result(20) is None
        assert server.web.get("/v1/users/u2").status_code == 200
