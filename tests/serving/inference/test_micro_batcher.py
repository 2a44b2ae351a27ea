"""Micro-batching: waiting queries are scored together, too many are refused, each gets a result or a deadline error."""

import asyncio
import threading
import time

import pytest

from segue.serving.config import BatchingConfig
from segue.serving.http.load_shedding import EventLoopLag
from segue.serving.inference.micro_batcher import DeadlineExceeded, MicroBatcher
from segue.serving.schemas.problems import Problem


class Slow:
    """Work that doubles numbers, a batch at a time, once it is opened."""

    def __init__(self):
        self.open, self.entered, self.batches = threading.Event(), threading.Event(), []

    def __call__(self, queries):
        self.batches.append(list(queries))
        self.entered.set()
        assert self.open.wait(10)
        return [ValueError(f"{q} is odd") if q % 2 else q * 2 for q in queries]


async def entered(work):
    await asyncio.to_thread(work.entered.wait, 10)


def test_waiting_queries_are_the_next_batch_and_each_gets_its_result():
    work = Slow()
    batcher = MicroBatcher(work, BatchingConfig(max_batch_size=4))

    async def main():
        first = asyncio.create_task(batcher.submit(0))
        await entered(work)
        others = [asyncio.create_task(batcher.submit(n)) for n in range(2, 9)]
        await asyncio.sleep(0.02)
        work.open.set()
        return await asyncio.gather(first, *others, return_exceptions=True)

    responses = asyncio.run(main())
    assert work.batches == [[0], [2, 3, 4, 5], [6, 7, 8]]
    assert [a if isinstance(a, int) else str(a) for a in responses] == [
        0, 4, "3 is odd", 8, "5 is odd", 12, "7 is odd", 16,
    ]  # fmt: skip
    batcher.close()


def test_an_error_of_a_batch_reaches_its_queries_and_the_thread_goes_on():
    def work(queries):
        if queries[0] < 0:
            raise RuntimeError("a bug")
        return list(queries)

    batcher = MicroBatcher(work)

    async def main():
        with pytest.raises(RuntimeError, match="a bug"):
            await batcher.submit(-1)
        return await batcher.submit(7)

    assert asyncio.run(main()) == 7
    batcher.close()


def test_queries_over_the_queue_size_are_refused_with_retry_after():
    work = Slow()
    batcher = MicroBatcher(work, BatchingConfig(max_batch_size=1, queue_size=3))

    async def main():
        first = asyncio.create_task(batcher.submit(0))
        await entered(work)
        others = [asyncio.create_task(batcher.submit(2)) for _ in range(5)]
        await asyncio.sleep(0.02)
        work.open.set()
        await first
        return await asyncio.gather(*others, return_exceptions=True)

    responses = asyncio.run(main())
    refused = [a for a in responses if isinstance(a, Problem)]
    assert [a for a in responses if not isinstance(a, Problem)] == [4] * 3
    assert [(p.status, p.detail, p.headers) for p in refused] == [
        (503, "3 requests wait to be scored: try again in a moment.", {"Retry-After": "1"})
    ] * 2
    batcher.close()


def test_queries_are_refused_while_the_oldest_one_is_too_old():
    work = Slow()
    batcher = MicroBatcher(work, BatchingConfig(max_batch_size=1, max_queue_delay_ms=30, timeout_ms=10_000))

    async def main():
        first = asyncio.create_task(batcher.submit(0))
        await entered(work)
        second = asyncio.create_task(batcher.submit(2))
        await asyncio.sleep(0.06)
        assert batcher.oldest_age_ms() > 30
        with pytest.raises(Problem) as refused:
            await batcher.submit(4)
        assert refused.value.detail == "1 requests wait to be scored: try again in a moment."
        work.open.set()
        assert (await first, await second) == (0, 4)
        assert batcher.oldest_age_ms() == 0
        return await batcher.submit(4)

    assert asyncio.run(main()) == 8
    batcher.close()


def test_queries_with_a_too_long_expected_wait_are_refused():
    """While the oldest query is young, hundreds behind it must not be admitted only to miss their deadline."""

    def work(queries):
        time.sleep(0.02)
        return queries

    batcher = MicroBatcher(work, BatchingConfig(max_batch_size=2, max_queue_delay_ms=100, timeout_ms=10_000))

    async def timed(number):
        started_s = time.monotonic()
        return await batcher.submit(number), time.monotonic() - started_s

    async def main():
        for n in range(3):
            await batcher.submit(n)
        started_s = time.monotonic()
        found = await asyncio.gather(*(timed(n) for n in range(200)), return_exceptions=True)
        return found, time.monotonic() - started_s

    found, took_s = asyncio.run(main())
    accepted = [one for one in found if not isinstance(one, Problem)]
    assert accepted[0][0] == 0
    # Two at a time, in a tenth of a second and in whatever time a slow machine takes to ask 200 questions.
    assert 1 <= len(accepted) <= 15 + 2 * took_s / 0.02
    assert max(own_s for _, own_s in accepted) < 5
    assert batcher.expected_wait_ms() == 0
    batcher.close()


def test_a_query_over_its_deadline_fails_and_is_not_scored():
    work = Slow()
    batcher = MicroBatcher(work, BatchingConfig(max_batch_size=1, timeout_ms=30))

    async def main():
        tasks = [asyncio.create_task(batcher.submit(n)) for n in (0, 2)]
        responses = await asyncio.gather(*tasks, return_exceptions=True)
        work.open.set()
        return responses, await batcher.submit(4)

    responses, last = asyncio.run(main())
    assert [type(a) for a in responses] == [DeadlineExceeded, DeadlineExceeded]
    assert last == 8
    assert work.batches == [[0], [4]], "the second one had gone before its turn"
    batcher.close()


def test_close_finishes_the_waiting_requests_and_refuses_new_ones():
    work = Slow()
    batcher = MicroBatcher(work)

    async def main():
        tasks = [asyncio.create_task(batcher.submit(n)) for n in (0, 2)]
        await entered(work)
        threading.Timer(0.05, work.open.set).start()
        await asyncio.to_thread(batcher.close)
        with pytest.raises(Problem) as refused:
            await batcher.submit(4)
        assert refused.value.detail == "The server is stopping: try again in a moment."
        return await asyncio.gather(*tasks)

    assert asyncio.run(main()) == [0, 4]


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"max_batch_size": 0}, "max_batch_size must be at least 1, got 0."),
        ({"queue_size": 0}, "queue_size must be at least 1, got 0."),
        ({"max_queue_delay_ms": 0}, "max_queue_delay_ms must be above 0, got 0."),
        ({"timeout_ms": -1.5}, "timeout_ms must be above 0, got -1.5."),
    ],
)
def test_settings_out_of_range_are_refused(fields, sentence):
    with pytest.raises(ValueError) as error:
        BatchingConfig(**fields)
    assert str(error.value) == sentence


def test_requests_are_refused_only_while_the_event_loop_lags():
    lag = EventLoopLag(limit_ms=50)
    lag.admit()

    async def main():
        beating = asyncio.create_task(lag.beat())
        await asyncio.sleep(0.05)
        lag.admit()
        time.sleep(0.15)  # whatever keeps a loop from its work
        with pytest.raises(Problem) as refused:
            lag.admit()
        assert (refused.value.status, refused.value.detail) == (503, "The server is busy: try again in a moment.")
        assert refused.value.headers == {"Retry-After": "1"}
        await asyncio.sleep(0.05)
        lag.admit()
        beating.cancel()

    asyncio.run(main())


def test_quick_batches_run_in_the_event_loop_and_slow_ones_in_the_thread():
    """The first batch runs in the thread, because the time per query is not known yet."""
    threads, pause_s = [], [0.0]

    def work(queries):
        threads.append((threading.get_ident(), len(queries)))
        time.sleep(pause_s[0])
        return list(queries)

    batcher = MicroBatcher(work)
    loops = threading.get_ident()

    async def main():
        assert await batcher.submit(1) == 1
        assert await asyncio.gather(*(batcher.submit(n) for n in range(50))) == list(range(50))
        quick, threads[:] = threads[:], []
        pause_s[0] = 0.05
        for n in range(3):
            assert await batcher.submit(n) == n
        slow, threads[:] = threads[:], []
        pause_s[0] = 0.0
        for n in range(60):
            assert await batcher.submit(n) == n
        return quick, slow, threads

    quick, slow, again = asyncio.run(main())
    assert quick[0][0] != loops and [(who, n) for who, n in quick[1:]] == [(loops, 32), (loops, 18)]
    assert slow[0][0] == loops and all(who != loops for who, _ in slow[1:])
    assert again[0][0] != loops and again[-1][0] == loops
    batcher.close()


def test_a_query_that_arrives_during_a_batch_of_the_thread_is_scored():
    """Quick and slow queries in turns from several event loops at once: each gets its result."""

    def work(queries):
        time.sleep(0.004 if any(q % 7 == 0 for q in queries) else 0.0)
        return list(queries)

    batcher = MicroBatcher(work)
    wrong = []

    def client(first):
        async def main():
            for n in range(first, first + 150):
                if await asyncio.wait_for(batcher.submit(n), 10) != n:
                    wrong.append(n)

        asyncio.run(main())

    clients = [threading.Thread(target=client, args=(1000 * n,)) for n in range(4)]
    for one in clients:
        one.start()
    for one in clients:
        one.join(60)
        assert not one.is_alive()
    assert not wrong
    batcher.close()
