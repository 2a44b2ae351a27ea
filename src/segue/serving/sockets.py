"""Listening sockets of all processes of a server on its one port.

Each process has a group of sockets, and the kernel gives each socket of the port (SO_REUSEPORT) a share of the
connections. The primary process opens all groups, and every process inherits them: connections that wait for a process
which is stopped, stuck or dead are accepted by another one, and none of them is reset.
"""

import errno
import resource
import socket
import sys
from collections.abc import Sequence
from typing import Any

from segue.serving.exit_codes import TemporaryError

GROUP_SIZE = 64
"""Sockets of one process: uvloop takes one new connection from each in a round of the loop. Under load, when a round
takes as long as a batch, clients would wait for a round each to be let in at all."""
MAX_PORT = 65_535


class SocketGroups:
    """Listening sockets of all processes of a server; the primary process has group 0."""

    def __init__(self, groups: Sequence[Sequence[socket.socket]], own: int = 0) -> None:
        """Make groups of open sockets.

        Args:
            groups: sockets of each process.
            own: number of this process and its group.
        """
        self.groups = [list(group) for group in groups]
        self.own = own
        self._lock: socket.socket | None = None

    @classmethod
    def bind(cls, host: str, port: int, num_processes: int = 1) -> "SocketGroups":
        """Bind the sockets of a server. No client can connect before ``listen``.

        Args:
            host: address to listen on.
            port: port number; 0: any free one.
            num_processes: number of groups.

        Raises:
            TemporaryError: the port is taken.
            ValueError: the port is no port number, or the host is no address of this machine.
        """
        port = free_port(host, port)
        lock = _lock_port(host, port)
        raise_file_limit(2 * GROUP_SIZE * num_processes)
        try:
            groups = cls([[_shared_socket(host, port) for _ in range(GROUP_SIZE)] for _ in range(num_processes)])
        except OSError as error:
            raise _cannot_serve(host, port, error) from None
        groups._lock = lock
        return groups

    @classmethod
    def inherited(cls, descriptors: Sequence[Sequence[int]], own: int) -> "SocketGroups":
        """Return the groups that a worker has inherited.

        Args:
            descriptors: file descriptors of each group.
            own: number of the worker.
        """
        groups = cls([[socket.socket(fileno=one) for one in group] for group in descriptors], own)
        for group in groups.groups:
            for one in group:
                one.setblocking(False)
        return groups

    @property
    def port(self) -> int:
        """Return the port number."""
        return int(self.groups[0][0].getsockname()[1])

    def descriptors(self) -> list[list[int]]:
        """Return the file descriptors of each group."""
        return [[one.fileno() for one in group] for group in self.groups]

    def listen(self, backlog: int) -> None:
        """Let clients connect, to every group at once: a port whose sockets change loses connections.

        Args:
            backlog: number of connections that may wait on one socket.
        """
        for group in self.groups:
            for one in group:
                one.listen(backlog)

    def close(self) -> None:
        """Close the sockets in this process."""
        for one in [*(one for group in self.groups for one in group), *([self._lock] if self._lock else [])]:
            one.close()


def free_port(host: str, port: int) -> int:
    """Return the port, or any free one for 0.

    It is checked here because the port is shared by all processes of a server: two servers on it would answer each
    other's requests.

    Args:
        host: address to listen on.
        port: port number, 0 for any.

    Raises:
        TemporaryError: the port is taken.
        ValueError: the port is no port number, or the host is no address of this machine.
    """
    if not 0 <= port <= MAX_PORT:
        raise ValueError(f"--port must be from 0 to {MAX_PORT}, got {port}.")
    try:
        family, kind, protocol, address = _address(host, port)
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            return int(probe.getsockname()[1])
    except OSError as error:
        raise _cannot_serve(host, port, error) from None
    except UnicodeError:
        raise ValueError(f"--host '{host}' is no address of this machine.") from None


def raise_file_limit(count: int) -> None:
    """Raise the number of files and connections that this process may have open, as far as it is allowed to.

    Args:
        count: number of files that is wanted.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _cannot_serve(host: str, port: int, error: OSError) -> ValueError:
    if isinstance(error, socket.gaierror):
        return ValueError(f"--host '{host}' is no address of this machine: {error.strerror}.")
    kind = TemporaryError if error.errno == errno.EADDRINUSE else ValueError
    return kind(f"Cannot serve on {host} port {port}: {error.strerror}. Choose another with --port.")


def _address(host: str, port: int) -> tuple[int, int, int, Any]:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    return family, kind, protocol, address


def _shared_socket(host: str, port: int) -> socket.socket:
    """Return a socket on a port that several sockets and processes share; each gets a share of the connections."""
    family, kind, protocol, address = _address(host, port)
    shared = socket.socket(family, kind, protocol)
    shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    shared.bind(address)
    shared.setblocking(False)
    return shared


def _lock_port(host: str, port: int) -> socket.socket | None:
    """Reserve a port among the servers of this machine: the probe does not see a server that does not listen yet.

    The lock is a name in the abstract namespace of Unix sockets, which the kernel frees with the process. Linux only.
    """
    if sys.platform != "linux":
        return None
    lock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        lock.bind(f"\0segue {_address(host, port)[3][0]} {port}")
    except OSError as error:
        lock.close()
        raise _cannot_serve(host, port, error) from None
    return lock
