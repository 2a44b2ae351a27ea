"""Message channel: order, large messages, stalls, and the end of either side."""

import socket
import struct
import threading
import time
from concurrent.futures import Future

import pytest

from segue.serving.workers import messages
from segue.serving.workers.channel import MAX_BACKLOG_BYTES, MessageChannel, PendingReplies


@pytest.fixture
def ends():
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


def test_a_send_never_waits_and_keeps_the_order_and_fails_above_the_backlog(ends):
    """The event loop of a worker sends events to a primary process that may be stopped: it must not stop with it."""
    first, second = ends
    numbers = []
    started_s = time.monotonic()
    with pytest.raises(OSError):
        for number in range(MAX_BACKLOG_BYTES // 1_000_000 + 10):
            first.send(messages.MetricsResponse(number, bytes(1_000_000)))
            numbers.append(number)
    assert time.monotonic() - started_s < 1
    assert len(numbers) > 20
    assert [second.receive().number for _ in numbers] == numbers
    first.send(messages.MetricsResponse(-1, b""))
    assert second.receive().number == -1


def test_closing_with_a_backlog_ends_its_thread_and_frees_the_descriptors(ends):
    first, second = ends
    first.send(messages.MetricsResponse(1, bytes(20_000_000)))
    assert any(thread.name == "segue-backlog" for thread in threading.enumerate())
    first.close()
    deadline_s = time.monotonic() + 10
    while any(thread.name == "segue-backlog" for thread in threading.enumerate()):
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    assert first._socket.fileno() == -1
    assert second.receive() is None
    with pytest.raises(OSError):
        first.send(messages.MetricsResponse(1, b""))


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
            end.send(messages.StopServing(1.0))


def test_only_bytes_are_received_and_never_unpickled(ends):
    """A pickle is no message: the decoder of msgpack refuses it."""
    import msgspec

    first, second = ends
    first._socket.sendall(struct.pack("!i", 24) + b"cos\nsystem\n(S'true'\ntR.".ljust(24))
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
    pending.fail(OSError("too old"), older_than_s=60)
    assert not requests[numbers[0]].done()
    pending.fail(OSError("the end"))
    assert [str(requests[numbers[n]].exception()) for n in (0, 2)] == ["the end"] * 2
