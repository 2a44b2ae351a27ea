"""Clients change items and rules of placements, also those with Chinese names."""

import asyncio

import pytest
from tests.support.live_server import live_server
from tests.support.shop_pipelines import save_pipeline

from segue.serving.client.async_client import AsyncClient
from segue.serving.client.client import Client
from segue.serving.http.app import App
from segue.serving.schemas.admin import PlacementSettings
from segue.serving.schemas.problems import Problem
from segue.serving.schemas.requests import RecommendRequest


@pytest.fixture(scope="module")
def address(tmp_path_factory, open_server):
    folder = tmp_path_factory.mktemp("catalog")
    run = save_pipeline("ranks", folder / "run")
    with open_server(folder / "data", run) as server, live_server(App(server.state)) as port:
        yield f"http://127.0.0.1:{port}"


def test_a_client_puts_patches_and_deletes_an_item_and_its_rules(address):
    with Client(address) as client:
        added = client.put_item("新/1", {"title": "乌龙茶", "price": 3.0, "brand": "a", "stock": True})
        assert (added.recommendable, added.columns["price"]) == (True, 3.0)
        assert client.item("新/1").title == "乌龙茶"
        assert client.patch_item("新/1", {"price": None, "brand": "b"}).columns == {"brand": "b", "stock": True}
        shelf = client.put_placement("货架", PlacementSettings({"filter": 'brand == "b"', "exclude_seen": False}))
        assert [one.name for one in client.placements().placements if one.source == "live"] == ["货架"]
        assert client.placement("货架") == shelf
        listed = client.recommend(RecommendRequest(k=60, placement="货架")).items
        assert "新/1" in [item.id for item in listed]
        client.put_placement("货架", PlacementSettings({"filter": 'brand == "a"'}))
        assert client.roll_back_placement("货架").settings == shelf.settings
        assert client.delete_placement("货架").source == "none"
        assert client.delete_item("新/1").deleted
        with pytest.raises(Problem) as refused:
            client.patch_item("新/1", {"price": 1.0})
        assert refused.value.status == 404


def test_the_asyncio_client_does_the_same(address):
    async def use() -> None:
        async with AsyncClient(address) as client:
            assert (await client.put_item("新2", {"title": "红茶"})).recommendable
            assert (await client.item("新2")).title == "红茶"
            assert (await client.patch_item("新2", {"price": 2.0})).columns == {"price": 2.0}
            await client.put_placement("shelf", PlacementSettings({"filter": "price == 2"}))
            assert (await client.placement("shelf")).revision > 0
            assert any(one.name == "shelf" for one in (await client.placements()).placements)
            assert (await client.roll_back_placement("shelf")).source == "none"
            assert (await client.delete_item("新2")).deleted

    asyncio.run(use())
