"""Worker process, as the primary process sees it: its channel, its heartbeat, its end."""

import contextlib
import os
import socket
import subprocess
import sys
from concurrent.futures import Future
from typing import Any

from segue.serving.workers import messages
from segue.serving.workers.channel import MessageChannel, PendingReplies
from segue.system.processes import is_stopped

_MAX_STOPPED = 2
"""Heartbeats without a message after which a stopped process is killed."""
_MAX_OVERDUE = 3
"""Heartbeats without a message after which another process accepts a worker's connections."""
_MAX_MISSED = round(messages.MAX_STALL_S / messages.HEARTBEAT_S)
MAX_LAG_S = 5.0
"""Delay of a worker's event loop at which the worker is killed, in seconds."""


class WorkerProcess:
    """One worker process and the requests that wait for it."""

    def __init__(self, start: messages.StartWorker) -> None:
        """Start a worker.

        Args:
            start: its first message, with its number from 1.

        Raises:
            OSError: the process cannot be started.
        """
        self.number = start.number
        self.is_ready = False
        """Whether it has its models and serves requests."""
        self.is_listening = False
        """Whether it accepts connections, by its last heartbeat."""
        self.num_missed = 0
        """Heartbeats since its last message."""
        self.num_stopped = 0
        """Heartbeats at which it was found stopped, one after the other."""
        self.lag_s = 0.0
        """Delay of its event loop, by its last heartbeat."""
        self.failure = ""
        """Reason why it was killed; "" where it was not."""
        self.pending = PendingReplies()
        ours, theirs = socket.socketpair()
        self.channel = MessageChannel(ours)
        with theirs:
            command = [sys.executable, "-m", "segue.serving.workers", str(theirs.fileno()), str(os.getpid())]
            inherited = [theirs.fileno(), *(one for group in start.sockets for one in group)]
            self.process = subprocess.Popen(command, pass_fds=inherited)
        with contextlib.suppress(OSError):  # it ended already, which its channel reports
            self.channel.send(start)

    @property
    def is_overdue(self) -> bool:
        """Return whether another process should accept its connections."""
        return not self.is_listening or self.num_missed >= _MAX_OVERDUE or self.lag_s > messages.SILENCE_S

    def request(self, message: Any) -> "Future[Any]":
        """Send a numbered message; the future holds the reply with its number, or OSError."""
        message.number, answer = self.pending.open(Future[Any]())
        try:
            self.channel.send(message)
        except OSError as error:
            if self.pending.pop(message.number) is not None:
                answer.set_exception(error)
        return answer

    def send(self, message: Any) -> None:
        """Send a message; a worker that cannot receive it is killed."""
        try:
            self.channel.send(message)
        except OSError:
            self.kill("does not read")

    def beat(self, lag_s: float) -> None:
        """Send a heartbeat, and kill the worker if it has left too many without a reply.

        Args:
            lag_s: delay of the primary process's event loop, seconds.
        """
        is_waiting = self.num_missed >= _MAX_STOPPED or not self.is_ready
        self.num_stopped = self.num_stopped + 1 if is_waiting and is_stopped(self.process.pid) else 0
        if self.num_stopped >= (1 if self.is_ready else _MAX_MISSED):
            self.kill("stopped by a signal")
        elif self.is_ready and self.num_missed >= _MAX_MISSED:
            self.kill("no heartbeat")
        elif self.is_ready and self.lag_s > MAX_LAG_S:
            self.kill("event loop stuck")
        else:
            self.send(messages.Heartbeat(lag_s))
        self.num_missed += 1

    def kill(self, failure: str) -> None:
        """Kill a worker that is stuck or may have missed a message; a stopped process ends too.

        Args:
            failure: reason, for the log.
        """
        self.failure = self.failure or failure
        self.process.kill()
        self.channel.close()
