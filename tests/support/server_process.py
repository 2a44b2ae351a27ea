"""A server as an operator starts it: ``python -m segue.serving`` in a process of its own, with its worker processes."""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HEAD = "POST {} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n"


def free_port() -> int:
    """Return a free loopback port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(condition: Callable[[], Any], timeout_s: float = 30.0) -> Any:
    """Return the first true value of a condition.

    Args:
        condition: function to call again and again.
        timeout_s: longest wait, seconds.
    """
    until_s = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < until_s, "The condition did not come true in time."
        time.sleep(0.02)
    return value


def is_alive(pid: int) -> bool:
    """Return whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


class ServerProcess:
    """A server and its worker processes.

    Args:
        run: model folder.
        data: data directory.
        options: further options of the command line.
        port: port; 0: a free one.
        command: the program, by default ``python -m segue.serving``.
        env: environment besides that of this process.
    """

    def __init__(
        self, run: Path, data: Path, *options: str, port: int = 0, command: tuple[str, ...] = (), **env: str
    ) -> None:
        self.port = port or free_port()
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - a pipe that nobody reads would fill up
        self.started_s = time.monotonic()
        self.process = subprocess.Popen(
            [
                *(command or (sys.executable, "-m", "segue.serving")),
                *(str(run), "--data", str(data), "--port", str(self.port), *options),
            ],
            stdout=self.log,
            stderr=self.log,
            env={**os.environ, "OMP_NUM_THREADS": "1", **env},
        )

    @property
    def output(self) -> str:
        """Return what the server wrote."""
        self.log.flush()
        self.log.seek(0)
        return self.log.read()

    def wait_ready(self, num_workers: int = 0, timeout_s: float = 60.0) -> "ServerProcess":
        """Return this server, once it serves with this number of workers beside the primary process.

        Args:
            num_workers: number of workers.
            timeout_s: longest wait, seconds.
        """
        line = f'segue_workers_ready{{worker="0"}} {num_workers:.1f}'

        def is_ready() -> bool:
            assert self.process.poll() is None, self.output
            with contextlib.suppress(OSError, http.client.HTTPException):
                if num_workers == 0:
                    return self.request("GET", "/health/ready", timeout_s=5)[0] == 200
                return line in self.request("GET", "/metrics", timeout_s=5)[1]
            return False

        wait_until(is_ready, timeout_s)
        return self

    def request(self, method: str, path: str, body: Any = None, timeout_s: float = 20.0) -> tuple[int, str]:
        """Return status and body of the response to a request on a connection of its own.

        Args:
            method: HTTP method.
            path: target.
            body: value that is sent as JSON; None: no body.
            timeout_s: longest wait for bytes, seconds.

        Raises:
            OSError: the server does not answer.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)
        with contextlib.closing(connection):
            headers = {} if body is None else {"Content-Type": "application/json"}
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            return response.status, response.read().decode()

    def connect(self, content: bytes = b"", receive_buffer: int = 0) -> socket.socket:
        """Return a connection on which some bytes were sent.

        Args:
            content: bytes to send; a part of them may be left out where the server takes no more.
            receive_buffer: size of the receive buffer in bytes; 0: the default of the system.
        """
        connection = socket.socket()
        if receive_buffer:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connection.settimeout(5)
        connection.connect(("127.0.0.1", self.port))
        connection.setblocking(False)
        with contextlib.suppress(OSError):
            connection.send(content)
        return connection

    def children(self) -> list[int]:
        """Return the process numbers of the running children."""
        pids: list[int] = []
        for tasks in Path(f"/proc/{self.process.pid}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                pids += map(int, tasks.read_text(encoding="ascii").split())
        return [pid for pid in pids if is_alive(pid)]

    def send_signal(self, number: int) -> None:
        """Send a signal to the primary process."""
        self.process.send_signal(number)

    def end(self, number: int = signal.SIGTERM, timeout_s: float = 60.0) -> tuple[int, float]:
        """Send a signal; return the exit code and the seconds until the process had ended.

        Args:
            number: the signal.
            timeout_s: longest wait, seconds.
        """
        started_s = time.monotonic()
        self.process.send_signal(number)
        return self.process.wait(timeout_s), time.monotonic() - started_s

    def kill(self) -> None:
        """Kill the server and its children, if they run."""
        for pid in [*self.children(), *([self.process.pid] if self.process.poll() is None else [])]:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(30)
        self.log.close()
