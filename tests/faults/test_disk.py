"""Slow, failing and full disks under a running server: no false acknowledgement, and recommendations go on."""

import errno
import os
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.serving.conftest import RunningServer, free_port, save_model
from tests.support.faulty_disk import FaultyDisk

from segue.data.sequences import Sequences
from segue.serving.client.client import Client
from segue.serving.schemas.problems import Problem
from segue.serving.schemas.requests import EventIn, RecommendRequest

DELAY_S = 1.5
RECOVERY_S = 5.0
START_S = 60.0


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    walks = [[(start + step) % 12 + 1 for step in range(8)] for start in range(12)]
    return save_model(tmp_path_factory.mktemp("disk") / "model", "markov", Sequences.from_lists(walks))


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> FaultyDisk:
    return FaultyDisk(tmp_path_factory.mktemp("library"))


@pytest.fixture(scope="module")
def server(run: Path, disk: FaultyDisk, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    running = RunningServer(run, tmp_path_factory.mktemp("data") / "data", free_port(), disk.environment)
    yield running
    disk.heal()
    assert running.end() == 0, running.output


@pytest.fixture
def client(server: RunningServer, disk: FaultyDisk) -> Iterator[Client]:
    disk.heal()
    with server.client() as client:
        until(lambda: client.ready().status == "ready")
        yield client
    disk.heal()


def until(condition: Callable[[], bool], timeout_s: float = RECOVERY_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "still not so"
        time.sleep(0.02)


def send(client: Client, event_id: str) -> int:
    """Send an event and return the status."""
    try:
        client.events([EventIn(item_id="a", user_id="ann", event_id=event_id)])
    except Problem as problem:
        return problem.status
    return 200


def stored(client: Client) -> set[str]:
    return {event.event_id for event in client.user("ann").events}


def latencies(client: Client, seconds: float) -> list[float]:
    """Return the seconds of recommendations, one after the other."""
    took, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        began = time.monotonic()
        client.recommend(RecommendRequest(user_id="ann", k=3))
        took.append(time.monotonic() - began)
        time.sleep(0.01)
    return took


def test_a_slow_disk_under_the_recorded_lists_delays_no_list(client, disk):
    disk.slow("attribution.sqlite", DELAY_S)
    took = latencies(client, 2 * DELAY_S)
    # With 'with connection' a thread keeps the interpreter through each write: most lists would take DELAY_S.
    assert statistics.quantiles(took, n=10)[-1] < DELAY_S / 3, took
    assert len(took) > 20


def test_a_slow_disk_under_the_event_log_delays_only_its_events(client, server, disk):
    assert send(client, "before") == 200
    disk.slow_sync("events.sqlite", DELAY_S)
    statuses: list[tuple[int, float]] = []

    def ingest() -> None:
        with server.client() as other:
            began = time.monotonic()
            statuses.append((send(other, "slow"), time.monotonic() - began))

    thread = threading.Thread(target=ingest)
    thread.start()
    took = latencies(client, DELAY_S)
    began = time.monotonic()
    assert "before" in stored(client)
    assert time.monotonic() - began < DELAY_S / 3
    thread.join(30)
    assert statuses[0][0] == 200 and statuses[0][1] >= DELAY_S, "an event waits for its fsync"
    assert statistics.quantiles(took, n=10)[-1] < DELAY_S / 3, took


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
def test_failing_writes_refuse_events_and_pass_with_the_cause(client, disk, error):
    disk.fail("events.sqlite", "write", error)
    names = [f"{error}-{n}" for n in range(5)]
    assert {send(client, name) for name in names} == {503}
    assert client.recommend(RecommendRequest(user_id="ann", k=3)).items
    assert client.ready().checks["store"] is False
    disk.heal()
    until(lambda: send(client, f"{error}-after") == 200)
    until(lambda: client.ready().status == "ready")
    assert not stored(client) & set(names)


def test_a_full_disk_under_the_recorded_lists_loses_lists_only(client, server, disk):
    disk.fail("attribution.sqlite", "any", errno.ENOSPC)
    before = gauge(server, "attribution_dropped")
    for n in range(20):
        assert client.recommend(RecommendRequest(user_id="ann", k=3)).items
        assert send(client, f"with-full-lists-{n}") == 200
    until(lambda: gauge(server, "attribution_dropped") > before)
    disk.heal()
    client.recommend(RecommendRequest(user_id="ann", k=3))
    until(lambda: gauge(server, "attribution_recording") == 1)


def gauge(server: RunningServer, name: str) -> float:
    with urllib.request.urlopen(f"{server.url}/metrics", timeout=10) as response:
        lines = response.read().decode().splitlines()
    (line,) = [line for line in lines if line.startswith(f"segue_{name} ")]
    return float(line.split()[1])


def test_a_limit_of_the_file_size_refuses_events_until_it_is_raised(client, server):
    """A limit of the process: an error of each write beyond it, on every kind of disk."""
    pid, unlimited = server.process.pid, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    acknowledged, status = [], 200
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (60_000, resource.RLIM_INFINITY))
    for n in range(400):
        status = send(client, f"limited-{n}")
        if status != 200:
            break
        acknowledged.append(f"limited-{n}")
    assert status == 503
    assert client.recommend(RecommendRequest(user_id="ann", k=3)).items
    resource.prlimit(pid, resource.RLIMIT_FSIZE, unlimited)
    until(lambda: send(client, "unlimited") == 200)
    assert set(acknowledged) <= stored(client)


def test_after_a_failed_fsync_no_event_is_acknowledged_until_a_restart(run, disk, tmp_path):
    disk.heal()
    running = RunningServer(run, tmp_path / "data", free_port(), disk.environment)
    with running.client() as client:
        assert send(client, "sound") == 200
        disk.fail("events.sqlite", "sync")
        assert send(client, "lost") == 503
        disk.heal()
        assert send(client, "refused") == 503
        assert client.recommend(RecommendRequest(user_id="ann", k=3)).items
        assert client.ready().checks["store"] is False
    running.end(9)
    again = RunningServer(run, tmp_path / "data", free_port(), disk.environment)
    with again.client() as client:
        assert send(client, "after") == 200
        assert {"sound", "after"} <= stored(client)
        assert "refused" not in stored(client)
    assert again.end() == 0


def namespace_allows_mounts() -> bool:
    if shutil.which("unshare") is None:
        return False
    command = ["unshare", "-Urm", "mount", "-t", "tmpfs", "none", "/mnt"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not namespace_allows_mounts(), reason="no user namespace with a mount of its own")
def test_a_full_file_system_refuses_events_with_507_until_there_is_space(run, tmp_path):
    data, port = tmp_path / "data", free_port()
    data.mkdir()
    program = "import sys, pathlib; from segue.serving.server import serve; "
    program += "serve(pathlib.Path(sys.argv[1]), data_dir=pathlib.Path(sys.argv[2]), port=int(sys.argv[3]))"
    shell = f"mount -t tmpfs -o size=4m none {data} && exec {sys.executable} -c '{program}' {run} {data} {port}"
    process = subprocess.Popen(["unshare", "-Urm", "sh", "-c", shell], stderr=subprocess.DEVNULL)
    try:
        until(lambda: connects(port), START_S)
        inside = Path(f"/proc/{process.pid}/root{data}")
        with Client(f"http://127.0.0.1:{port}") as client:
            assert send(client, "before") == 200
            filler = inside / "filler"
            free = os.statvfs(inside).f_bavail * os.statvfs(inside).f_frsize
            filler.write_bytes(bytes(free - 100_000))  # a twentieth of the 4 MB has to stay free
            with pytest.raises(Problem) as refused:
                client.events([EventIn(item_id="a", user_id="ann", event_id="refused")])
            assert refused.value.status == 507
            assert refused.value.detail == (
                "The disk of the event log has less than 0.21 MB free, nothing was stored: the operator has to free "
                "space. Send the events again later."
            )
            assert client.recommend(RecommendRequest(user_id="ann", k=3)).items
            assert client.ready().checks["store"] is False
            filler.unlink()
            until(lambda: client.ready().status == "ready")
            assert send(client, "after") == 200
            assert stored(client) == {"before", "after"}
    finally:
        process.kill()
        process.wait(15)


def connects(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("log", ["full", "closed"])
def test_a_log_that_cannot_be_written_stops_nothing(run, tmp_path, log):
    port = free_port()
    options = [sys.executable, "-m", "segue.serving", str(run), "--data", str(tmp_path / "data"), "--port", str(port)]
    options += ["--log-requests", "--json-logs"]
    redirected = "2>/dev/full >/dev/full" if log == "full" else "2>&- >&- <&-"
    process = subprocess.Popen(["sh", "-c", f'exec "$@" {redirected}', "sh", *options])
    try:
        until(lambda: connects(port), START_S)
        with Client(f"http://127.0.0.1:{port}") as client:
            for n in range(20):
                assert send(client, str(n)) == 200
            assert client.recommend(RecommendRequest(user_id="ann", k=3)).items
            assert len(stored(client)) == 20
        process.terminate()
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait(15)
