"""The script for web pages, run by node against a real server, and the demo shop."""

import json
import re
import shutil
import subprocess

import pytest
from tests.support.live_server import live_client

from segue.serving.http.app import App
from segue.serving.http.static_pages import NUM_DEMO_ITEMS, pages, read

STORY = """
const Segue = require(process.argv[2]);
(async () => {
  const shop = Segue({ url: process.argv[3] + "/", key: process.argv[4] });
  const before = await shop.recommend({ k: 1 });
  await shop.event("e");
  const after = await shop.recommend({ k: 1, placement: "home" });
  await shop.click(after, after.items[0].id);
  await shop.event("a", { event: "purchase", value: 3.5 });
  const ann = Segue({ url: process.argv[3], key: process.argv[4], user: "ann" });
  await ann.event("g");
  const known = await ann.recommend({ k: 1 });
  const next = await shop.similar("i", { k: 1 });
  let refused;
  try { await shop.similar("zz"); } catch (error) { refused = [error.status, error.message]; }
  console.log(JSON.stringify({ session: shop.session, before, after, known, next, refused }));
})();
"""


@pytest.fixture
def node():
    found = shutil.which("node")
    if found is None:
        pytest.skip("node is not installed: the browser script is not run")
    return found


def test_the_script_tells_and_asks(node, start, tmp_path):
    key = "one-key-for-ingest-and-serve"
    server = start(SEGUE_INGEST_KEY=key, SEGUE_SERVE_KEY=key, SEGUE_ADMIN_KEY="admin-admin-admin")
    client = server.client(key="admin-admin-admin")
    script = tmp_path / "segue.js"
    story = tmp_path / "story.js"
    story.write_text(STORY)
    script.write_bytes(read("segue.js"))
    command = [node, str(story), str(script), server.url, key]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert re.fullmatch("[0-9a-f]{32}", found["session"])
    assert [found[name]["items"][0]["id"] for name in ("after", "known", "next")] == ["f", "h", "j"]
    assert found["before"]["items"][0]["id"] != "f"
    assert found["refused"] == [404, "The catalog does not know the item 'zz'."]
    assert [one.item_id for one in client.user("ann").events] == ["g"]
    home = next(one for one in client.report().cells if one.placement == "home")
    assert (home.lists, home.clicked) == (1, 1)


def test_the_script_is_served_and_the_shop_only_where_it_is_asked_for(server):
    router = server.state.router
    with live_client(App(server.state, pages(router))) as web:
        assert web.get("/segue.js").headers["content-type"].startswith("text/javascript")
        assert web.get("/").status_code == 404
    with live_client(App(server.state, pages(router, demo=True))) as web:
        page = web.get("/")
        assert page.headers["content-type"].startswith("text/html")
        assert "default-src 'self'" in page.headers["content-security-policy"]
        assert "img-src data:" in page.headers["content-security-policy"]
        assert '<link rel="icon" href="data:,">' in page.text, "else a browser asks for an icon that is not there"
        shelf = web.get("/demo/items").json()
        assert [one["id"] for one in shelf] == [
            one.id for one in router.deployment.live.engine.model.top_k([], NUM_DEMO_ITEMS)
        ]
        first = web.post("/v1/recommend", json={"session_id": "s", "k": 3}).json()["items"]
        web.post("/v1/events", json={"session_id": "s", "item_id": shelf[4]["id"]})
        assert web.post("/v1/recommend", json={"session_id": "s", "k": 3}).json()["items"] != first


def test_the_page_asks_for_nothing_from_elsewhere():
    text = (read("demo.html") + read("segue.js")).decode()
    without_comments = re.sub(r"^\s*//.*$", "", text, flags=re.MULTILINE)
    assert "http" not in without_comments.replace("https://recommender.example", "")
