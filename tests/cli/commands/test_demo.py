"""The demo shop, started as it is typed: a page, its items, and a list that follows the clicks."""

import json
import re
import subprocess
import sys
from pathlib import Path
from urllib.request import Request, urlopen


def get(url: str, body: object = None) -> bytes:
    data = None if body is None else json.dumps(body).encode()
    with urlopen(Request(url, data, {"Content-Type": "application/json"}), timeout=10) as answer:
        body_bytes: bytes = answer.read()
        return body_bytes


def test_clicks_change_the_list(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "segue.cli.main", "demo", "--port", "0", "--out", str(tmp_path / "demo")]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert server.stderr is not None
        line = next(line for line in server.stderr if "Serving on" in line)
        address = re.search(r"http://[^;]+(?=; open it in a browser)", line)
        assert address is not None
        url = address.group()
        for _ in range(100):
            try:
                page = get(url)
                break
            except OSError:
                continue
        assert b"click on an item" in page and b"Segue(" in get(f"{url}/segue.js")
        items = json.loads(get(f"{url}/demo/items"))
        assert len(items) == 24 and all(item["title"] for item in items)
        request = {"session_id": "s", "k": 6}
        before = json.loads(get(f"{url}/v1/recommend", request))
        get(f"{url}/v1/events", {"session_id": "s", "item_id": "22386"})
        after = json.loads(get(f"{url}/v1/recommend", request))
        assert before["items"] != after["items"]
        assert "JUMBO" in " ".join(item["title"].upper() for item in after["items"])
    finally:
        server.terminate()
        server.communicate(timeout=30)
