"""Message channel: order, large messages, stalls, and the end of either side."""

import socket
import threading
import time
from concurrent.futures import Future

import pytest

from segue.serving.workers import messages
from segue.serving.workers.channel import MessageChannel, PendingReplies


@pytest.fixture
def ends(monkeypatch):
    monkeypatch.setattr("segue.serving.workers.channel.MAX_STALL_S", 1)
    first, second = map(MessageChannel, socket.socketpair())
    yield first, second
    first.close()
    second.close()


def test_messages_arrive_whole_and_in_order_from_several_threads(ends):
    first, second = ends

    def send(thread):
        for n in range(200):
            first.send(messages.MetricsResponse(1000 * thread + n, bytes([thread]) * (n * 101)))

    threads = [threading.Thread(target=send, args=(thread,)) for thread in range(3)]
    for thread in threads:
        thread.start()
    received = [second.receive() for _ in range(600)]
    for thread in threads:
        thread.join()
    for thread in range(3):
        own = [message for message in received if message.number // 1000 == thread]
        assert [message.number % 1000 for message in own] == list(range(200))
        assert all(message.text == bytes([thread]) * (message.number % 1000 * 101) for message in own)


def test_a_message_larger_than_the_buffer_arrives(ends):
    first, second = ends
    text = bytes(range(256)) * 100_000
    sender = threading.Thread(target=first.send, args=(messages.MetricsResponse(1, text),))
    sender.start()
    assert second.receive() == messages.MetricsResponse(1, text)
    sender.join()


def test_a_send_to_a_process_that_does_not_read_fails_after_the_stall_time(ends):
    first, _ = ends
    started_s = time.monotonic()
    with pytest.raises(OSError):
        first.send(messages.MetricsResponse(1, bytes(50_000_000)))
    assert 0.9 < time.monotonic() - started_s < 10


@pytest.mark.parametrize("closing", [0, 1])
def test_closing_either_end_wakes_the_receiver_and_fails_later_sends(ends, closing):
    received = []
    receiver = threading.Thread(target=lambda: received.append(ends[0].receive()))
    receiver.start()
    ends[closing].close()
    receiver.join(10)
    assert not receiver.is_alive() and received == [None]
    assert ends[0].receive() is None
    for end in ends:
        with pytest.raises(OSError):
            end.send(messages.StopServing())


def test_only_bytes_are_received_and_never_unpickled(ends):
    """A pickle is no message: the decoder of msgpack refuses it."""
    import msgspec

    first, second = ends
    first._connection.send_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(msgspec.DecodeError):
        second.receive()


def test_replies_resolve_their_own_requests():
    pending = PendingReplies()
    requests = dict(pending.open(Future()) for _ in range(3))
    numbers = list(requests)
    pending.resolve(numbers[1], "reply")
    pending.resolve(99, "late reply")
    assert requests[numbers[1]].result() == "reply"
    assert pending.pop(numbers[1]) is None
    assert pending.pop_all() == [requests[numbers[0]], requests[numbers[2]]]
