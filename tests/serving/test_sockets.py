"""Listening sockets: one server on a port from the start, and a range for its number."""

import socket

import pytest

from segue.serving.exit_codes import TemporaryError
from segue.serving.sockets import GROUP_SIZE, SocketGroups, free_port


def test_a_port_has_one_server_even_before_it_listens() -> None:
    """Two servers that load their models at the same time would answer each other's requests afterwards."""
    first = SocketGroups.bind("127.0.0.1", 0, 2)
    try:
        assert [len(group) for group in first.groups] == [GROUP_SIZE] * 2
        for host in ("127.0.0.1", "localhost"):
            with pytest.raises(TemporaryError, match="Address already in use"):
                SocketGroups.bind(host, first.port)
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", first.port), 1)
        first.listen(10)
        socket.create_connection(("127.0.0.1", first.port), 1).close()
    finally:
        first.close()
    SocketGroups.bind("127.0.0.1", first_port := free_port("127.0.0.1", 0)).close()
    SocketGroups.bind("127.0.0.1", first_port).close()


@pytest.mark.parametrize("port", [-1, 65_536, 70_000])
def test_a_port_number_out_of_range_is_refused(port: int) -> None:
    with pytest.raises(ValueError, match=f"--port must be from 0 to 65535, got {port}"):
        free_port("127.0.0.1", port)
