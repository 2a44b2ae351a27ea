"""The asyncio client against a real server: many requests at once, refusals, closed connections."""

import asyncio

import pytest

from segue.serving.client.async_client import AsyncClient
from segue.serving.schemas.problems import Problem
from segue.serving.schemas.requests import EventIn, NextRequest, RecommendRequest, SimilarRequest


def test_many_requests_at_once_over_few_connections(start):
    server = start()
    server.client().close()

    async def story():
        async with AsyncClient(server.url, connections=4) as client:
            assert (await client.ready()).status == "ready"
            letters = "abcdefghijk"

            async def one(i):
                await client.events([EventIn(item_id=letters[i % 11], user_id=f"p{i}")])
                response = await client.recommend(RecommendRequest(user_id=f"p{i}", k=1))
                return response.items[0].id

            found = await asyncio.gather(*(one(i) for i in range(60)))
            assert found == ["bcdefghijkl"[i % 11] for i in range(60)]
            assert len(client._idle) <= 4
            assert [i.id for i in (await client.next(NextRequest(history=["c"], steps=2))).items] == ["d", "e"]
            with pytest.raises(Problem) as refused:
                await client.similar(SimilarRequest(item_id="zz"))
            assert refused.value.status == 404
            event = EventIn(item_id="a", user_id="x")
            await client.recommend(RecommendRequest(user_id="x", event=event))
            assert event.event_id is None, "what the caller holds is not written to"

    asyncio.run(story())


def test_a_closed_connection_is_replaced(start):
    server = start()
    server.client().close()

    async def story():
        client = AsyncClient(server.url)
        await client.ready()
        client._idle[0][1].close()
        await asyncio.sleep(0.05)
        assert (await client.events([EventIn(item_id="a", user_id="ann")])).accepted == 1
        await client.close()

    asyncio.run(story())


def test_a_missing_and_a_silent_server_raise_os_errors():
    async def silent(reader, writer):
        await asyncio.sleep(30)

    async def story():
        server = await asyncio.start_server(silent, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(TimeoutError):
            await AsyncClient(f"http://127.0.0.1:{port}", timeout_s=0.2).ready()
        server.close()
        with pytest.raises(OSError):
            await AsyncClient(f"http://127.0.0.1:{port}", timeout_s=2).ready()

    asyncio.run(story())
