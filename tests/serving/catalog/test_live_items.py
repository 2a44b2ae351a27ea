"""Items that are changed, added and deleted over HTTP: at once in every list of every version, and after a restart."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from urllib.parse import quote

import pytest
from tests.support.server_process import wait_until
from tests.support.shop_pipelines import IDS, IN_STOCK, PRICES

from segue.models import artifact
from segue.serving.administration.back_up import back_up
from segue.serving.administration.catalog_service import MAX_NEW_ITEMS
from segue.serving.catalog.live_pipeline import LivePipeline
from segue.serving.deployment.model_registry import ModelRegistry

TEA = "龙井茶-50g"


def listed(server, k=60, **request):
    answer = server.web.post("/v1/recommend", json={"k": k, **request})
    assert answer.status_code == 200, answer.text
    return [item["id"] for item in answer.json()["items"]]


def item(server, name, method="GET", **cells):
    answer = server.web.request(method, f"/v1/items/{quote(name, safe='')}", **({"json": cells} if cells else {}))
    assert answer.status_code == 200, answer.text
    return answer.json()


def refused(server, name, method, **options):
    answer = server.web.request(method, f"/v1/items/{name}", **options)
    return answer.status_code, answer.json()["detail"]


def test_a_sold_out_item_leaves_the_placements_that_need_stock_and_comes_back(server):
    stocked = [name for name in IDS if IN_STOCK[name]]
    assert set(listed(server, placement="stocked")) == set(stocked)
    state = item(server, "i3", "PATCH", stock=False)
    assert (state["recommendable"], state["columns"]["stock"]) == (True, False)
    assert "stocked" not in state["versions"][0]["placements"]
    assert set(listed(server, placement="stocked")) == {*stocked} - {"i3"}
    assert "i3" in listed(server, placement="cheap", filter="not stock") if PRICES["i3"] < 5 else True
    item(server, "i3", "PATCH", stock=True)
    assert set(listed(server, placement="stocked")) == set(stocked)


def test_a_price_moves_filters_of_placements_and_requests(server):
    dear = next(name for name in IDS if PRICES[name] > 12)
    cheap = set(listed(server, placement="cheap"))
    assert dear not in cheap
    item(server, dear, "PATCH", price=1)
    assert set(listed(server, placement="cheap")) == cheap | {dear}
    assert dear in listed(server, placement="cheap", filter=f'price == 1 and item_id == "{dear}"')
    assert item(server, dear)["columns"] == {"price": 1.0, "brand": item(server, dear)["columns"]["brand"],
                                             "stock": IN_STOCK[dear]}  # fmt: skip
    item(server, dear, "PATCH", price=None)
    assert set(listed(server, placement="cheap")) == cheap
    assert "price" not in item(server, dear)["columns"]


def test_an_item_that_is_not_available_is_in_no_list_of_any_kind(server):
    item(server, "i5", "PATCH", available=False)
    state = item(server, "i5")
    assert (state["recommendable"], state["reason"]) == (False, "It is not available.")
    for request in ({}, {"placement": "cheap"}, {"placement": "mixed"}, {"placement": "drawn"}, {"allow": ["i5"]}):
        assert "i5" not in listed(server, history=["i4"], **request)
    assert "i5" not in [
        one["id"] for one in server.web.post("/v1/similar", json={"item_id": "i4", "k": 60}).json()["items"]
    ]
    following = server.web.post("/v1/next", json={"history": ["i4"], "steps": 30}).json()["items"]
    assert "i5" not in [one["id"] for one in following]
    item(server, "i5", "PATCH", available=3)
    assert "i5" in listed(server, history=["i4"])


def test_a_deleted_item_stays_away_until_it_is_put_again(server):
    assert item(server, "i7", "DELETE")["deleted"] is True
    assert item(server, "i7", "DELETE")["revision"] == item(server, "i7")["revision"]
    assert "i7" not in listed(server, placement="stocked", exclude_seen=False)
    page = server.web.get("/v1/items?limit=1000").json()
    assert (page["total"], "i7" in [one["id"] for one in page["items"]]) == (39, False)
    gone = (404, "The item 'i7' was deleted: PUT it to have it recommended again.")
    assert refused(server, "i7", "PATCH", json={"price": 3}) == gone
    state = item(server, "i7", "PUT", title="Back again", price=2.0, stock=True)
    assert (state["title"], state["columns"]) == ("Back again", {"price": 2.0, "stock": True})
    assert "i7" in listed(server, placement="stocked")
    assert refused(server, "zz", "DELETE") == (404, "The catalog does not know the item 'zz'.")
    assert refused(server, "zz", "PATCH", json={"price": 3})[0] == 404


def test_a_new_item_is_recommended_from_that_moment_under_every_rule(server):
    assert TEA not in listed(server)
    state = item(server, TEA, "PUT", title="Thing i9 龙井茶", price=3.0, brand="b", stock=True)
    assert (state["recommendable"], state["versions"][0]["role"]) == (True, "live")
    assert set(state["versions"][0]["placements"]) == {"default", "cheap", "stocked", "mixed", "drawn"}
    answer = server.web.post("/v1/recommend", json={"history": ["i8"], "k": 60, "explain": True}).json()
    new = next(one for one in answer["items"] if one["id"] == TEA)
    assert (new["title"], new["source"], new["reason"]["zh"]) == ("Thing i9 龙井茶", "new-by-content", "新品上架。")
    assert TEA in listed(server, placement="cheap")
    assert listed(server, filter=f'item_id == "{TEA}"', exclude_seen=False) == [TEA]
    item(server, TEA, "PATCH", price=15)
    assert TEA not in listed(server, placement="cheap")
    item(server, TEA, "PATCH", stock=False)
    assert TEA not in listed(server, placement="stocked")
    assert TEA in [one["id"] for one in server.web.get("/v1/items?limit=1000").json()["items"]]


def test_a_new_item_counts_in_histories_similar_items_and_sequences(server):
    item(server, TEA, "PUT", title="Thing i9", price=3.0, brand="b", stock=True)
    event = {"user_id": "ann", "event": {"item_id": TEA}, "k": 60, "exclude_seen": True}
    answer = server.web.post("/v1/recommend", json=event).json()
    assert answer["unknown_items"] == []
    assert TEA not in [one["id"] for one in answer["items"]]
    similar = server.web.post("/v1/similar", json={"item_id": TEA, "k": 5}).json()["items"]
    assert len(similar) == 5
    assert TEA not in [one["id"] for one in similar]
    following = server.web.post("/v1/next", json={"history": ["i3", TEA], "steps": 4})
    assert following.status_code == 200
    assert len(following.json()["items"]) == 4


def test_the_index_of_a_large_catalog_is_built_behind_the_acknowledgement(server, monkeypatch):
    monkeypatch.setattr("segue.serving.catalog.live_pipeline.MAX_ITEMS_AT_ONCE", 0)
    assert item(server, TEA, "PUT", title="Thing i9", brand="b")["recommendable"]
    assert listed(server, filter=f'item_id == "{TEA}"') == [TEA]
    service = server.admin.router.deployment.live.engine.model.pipeline_service
    wait_until(lambda: service.placements.new_items.similarities_NK[0, 0] > 0.5, 10)
    assert listed(server, history=["i8"], k=60).index(TEA) < 30


def test_an_event_before_the_item_was_put_belongs_to_its_history(server):
    server.web.post("/v1/recommend", json={"user_id": "ann", "event": {"item_id": TEA}})
    item(server, TEA, "PUT", title="Thing i9", stock=True)
    assert TEA not in listed(server, user_id="ann", exclude_seen=True)
    assert TEA in listed(server, user_id="bob")


def test_first_events_raise_a_new_item_for_users_like_the_first(server):
    item(server, TEA, "PUT", title="没有相似的商品", stock=True)
    everyone = [f"u{number}" for number in range(12)]
    for user in everyone:
        server.web.post("/v1/events", json={"user_id": user, "item_id": "i20"})
    before = listed(server, history=["i20"], exclude_seen=False).index(TEA)
    for user in everyone[:8]:
        server.web.post("/v1/events", json={"user_id": user, "item_id": TEA})
    wait_until(lambda: listed(server, history=["i20"], exclude_seen=False).index(TEA) < min(before, 5), 10)
    answer = server.web.post("/v1/recommend", json={"history": ["i20"], "k": 60, "exclude_seen": False}).json()
    assert next(one for one in answer["items"] if one["id"] == TEA)["source"] == "new-by-events"


def test_the_first_events_of_an_erased_user_do_not_count(server):
    item(server, TEA, "PUT", title="没有相似的商品", stock=True)
    live = server.admin.router.deployment.live.live
    for name in ("i20", TEA):
        server.web.post("/v1/events", json={"user_id": "ann", "item_id": name})
    wait_until(lambda: sum(live.pipeline.events.counts.values()) == 1, 10)
    assert server.web.delete("/v1/users/ann").json()["events"] == 2
    wait_until(lambda: sum(live.pipeline.events.counts.values()) == 0, 10)
    assert live.pipeline.events.pairs().before_P.tolist() == []
    assert item(server, TEA)["title"] == "没有相似的商品"


def test_everything_is_there_after_a_restart_and_in_a_backup(tmp_path, shop, open_server):
    with open_server(tmp_path / "data", shop) as server:
        item(server, TEA, "PUT", title="Thing i9", price=3.0, brand="b", stock=True)
        item(server, "i3", "PATCH", stock=False)
        item(server, "i7", "DELETE")
        for user in range(4):
            for name in ("i20", TEA):
                server.web.post("/v1/events", json={"user_id": f"u{user}", "item_id": name})
        back_up(tmp_path / "data", tmp_path / "copy")
    for folder in ("data", "copy"):
        with open_server(tmp_path / folder, shop) as server:
            stocked = listed(server, placement="stocked", exclude_seen=False)
            assert TEA in stocked
            assert not {"i3", "i7"} & set(stocked)
            live = server.admin.router.deployment.live.live
            assert dict(live.pipeline.events.counts) == {41: 4}
            assert live.pipeline.events.pairs().before_P.tolist() == [21]


def test_a_change_that_cannot_be_applied_hides_its_item_and_blocks_no_other(tmp_path, shop, open_server, monkeypatch):
    replace_placements = LivePipeline.replace_placements

    def failing(self, items, changed, rules):
        if any(one.cells.get("price") == 666 for one in items.values()):
            raise OverflowError
        replace_placements(self, items, changed, rules)

    monkeypatch.setattr(LivePipeline, "replace_placements", failing)
    with open_server(tmp_path / "data", shop) as server:
        state = item(server, "i3", "PATCH", price=666)
        assert (state["recommendable"], state.get("deleted", False)) == (False, False)
        assert state["reason"].startswith("Its change could not be applied (OverflowError)")
        assert "i3" not in listed(server, exclude_seen=False)
        assert item(server, TEA, "PUT", title="Thing i9", price=3.0, stock=True)["recommendable"]
    with open_server(tmp_path / "data", shop) as server:
        assert item(server, "i3")["reason"].startswith("Its change could not be applied")
        assert TEA in listed(server) and "i3" not in listed(server, exclude_seen=False)
        assert item(server, "i3", "PATCH", price=2)["recommendable"]
        assert "i3" in listed(server, exclude_seen=False)


def test_a_title_has_the_column_of_the_items_table(tmp_path, run, open_server):
    titled = tmp_path / "run"
    loaded = artifact.load(run)
    rows = {name: {"商品名称": f"第{name}个", "title": f"第{name}个", "price": 1.0} for name in loaded.catalog.ids}
    artifact.save(replace(loaded, items=rows), titled)
    with open_server(tmp_path / "data", titled) as server:
        assert item(server, "c")["title"] == "第c个"
        assert item(server, "c", "PATCH", 商品名称="第三个")["title"] == "第三个"
        assert item(server, "c", "PATCH", price=2)["title"] == "第三个"
        assert item(server, "c", "PATCH", title="短")["title"] == "短"
        assert "title" not in item(server, "c", "PUT", price=3)


def test_a_single_model_obeys_and_says_what_it_cannot(tmp_path, run, open_server):
    with open_server(tmp_path / "data", run) as server:
        assert "c" in listed(server, history=["b"])
        for cells in ({"stock": 0}, {"in_stock": False}, {"available": False}, {"库存": "缺货"}):
            item(server, "c", "PUT", title="The third", **cells)
            assert "c" not in listed(server, history=["b"])
            assert "c" not in [
                one["id"] for one in server.web.post("/v1/similar", json={"item_id": "b"}).json()["items"]
            ]
            assert "c" not in [
                one["id"] for one in server.web.post("/v1/next", json={"history": ["b"], "steps": 11}).json()["items"]
            ]
            item(server, "c", "PUT", title="The third", **dict.fromkeys(cells, 1))
            assert "c" in listed(server, history=["b"])
        state = item(server, "neu", "PUT", title="New")
        assert state["recommendable"] is False
        assert state["reason"] == (
            f"Version {server.admin.router.deployment.live.version} is a single model (markov) that was trained "
            "without this item: train it again, or deploy a pipeline or a neural model with item features."
        )
        titles = {one["id"]: one.get("title") for one in server.web.post("/v1/recommend", json={}).json()["items"]}
        assert titles["c"] == "The third"


REFUSED = [
    ("PATCH", {"json": {"price": "9"}}, 422, "Column 'price' holds numbers, but the value is text."),
    ("PATCH", {"json": {"prise": 9}}, 422, "The items have no column 'prise'. Did you mean 'price'?"),
    ("PATCH", {"json": {"price": 10**400}}, 422, "price holds a number above 1.8e+308, the largest one."),
    ("PATCH", {"json": {"title": 3}}, 422, "title must be text."),
    ("PATCH", {"json": {"available": "no"}}, 422, "available must be true, false or a number of pieces."),
    ("PATCH", {"json": {"price": {"eur": 3}}}, 422, "price must be text, a number"),
    ("PATCH", {"json": {"item_id": "i4", "price": 3}}, 422, "The body names another item than the path"),
    ("PATCH", {"json": {f"c{n}": 1 for n in range(65)}}, 422, "The body is not valid"),
    ("PATCH", {"json": {"title": "x" * 4097}}, 422, "title has more than 4096 characters"),
    ("PATCH", {"json": [1]}, 422, "The body is not valid"),
    ("PATCH", {"content": b"{", "headers": {"content-type": "application/json"}}, 400, "The body is not JSON"),
    (
        "PATCH",
        {"content": b'{"price": 1e999}', "headers": {"content-type": "application/json"}},
        422,
        "A value of the body is not",
    ),
    (
        "PATCH",
        {"content": b'{"title": "\xff"}', "headers": {"content-type": "application/json"}},
        400,
        "The body is not",
    ),
    ("PUT", {"json": {"tags": ["x" * 4000] * 20}}, 413, "The cells of an item take at most 65536 bytes."),
    ("PUT", {"content": b"{}", "headers": {"content-type": "application/merge-patch+json"}}, 415, "The Content-Type"),
    ("PUT", {"content": b"{}", "headers": {"content-type": "text/plain"}}, 415, "The Content-Type must be"),
]


@pytest.mark.parametrize(("method", "options", "status", "sentence"), REFUSED)
def test_a_wrong_change_is_refused_with_its_reason_and_nothing_is_stored(server, method, options, status, sentence):
    answer = refused(server, "i3", method, **options)
    assert answer[0] == status, answer
    assert answer[1].startswith(sentence)
    assert server.admin.store.rows("SELECT count(*) FROM live_items")[0][0] == 0


def test_a_merge_patch_may_say_so(server):
    headers = {"content-type": "application/merge-patch+json"}
    answer = server.web.patch("/v1/items/i3", content=b'{"price": 4, "item_id": "i3"}', headers=headers)
    assert (answer.status_code, answer.json()["columns"]["price"]) == (200, 4.0)


def test_bytes_that_are_no_text_in_a_path_or_query_name_nobody(server):
    """The id of a GBK client was read with replacement characters, and an erasure of nobody was receipted."""
    server.web.post("/v1/events", json={"user_id": "用户", "item_id": "i3"})
    for method, path in [
        ("DELETE", "/v1/users/%D3%C3%BB%A7"), ("GET", "/v1/users/%D3%C3%BB%A7"), ("GET", "/v1/items/%ff"),
        ("DELETE", "/v1/items/%ff"), ("GET", "/v1/items?after=%D3%C3"), ("GET", "/v1/placements/%C3%28"),
        ("DELETE", "/v1/users/%ED%A0%80"), ("DELETE", "/v1/users/%C0%AF"),
    ]:  # fmt: skip
        answer = server.web.request(method, path)
        assert answer.status_code == 400, (method, path, answer.text)
        assert answer.json()["detail"].endswith("is not UTF-8 once its percent signs are decoded.")
    for method in ("PUT", "PATCH"):
        assert server.web.request(method, "/v1/items/%D3%C3", json={"title": "x"}).status_code == 400
    assert not server.admin.store.erasure.has_records
    assert len(server.web.get("/v1/users/%E7%94%A8%E6%88%B7").json()["events"]) == 1


def test_the_number_of_new_items_has_a_limit(server, monkeypatch):
    assert MAX_NEW_ITEMS >= 10_000
    monkeypatch.setattr("segue.serving.administration.catalog_service.MAX_NEW_ITEMS", 2)
    for name in ("n1", "n2"):
        item(server, name, "PUT", title=name)
    status, detail = refused(server, "n3", "PUT", json={"title": "n3"})
    assert (status, detail[:20]) == (507, "The server holds 2 i")
    item(server, "n1", "PUT", title="again")
    item(server, "i1", "PATCH", price=3)


def test_changes_at_once_get_a_revision_each(server):
    names = [f"i{number % 30}" for number in range(60)] + [f"n{number}" for number in range(20)]
    with ThreadPoolExecutor(16) as pool:
        states = list(pool.map(lambda name: item(server, name, "PUT", title=f"Title of {name}", price=4.0), names))
    assert len({state["revision"] for state in states}) == len(names)
    assert {f"n{number}" for number in range(20)} <= set(listed(server, k=100, placement="cheap"))


def test_every_deployed_version_obeys_before_and_after_a_swap(tmp_path, shop, save, ring, open_server):
    models = ModelRegistry(tmp_path / "models")
    loaded = artifact.load(shop)
    with_item = tmp_path / "second"
    shutil.copytree(shop, with_item)
    artifact.save(artifact.Artifact(loaded.model, loaded.settings, loaded.catalog, loaded.arrays, loaded.items,
                                    {**loaded.about, "again": True}), with_item)  # fmt: skip
    one, two = models.add(shop), models.add(with_item)
    three = models.add(save(tmp_path / "plain", "markov", ring))
    models.promote(one)
    with open_server(tmp_path / "data", models.folder) as server:
        item(server, TEA, "PUT", title="Thing i9", price=3.0, brand="b", stock=True)
        item(server, "i3", "PATCH", stock=False)
        server.web.post("/v1/admin/promote", json={"version": two})
        for _ in range(2):
            stocked = listed(server, placement="stocked", exclude_seen=False)
            assert TEA in stocked
            assert "i3" not in stocked
            roles = [version["role"] for version in item(server, "i3", "PATCH", price=2.0)["versions"]]
            assert set(roles) == {"live", "previous"}
            assert "i3" in listed(server, placement="cheap")
            server.web.post("/v1/admin/rollback", json={})
        answer = server.web.post("/v1/admin/promote", json={"version": three}).json()
        assert answer["roles"]["live"] == three
        state = item(server, TEA, "PATCH", price=2.0)
        assert {one["role"]: one["recommendable"] for one in state["versions"]} == {"live": False, "previous": True}


def test_a_public_key_sees_titles_only(server):
    from segue.serving.http.auth import Keys

    item(server, "i3", "PATCH", price=4.0)
    server.state.keys = Keys({"SEGUE_SERVE_KEY": "s" * 20, "SEGUE_ADMIN_KEY": "a" * 20})
    serve, admin = ({"authorization": f"Bearer {key * 20}"} for key in "sa")
    assert server.web.get("/v1/items/i3", headers=serve).json() == {"id": "i3", "title": "Thing i3"}
    assert server.web.put("/v1/items/i3", headers=serve, json={}).status_code == 403
    assert server.web.put("/v1/items/i3", json={}).status_code == 401
    assert server.web.patch("/v1/items/i3", headers=admin, json={"price": 5}).json()["columns"]["price"] == 5.0
