"""Changes of items and rules that were acknowledged: in every process within a second, and after any kill."""

import json
import os
import signal
import time

import pytest
from tests.support.server_process import ServerProcess, wait_until
from tests.support.shop_pipelines import IDS, PLACEMENTS, PRICES, save_pipeline

NEW = "%E6%96%B0"


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    placements = [one for one in PLACEMENTS if not one["rules"].get("exclude_shown")]  # of a server of one process
    return save_pipeline("ranks", tmp_path_factory.mktemp("shop") / "run", placements)


def listed(server, **request):
    status, text = server.request("POST", "/v1/recommend", {"k": 60} | request)
    assert status == 200, text
    assert json.loads(text).get("variant", "live") == "live"
    return {item["id"] for item in json.loads(text)["items"]}


def change(server, path, method="PATCH", **body):
    status, text = server.request(method, path, body or None)
    assert status == 200, text
    return json.loads(text)


def test_every_process_has_a_change_within_a_second_and_after_kills(shop, tmp_path):
    dear = next(name for name in IDS if PRICES[name] > 12)
    server = ServerProcess(shop, tmp_path / "data", "--workers", "3").wait_ready(2)
    try:
        change(server, f"/v1/items/{NEW}", "PUT", title="新 Thing i9", price=1.0, brand="b", stock=True)
        change(server, f"/v1/items/{dear}", price=1)
        change(server, "/v1/placements/cheap", "PUT", rules={"filter": "price == 1", "exclude_seen": False})
        change(server, "/v1/placements/plain", "PUT", rules={"exclude_seen": False})
        change(server, "/v1/items/i3", "DELETE")
        acknowledged_s = time.monotonic()
        expected = {"新", dear} | {name for name in IDS if PRICES[name] == 1 and name != "i3"}
        for _ in range(24):  # connections of their own: the kernel spreads them over the processes
            assert listed(server, placement="cheap") == expected
            assert "i3" not in listed(server, placement="mixed")
        assert time.monotonic() - acknowledged_s < 30
        os.kill(server.children()[0], signal.SIGKILL)
        server.wait_ready(2)
        for _ in range(12):
            assert listed(server, placement="cheap") == expected
        for user in range(6):
            for name in ("i20", "新"):
                server.request("POST", "/v1/events", {"user_id": f"u{user}", "item_id": name})
        request = {"history": ["i20"], "k": 1, "exclude_seen": False, "placement": "plain"}
        wait_until(lambda: all(listed(server, **request) == {"新"} for _ in range(8)), 20)
        change(server, f"/v1/items/{dear}", price=9)
        server.send_signal(signal.SIGKILL)  # right behind the acknowledgement
        server.process.wait(30)
    finally:
        server.kill()
    again = ServerProcess(shop, tmp_path / "data", "--workers", "2").wait_ready(1)
    try:
        for _ in range(8):
            assert listed(again, placement="cheap") == expected - {dear}
            assert "i3" not in listed(again, placement="mixed")
        assert json.loads(again.request("GET", f"/v1/items/{dear}")[1])["columns"]["price"] == 9.0
        assert again.end()[0] == 0
    finally:
        again.kill()
