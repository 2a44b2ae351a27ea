"""Space for the event log: refusals with 507 while there is none, and events again without a restart."""

import os
from concurrent.futures import Future
from types import SimpleNamespace

import pytest

from segue.serving.config import StorageConfig
from segue.serving.schemas.problems import Problem
from segue.serving.store.disk_quota import DiskQuota
from segue.serving.store.event_store import AppendResult
from segue.serving.store.group_commit import GroupCommitWriter


def disk(monkeypatch, total_mb, free_mb):
    """Let the disk have a size; the smallest disks of a test machine are too large to fill."""
    shown = SimpleNamespace(f_frsize=1000, f_blocks=total_mb * 1000, f_bavail=free_mb * 1000)
    monkeypatch.setattr(os, "statvfs", lambda path: shown)


@pytest.mark.parametrize(
    ("total_mb", "free_mb", "is_refused"),
    [(100_000, 199, True), (100_000, 200, False), (1_000, 49, True), (1_000, 50, False), (4, 0, True)],
)
def test_a_part_of_the_disk_stays_free(tmp_path, monkeypatch, total_mb, free_mb, is_refused):
    disk(monkeypatch, total_mb, free_mb)
    assert (DiskQuota(tmp_path / "log", min_free_mb=200).refusal() is not None) is is_refused
    assert DiskQuota(tmp_path / "log").refusal() is None


def test_the_largest_size_counts_the_write_ahead_log(tmp_path):
    quota = DiskQuota(tmp_path / "log", max_log_mb=1)
    assert quota.refusal() is None
    (tmp_path / "log").write_bytes(bytes(600_000))
    assert quota.refusal() is None
    (tmp_path / "log-wal").write_bytes(bytes(400_000))
    assert quota.refusal() == (
        "The event log has reached its largest size of 1 MB, nothing was stored: the operator has to raise "
        "--max-log-mb or to erase events. Send the events again later."
    )


def test_events_are_refused_without_space_and_stored_again_with_it(store, event, monkeypatch):
    monkeypatch.setattr("segue.serving.store.group_commit._RETRY_S", 0.02)
    sentences: list[str | None] = ["No space."]
    writer = GroupCommitWriter(store, lambda stored: None, refusal=lambda: sentences[0])
    with pytest.raises(Problem) as refused:
        writer.submit([event()]).result(10)
    assert (refused.value.status, refused.value.detail) == (507, "No space.")
    assert refused.value.headers == {"Retry-After": "60"}
    assert store.count() == 0 and writer.writable is False
    assert writer.run(lambda store: "an erasure").result(10) == "an erasure"
    sentences[0] = None
    is_writable: Future[bool] = Future()
    for _ in range(500):
        if writer.writable:
            is_writable.set_result(True)
            break
        writer._thread.join(0.01)
    assert is_writable.done(), "the writer notices the space by itself"
    assert writer.submit([event()]).result(10) == AppendResult(1, 0)
    writer.close()


@pytest.mark.parametrize("fields", [{"min_free_mb": -1}, {"max_log_mb": 0}])
def test_settings_out_of_range_are_refused(fields):
    with pytest.raises(ValueError, match=next(iter(fields))):
        StorageConfig(**fields)


def test_the_sentence_about_a_full_disk_has_the_smaller_limit(tmp_path, monkeypatch):
    disk(monkeypatch, 1_000, 10)
    assert DiskQuota(tmp_path / "log", min_free_mb=200).refusal() == (
        "The disk of the event log has less than 50 MB free, nothing was stored: the operator has to free space. "
        "Send the events again later."
    )


def test_the_disk_of_the_log_is_measured_and_one_that_cannot_be_refuses_nothing(tmp_path, monkeypatch):
    paths = []

    def unknown(path):
        paths.append(path)
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "statvfs", unknown)
    assert DiskQuota(tmp_path / "log", min_free_mb=200).refusal() is None
    assert paths == [tmp_path]


def test_the_size_of_a_log_is_exact(tmp_path):
    quota = DiskQuota(tmp_path / "log")
    assert quota.log_bytes() == 0
    (tmp_path / "log-wal").write_bytes(bytes(7))
    (tmp_path / "log").write_bytes(bytes(5))
    assert quota.log_bytes() == 12
