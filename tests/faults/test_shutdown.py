"""Kind 4, shutdown: a server ends within its grace whatever clients, workers, the disk and its own start do."""

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import pytest
from tests.serving.conftest import save_model
from tests.support.faulty_disk import FaultyDisk
from tests.support.server_process import HEAD, ServerProcess, free_port, is_alive, wait_until

from segue.data.sequences import Sequences
from segue.serving import exit_codes
from segue.serving.__main__ import main
from segue.serving.sockets import SocketGroups
from segue.serving.store.data_directory import DataDirectory

GRACE_S = 4.0
LATE_S = 1.5
"""Time of a busy machine beyond the grace, in seconds."""
Start = Callable[..., ServerProcess]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    walks = [[(start + step) % 12 + 1 for step in range(8)] for start in range(12)]
    return save_model(tmp_path_factory.mktemp("shutdown") / "model", "markov", Sequences.from_lists(walks))


@pytest.fixture
def start(run: Path, tmp_path: Path) -> Iterator[Start]:
    started: list[ServerProcess] = []

    def starter(*options: str, data: str = "data", port: int = 0, **env: str) -> ServerProcess:
        options = ("--grace", f"{GRACE_S:g}", *options)
        started.append(ServerProcess(run, tmp_path / data, *options, port=port, **env))
        return started[-1]

    yield starter
    for server in started:
        server.kill()


def stored_ids(folder: Path) -> set[str]:
    """Return the event ids of an event log whose server has ended."""
    database = apsw.Connection(str(folder / "events.sqlite"))
    try:
        return {row[0] for row in database.execute("SELECT event_id FROM events")}
    finally:
        database.close()


def stubborn_clients(server: ServerProcess) -> list[socket.socket]:
    """Return connections that never end by themselves, in every state."""
    event = HEAD.format("/v1/events", 100_000).encode() + b'{"user_id": "u'
    slow_reader = b"GET /openapi.json HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 300
    return [
        *(server.connect(b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n") for _ in range(100)),
        *(server.connect() for _ in range(20)),
        *(server.connect(slow_reader, receive_buffer=4096) for _ in range(6)),
        *(server.connect(event) for _ in range(6)),
        *(server.connect(HEAD.format("/nowhere", 100_000).encode()) for _ in range(3)),
        *(server.connect(b"POST /v1/events HTTP/1.1\r\nHost:") for _ in range(6)),
        *(server.connect(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03") for _ in range(3)),
    ]


def stream(server: ServerProcess, ended: threading.Event) -> None:
    """Send pipelined requests without an end, and read every response."""
    request = b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 50
    while not ended.is_set():
        try:
            with socket.create_connection(("127.0.0.1", server.port), 1) as connection:
                while not ended.is_set():
                    connection.sendall(request)
                    connection.recv(65_536)
        except OSError:
            ended.wait(0.05)


@pytest.mark.parametrize("workers", [1, 2])
def test_sigterm_ends_within_the_grace_whatever_clients_and_workers_do(start: Start, workers: int) -> None:
    server = start("--workers", str(workers)).wait_ready(workers - 1)
    children = server.children()
    assert len(children) == workers - 1
    connections, ended = stubborn_clients(server), threading.Event()
    threads = [threading.Thread(target=stream, args=(server, ended)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for child in children[:1]:
        os.kill(child, signal.SIGSTOP)
    try:
        code, took_s = server.end()
        assert code == exit_codes.STOPPED, server.output
        assert took_s < GRACE_S + LATE_S
        assert not [child for child in children if is_alive(child)]
        assert "Traceback" not in server.output
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", server.port), 1)
    finally:
        ended.set()
        for thread in threads:
            thread.join()
        for connection in connections:
            connection.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_at_once_and_loses_nothing(start: Start, tmp_path: Path, number: int) -> None:
    num_workers = int(number == signal.SIGTERM)
    server = start("--workers", str(1 + num_workers), "--grace", "60").wait_ready(num_workers)
    children = server.children()
    for n in range(20):
        status, _ = server.request("POST", "/v1/events", {"user_id": "ann", "item_id": "a", "event_id": f"e{n}"})
        assert status == 200
    stuck = [server.connect(HEAD.format("/v1/events", 1000).encode()) for _ in range(8)]
    server.send_signal(number)
    wait_until(lambda: server.request("GET", "/health/ready")[0] == 503)
    code, took_s = server.end(number)
    assert code == exit_codes.SECOND_SIGNAL + number, server.output
    assert took_s < LATE_S
    wait_until(lambda: not [child for child in children if is_alive(child)], 2)
    assert stored_ids(tmp_path / "data") == {f"e{n}" for n in range(20)}
    assert "second signal" in server.output
    for connection in stuck:
        connection.close()


def test_a_dead_disk_does_not_keep_the_server_beyond_its_grace(start: Start, tmp_path: Path) -> None:
    disk = FaultyDisk(tmp_path)
    server = start("--grace", "1.5", **disk.environment).wait_ready()
    assert server.request("POST", "/v1/events", {"user_id": "ann", "item_id": "a", "event_id": "kept"})[0] == 200
    disk.slow("events.sqlite", 60)
    sending = threading.Thread(target=lambda: send_in_vain(server))
    sending.start()
    time.sleep(0.3)  # the request has to reach the writer
    code, took_s = server.end()
    sending.join()
    assert code == exit_codes.GRACE_OVER, server.output
    assert took_s < 1.5 + LATE_S
    assert "grace" in server.output
    disk.heal()
    assert "kept" in stored_ids(tmp_path / "data")


def send_in_vain(server: ServerProcess) -> None:
    """Send an event that is never acknowledged."""
    with pytest.raises((OSError, AssertionError)):
        assert server.request("POST", "/v1/events", {"user_id": "ann", "item_id": "b"})[0] != 200
        raise OSError


def test_a_signal_during_the_start_ends_it_at_once(start: Start) -> None:
    rng = random.Random(4)
    for n in range(3):
        server = start("--workers", "2", data=f"start-{n}")
        time.sleep(rng.uniform(0.05, 1.2))
        serving = "Serving on" in server.output
        code, took_s = server.end()
        assert code == exit_codes.STOPPED or (code == -signal.SIGTERM and not serving), server.output
        assert took_s < GRACE_S + LATE_S
        assert "Traceback" not in server.output


def test_a_killed_primary_process_leaves_no_process_even_a_stopped_one(start: Start, tmp_path: Path) -> None:
    server = start("--workers", "2").wait_ready(1)
    children = server.children()
    os.kill(children[0], signal.SIGSTOP)
    server.end(signal.SIGKILL)
    wait_until(lambda: not [child for child in children if is_alive(child)], 5)
    SocketGroups.bind("127.0.0.1", server.port).close()
    DataDirectory(tmp_path / "data").release()


def test_of_two_starts_at_once_one_wins_and_the_other_may_be_tried_again(start: Start) -> None:
    same_folder = [start() for _ in range(2)]
    port = free_port()
    same_port = [start(data=f"data-{n}", port=port) for n in range(2)]
    for group, reason in ((same_folder, "in use by process {}:"), (same_port, "Address already in use")):
        loser = wait_until(lambda group=group: next((one for one in group if one.process.poll() is not None), None))
        (winner,) = set(group) - {loser}
        winner.wait_ready()
        assert loser.process.returncode == exit_codes.RETRY, loser.output
        assert reason.format(winner.process.pid) in loser.output
        assert len(loser.output.splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--port", "70000"], "--port must be from 0 to 65535, got 70000."),
        (["--port", "-1"], "--port must be from 0 to 65535, got -1."),
        (["--rate", "nan"], "requests_per_s must be above 0"),
        (["--rate", "inf"], "requests_per_s must be above 0"),
        (["--workers", "0"], "workers must be at least 1"),
        (["--grace", "0"], "grace_s must be above 0"),
        (["--grace", "nan"], "grace_s must be above 0"),
        (["--host", "no.such.host.invalid"], "--host 'no.such.host.invalid' is no address of this machine"),
        (["--host", "a..b"], "--host 'a..b' is no address of this machine"),
        (["--host", "203.0.113.7"], "Cannot serve on 203.0.113.7"),
    ],
)
def test_a_mistake_of_the_operator_is_one_sentence_and_code_2(
    run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    sentence: str,
) -> None:
    monkeypatch.setenv("SEGUE_API_KEY", "k" * 20)
    assert main([str(run), "--data", str(tmp_path / "data"), *options]) == exit_codes.REFUSED
    error = capsys.readouterr().err
    assert sentence in error
    assert len(error.splitlines()) == 1


def test_the_command_line_has_the_same_exit_codes(start: Start, run: Path, tmp_path: Path) -> None:
    server = start()
    wait_until(lambda: "Serving on" in server.output)
    command = [sys.executable, "-m", "segue.cli.main", "serve", str(run), "--data"]
    taken, wrong = (
        subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True)
        for options in ([str(tmp_path / "data"), "--port", "0"], [str(tmp_path / "other"), "--port", "70000"])
    )
    assert "in use by process" in taken.communicate(timeout=60)[1]
    assert "from 0 to 65535" in wrong.communicate(timeout=60)[1]
    assert (taken.returncode, wrong.returncode) == (exit_codes.RETRY, exit_codes.REFUSED)
