"""Waiting questions are answered together; too many are refused; slow answers are given up; nobody is forgotten."""

import asyncio
import threading
import time

import pytest

from segue.serving.config import BatchingConfig
from segue.serving.http.load_shedding import EventLoopLag
from segue.serving.inference.micro_batcher import DeadlineExceeded, MicroBatcher
from segue.serving.schemas.problems import Problem


class Slow:
    """Doubles numbers, a batch at a time, once it is let through."""

    def __init__(self):
        self.open, self.entered, self.batches = threading.Event(), threading.Event(), []

    def __call__(self, questions):
        self.batches.append(list(questions))
        self.entered.set()
        assert self.open.wait(10)
        return [ValueError(f"{q} is odd") if q % 2 else q * 2 for q in questions]


async def entered(work):
    await asyncio.to_thread(work.entered.wait, 10)


def test_what_waits_is_the_next_batch_and_everybody_gets_the_own_answer():
    work = Slow()
    batcher = MicroBatcher(work, BatchingConfig(max_batch_size=4))

    async def main():
        first = asyncio.create_task(batcher.submit(0))
        await entered(work)
        others = [asyncio.create_task(batcher.submit(n)) for n in range(2, 9)]
        await asyncio.sleep(0.02)
        work.open.set()
        return await asyncio.gather(first, *others, return_exceptions=True)

    answers = asyncio.run(main())
    assert work.batches == [[0], [2, 3, 4, 5], [6, 7, 8]]
    assert [a if isinstance(a, int) else str(a) for a in answers] == [
        0, 4, "3 is odd", 8, "5 is odd", 12, "7 is odd", 16,
    ]  # fmt: skip
    batcher.close()


def test_an_error_of_the_work_reaches_its_askers_and_the_thread_lives_on():
    def work(questions):
        if questions[0] < 0:
            raise RuntimeError("a bug")
        return list(questions)

    batcher = MicroBatcher(work)

    async def main():
        with pytest.raises(RuntimeError, match="a bug"):
            await batcher.submit(-1)
        return await batcher.submit(7)

    assert asyncio.run(main()) == 7
    batcher.close()


def test_too_many_are_refused_at_once_with_a_time_to_come_back():
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

    answers = asyncio.run(main())
    refused = [a for a in answers if isinstance(a, Problem)]
    assert [a for a in answers if not isinstance(a, Problem)] == [4] * 3
    assert [(p.status, p.detail, p.headers) for p in refused] == [
        (503, "3 requests wait to be scored: try again in a moment.", {"Retry-After": "1"})
    ] * 2
    batcher.close()


def test_old_queues_take_nobody_in():
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


def test_nobody_is_let_in_who_would_wait_too_long():
    """The oldest question was young while hundreds came behind it: they were let in, and given up after all."""

    def work(questions):
        time.sleep(0.02)
        return questions

    batcher = MicroBatcher(work, BatchingConfig(max_batch_size=2, max_queue_delay_ms=100, timeout_ms=10_000))

    async def timed(number):
        began = time.monotonic()
        return await batcher.submit(number), time.monotonic() - began

    async def main():
        for n in range(3):
            await batcher.submit(n)
        began = time.monotonic()
        found = await asyncio.gather(*(timed(n) for n in range(200)), return_exceptions=True)
        return found, time.monotonic() - began

    found, took_s = asyncio.run(main())
    taken = [one for one in found if not isinstance(one, Problem)]
    assert taken[0][0] == 0
    # Two at a time, in a tenth of a second and in whatever time a slow machine takes to ask 200 questions.
    assert 1 <= len(taken) <= 15 + 2 * took_s / 0.02
    assert max(own_s for _, own_s in taken) < 5
    assert batcher.expected_wait_ms() == 0
    batcher.close()


def test_whoever_waits_too_long_is_told_and_costs_no_scoring():
    work = Slow()
    batcher = MicroBatcher(work, BatchingConfig(max_batch_size=1, timeout_ms=30))

    async def main():
        tasks = [asyncio.create_task(batcher.submit(n)) for n in (0, 2)]
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        work.open.set()
        return answers, await batcher.submit(4)

    answers, last = asyncio.run(main())
    assert [type(a) for a in answers] == [DeadlineExceeded, DeadlineExceeded]
    assert last == 8
    assert work.batches == [[0], [4]], "the second one had gone before its turn"
    batcher.close()


def test_closing_answers_what_waits_and_takes_no_more():
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
def test_limits_must_make_sense(fields, sentence):
    with pytest.raises(ValueError) as error:
        BatchingConfig(**fields)
    assert str(error.value) == sentence


def test_the_door_is_shut_while_the_loop_is_late_and_opens_again():
    pulse = EventLoopLag(limit_ms=50)
    pulse.admit()

    async def main():
        beating = asyncio.create_task(pulse.beat())
        await asyncio.sleep(0.05)
        pulse.admit()
        time.sleep(0.15)  # whatever keeps a loop from its work
        with pytest.raises(Problem) as refused:
            pulse.admit()
        assert (refused.value.status, refused.value.detail) == (503, "The server is busy: try again in a moment.")
        assert refused.value.headers == {"Retry-After": "1"}
        await asyncio.sleep(0.05)
        pulse.admit()
        beating.cancel()

    asyncio.run(main())


def test_quick_questions_are_answered_by_the_loop_and_slow_ones_beside_it():
    """The first answer is the thread's, because nobody knows yet how long one takes."""
    threads, pause_s = [], [0.0]

    def work(questions):
        threads.append((threading.get_ident(), len(questions)))
        time.sleep(pause_s[0])
        return list(questions)

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


def test_a_question_that_came_while_the_thread_was_at_work_is_not_forgotten():
    """Quick and slow ones in turns from several loops at once: everybody is answered."""

    def work(questions):
        time.sleep(0.004 if any(q % 7 == 0 for q in questions) else 0.0)
        return list(questions)

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
