"""A shop's day from end to end: ``python benchmarks/shop_day.py [SEED]``.

A messy Chinese log with a planted rule of succession is profiled, cleaned, compared, fitted to a pipeline with rules
and served. Requests in Chinese, an item sold out and replaced, a new day of events and an update, batch lists, a report
of purchases and an erasure follow. Once in GB18030, once in UTF-8 with a byte order mark.

Every list is checked item by item, and every ranking is compared with that of the true probabilities. Writes
``results/shop-day.json``; the suite runs a small shop (``tests/workflows/test_shop_day.py``).
"""

import contextlib
import csv
import http.client
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import polars as pl

import machine
from machine import ROOT
from shop_world import (
    CANCELLATIONS,
    COLUMNS,
    DAY_S,
    ITEM_COLUMNS,
    NOBODY,
    NOTHING,
    ROBOT,
    Event,
    Item,
    State,
    basket_rules,
    home_rules,
    item_rows,
    make_events,
    make_shop,
    messy_rows,
    time_text,
    write_table,
)

sys.path.insert(0, str(ROOT))

from tests.support.cli import SEGUE
from tests.support.cli import run as segue
from tests.support.server_process import ServerProcess, wait_until

import segue as library

ENCODINGS = ("gb18030", "utf-8-sig")
PLACEMENTS = (None, "首页", "购物车")
NEW_ITEM = "新品-春茶"
SOURCES = """
[[source]]
model = "markov"

[[source]]
model = "covisit"

[[source]]
model = "popularity"

[[source]]
model = "content-knn"
"""


@dataclass(frozen=True)
class Size:
    """Size of a shop and of its checks."""

    items: int
    users: int
    mean_events: int
    checks: int
    """Number of users whose lists are checked on each path."""
    measured: int
    """Largest number of live events before which the list is compared with the true probabilities."""
    workers: int = 1
    both_placements: bool = False
    """Batch lists of two placements, instead of one."""


FULL = Size(items=400, users=9_000, mean_events=12, checks=300, measured=3_000, workers=2, both_placements=True)
SMALL = Size(items=40, users=450, mean_events=14, checks=8, measured=200)


class Day:
    """One shop, its files, and what was found on the way."""

    def __init__(self, folder: Path, size: Size, encoding: str, seed: int) -> None:
        """Make the shop and write its files.

        Args:
            folder: empty folder.
            size: size of the shop.
            encoding: encoding of its files.
            seed: random seed.
        """
        self.folder, self.size, self.encoding = folder, size, encoding
        self.rng = np.random.default_rng((seed, 2))
        self.now_s = int(time.time())
        self.shop = make_shop(seed, size.items)
        self.today_s = self.now_s - 20 * 3600
        last = {f"用户{n:05d}·王芳": "" for n in range(size.users)}
        earlier = make_events(self.shop, self.rng, last, self.today_s - 60 * DAY_S, self.today_s, size.mean_events)
        last = {user: item for user, item in last.items() if item}
        active = dict(list(last.items())[: size.users // 4])
        self.past = earlier
        self.today = make_events(self.shop, self.rng, active, self.today_s, self.now_s - 2 * 3600, 4)
        self.evening = make_events(self.shop, self.rng, active, self.now_s - 7200, self.now_s - 60, 3)
        self.lists: Counter[str] = Counter()
        self.violations: list[str] = []
        self.ndcg: dict[str, dict[str, float]] = {}
        popular = Counter(event.item for event in earlier).most_common()
        home = home_rules("")
        pin = next(item for item, _ in popular if home.passes(self.shop.items[item]) and self.shop.items[item].in_stock)
        rules = {"首页": home_rules(pin), "购物车": basket_rules([item for item, _ in popular[3:5]])}
        self.state = State(dict(self.shop.items), rules)
        self.state.add(earlier)
        self.pin = pin
        self.log, self.items, self.settings = folder / "日志.csv", folder / "商品.csv", folder / "shop.toml"
        self.run, self.updated = folder / "run", folder / "updated"
        write_table(self.log, COLUMNS, messy_rows(self.shop, earlier, self.rng, self.now_s), encoding)
        self.write_items(self.items)
        self.write_settings(self.settings)

    def write_items(self, path: Path) -> None:
        """Write the items table of this time, with a repeated row and one without an item."""
        rows = item_rows(self.state.items, self.rng)
        write_table(path, ITEM_COLUMNS, [*rows, rows[0], ["NULL", "样品", "茶叶", "1", "有货"]], self.encoding)

    def write_settings(self, path: Path) -> None:
        """Write the pipeline's settings with the rules of this time, and how the log is read."""
        where = [
            f"用户ID not in {json.dumps([*NOBODY, ROBOT], ensure_ascii=False)}",
            f"商品ID not in {json.dumps(NOTHING)}",
            f"行为 not in {json.dumps(CANCELLATIONS, ensure_ascii=False)}",
            f'时间 < "{time_text(self.now_s + DAY_S)}"',
        ]
        text = (
            f"[log]\ntime_zone = \"Asia/Shanghai\"\nwhere = '''{' and '.join(where)}'''\ndrop_repeats = true\n{SOURCES}"
        )
        for name, rules in self.state.rules.items():
            text += f'\n[[placement]]\nname = "{name}"\n[placement.rules]\n'
            for key, value in rules.settings().items():
                text += f"{key} = {_toml(value)}\n"
        path.write_text(text, encoding="utf-8")

    def check(self, path: str, items: Sequence[str], k: int, history: Any, placement: str | None, **more: Any) -> None:
        """Count a list, and note its errors.

        Args:
            path: name of the path that made it.
            items: the list.
            k: its requested length.
            history: events of the user.
            placement: placement of the request; None: none.
            more: further arguments of ``State.errors``.
        """
        self.lists[path] += 1
        errors = self.state.errors(items, k, history, placement, **more)
        self.violations += [f"{path}, {placement}: {error}" for error in errors[:2]]

    def largest_gap(self) -> float:
        """Return the largest distance of a ranking to the ndcg@10 of the true probabilities."""
        return max(row["best"] - row["found"] for row in self.ndcg.values() if "best" in row)

    def users(self, number: int | None = None) -> list[str]:
        """Return some users with a history."""
        known = sorted(self.state.histories)
        number = self.size.checks if number is None else number
        return [known[n] for n in self.rng.choice(len(known), min(number, len(known)), replace=False)]


def _toml(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name} = {_toml(part)}" for name, part in value.items()) + "}"
    return f"'{value}'" if isinstance(value, str) and '"' in value else json.dumps(value, ensure_ascii=False)


def truth(events: Sequence[Event]) -> list[tuple[str, str, int, str]]:
    """Return events as a clean log must hold them."""
    return sorted((event.user, event.item, event.time_s * 1_000_000, event.kind) for event in events)


def profile_and_clean(day: Day) -> Path:
    """Check that every kind of dirt is named, and that the clean log holds the events exactly; return that log."""
    done = segue("profile", day.log, "--items", day.items, "--time-zone", "Asia/Shanghai", "--json")
    report = json.loads(done.stdout)
    text = "\n".join(report["warnings"]) + done.stderr
    planted = (ROBOT, "NULL", "未知", "undefined", "退款", "取消订单", "future", "repeat", "timestamp")
    missing = [word for word in planted if word not in text]
    assert not missing, f"The profile does not name {missing}: {text}"
    out = day.folder / "clean.parquet"
    segue("clean", day.log, "--log-config", day.settings, "--out", out)
    frame = pl.read_parquet(out)
    times = frame["timestamp"].cast(pl.Int64)
    rows = zip(frame["user_id"], frame["item_id"], times, frame["event"], strict=True)
    assert sorted(rows) == truth(day.past), "the clean log holds other events"
    return out


def compare(day: Day, clean: Path) -> None:
    """Compare models on the clean log with the true probabilities on the same cases."""
    done = segue("compare", clean, "--items", day.items, "--models", "popularity,markov,covisit", "--json")
    results = {result["model"]: result["metrics"]["ndcg@10"] for result in json.loads(done.stdout)}
    cases = library.split_log(library.read_events(clean)).test
    catalog = library.read_events(clean).catalog()
    last = [catalog.ids[int(history[-1]) - 1] for history in cases.histories]
    targets = [catalog.ids[int(target) - 1] for target in cases.targets]
    best = day.shop.best_ndcg(last, targets)
    day.ndcg["compare"] = {"best": best, "found": max(results.values()), **results}
    day.ndcg["pipeline"] = {"best": best}


def fit_pipeline(day: Day) -> None:
    """Fit the pipeline on the messy log itself, read by the table of its settings."""
    done = segue("pipeline", day.log, day.settings, "--items", day.items, "--out", day.run, "--json")
    day.ndcg["pipeline"]["found"] = json.loads(done.stdout)["metrics"]["ndcg@10"]


@contextlib.contextmanager
def serving(day: Day) -> Iterator[ServerProcess]:
    """Serve a registry with the pipeline and the messy log as history."""
    registry = day.folder / "models"
    segue("promote", registry, day.run)
    options = ("--history", str(day.log), "--workers", str(day.size.workers))
    server = ServerProcess(registry, day.folder / "data", *options, command=(*SEGUE, "serve"))
    try:
        yield server.wait_ready(day.size.workers - 1, timeout_s=600)
        server.end()
    finally:
        server.kill()


def post(server: ServerProcess, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """Return the response to a request."""
    return send(server, "POST", path, body)


def send(server: ServerProcess, method: str, path: str, body: Any = None) -> dict[str, Any]:
    """Return the response to a request, which must succeed.

    Args:
        server: the server.
        method: HTTP method.
        path: target, percent-encoded.
        body: value sent as JSON; None: no body.
    """
    content = None if body is None else json.dumps(body, ensure_ascii=False).encode()  # as curl sends Chinese
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)) as connection:
        connection.request(method, path, content, {} if body is None else {"Content-Type": "application/json"})
        response = connection.getresponse()
        text = response.read().decode()
    assert response.status in (200, 201), f"{method} {path}: {response.status} {text}"
    return dict(json.loads(text))


def ids(response: dict[str, Any]) -> list[str]:
    """Return the items of a response."""
    return [str(item["id"]) for item in response["items"]]


def check_http(day: Day, server: ServerProcess) -> None:
    """Check lists, sequences and similar items over HTTP, for users with a history and one without."""
    for user in [*day.users(), "没有这个用户"]:
        history = day.state.histories.get(user, [])
        for placement in PLACEMENTS:
            where = {} if placement is None else {"placement": placement}
            k = int(day.rng.choice([1, 5, 10, 25]))
            body = {"user_id": user, "k": k, **where}
            day.check("recommend", ids(post(server, "/v1/recommend", body)), k, history, placement)
            body |= {"filter": '类目 == "茶叶" and 价格 < 80'}
            tea = ids(post(server, "/v1/recommend", body))
            day.check("filter", tea, k, history, placement, passes=_is_cheap_tea)
            body = {"user_id": user, "steps": 5, "strategy": "sample", **where}
            sequence = ids(post(server, "/v1/next", body))
            passes = _generated(day, placement, NEW_ITEM in sequence)
            day.check("next", sequence, 5, history, placement, passes=passes)
        item = str(day.rng.choice(sorted(set(day.state.items) - {NEW_ITEM})))
        body = {"item_id": item, "k": 10, "placement": "首页"}
        day.check("similar", ids(post(server, "/v1/similar", body)), 10, [(item, "")], "首页", hidden=[item])


def _is_cheap_tea(item: Item) -> bool:
    return item.category == "茶叶" and item.price is not None and item.price < 80


def _generated(day: Day, placement: str | None, is_listed: bool) -> Callable[[Item], bool]:
    """Return a test of the items that a sequence must hold: the new one before a training with it only as a pin.

    Args:
        day: the shop.
        placement: placement of the sequence.
        is_listed: the sequence holds the new item, where few others are left.
    """
    new = None if day.updated.exists() else day.state.items.get(NEW_ITEM)
    is_pinned = placement is not None and day.state.rules[placement].pin == NEW_ITEM
    return lambda item: item is not new or is_pinned or is_listed


def send_events(day: Day, server: ServerProcess, events: Sequence[Event], name: str, number: int) -> None:
    """Send events in their order; before some of them measure where the server ranks the item.

    Args:
        day: the shop.
        server: the server.
        events: the events.
        name: name of the measurement.
        number: largest number of measured events.
    """
    measured = set(day.rng.choice(len(events), min(number, len(events)), replace=False).tolist())
    last, targets, gains, waiting = [], [], [], []
    for n, event in enumerate(events):
        if n in measured and day.state.last_item(event.user) in day.shop.items:
            _send_batch(server, waiting)
            waiting = []
            body = {"user_id": event.user, "k": 10, "exclude_seen": False}
            items = ids(post(server, "/v1/recommend", body))
            gains.append(1 / np.log2(2 + items.index(event.item)) if event.item in items else 0.0)
            last.append(day.state.last_item(event.user))
            targets.append(event.item)
        waiting.append(event)
        day.state.add([event])
    _send_batch(server, waiting)
    day.ndcg[name] = {"best": day.shop.best_ndcg(last, targets), "found": float(np.mean(gains)), "cases": len(gains)}


def _send_batch(server: ServerProcess, events: Sequence[Event]) -> None:
    for start in range(0, len(events), 5000):
        rows = [
            {"user_id": user, "item_id": item, "timestamp": time_s, "event": kind}
            for user, item, time_s, kind in events[start : start + 5000]
        ]
        post(server, "/v1/events", {"events": rows})


def replace_item(day: Day, server: ServerProcess) -> None:
    """Sell out the pinned item, put a new one in its place, and take a third one away."""
    base, rules = "/v1/items/", day.state.rules
    sold_out = day.state.items[day.pin]
    send(server, "PATCH", base + quote(day.pin), {"库存": "缺货"})
    day.state.items[day.pin] = sold_out._replace(in_stock=False)
    check_http(day, server)
    new = Item("明前春茶 礼盒", "茶叶", 57.9, True)
    row = {"标题": new.title, "类目": new.category, "价格": new.price, "库存": "有货"}
    started_s = time.monotonic()
    put = send(server, "PUT", base + quote(NEW_ITEM), row)
    assert put["recommendable"], put
    body = {"k": 5, "placement": "首页", "filter": '标题 contains "春茶"'}
    wait_until(lambda: ids(post(server, "/v1/recommend", body)) == [NEW_ITEM], 1.0)
    day.ndcg["new item"] = {"seconds to the first list": round(time.monotonic() - started_s, 3)}
    day.state.items[NEW_ITEM] = new
    rules["首页"] = replace(rules["首页"], pin=NEW_ITEM)
    path = f"/v1/placements/{quote('首页')}"
    send(server, "PUT", path, {"rules": rules["首页"].settings()})
    gone = next(item for item in day.state.items if item not in (day.pin, NEW_ITEM))
    send(server, "DELETE", base + quote(gone))
    row_of_gone = day.state.items.pop(gone)
    check_http(day, server)
    cells = {
        "标题": row_of_gone.title,
        "类目": row_of_gone.category,
        "库存": "有货" if row_of_gone.in_stock else "缺货",
    }
    send(server, "PUT", base + quote(gone), cells | ({} if row_of_gone.price is None else {"价格": row_of_gone.price}))
    day.state.items[gone] = row_of_gone
    check_http(day, server)


def shop_visits(day: Day, server: ServerProcess) -> dict[str, int]:
    """Click on lists of the home page and buy some of the items; return the numbers that the report must have."""
    visits = {"lists": 0, "clicked": 0, "purchases": 0}
    for n, user in enumerate(day.users(40)):
        body = {"user_id": user, "placement": "购物车", "k": 4}
        response = post(server, "/v1/recommend", body)
        day.check("recommend", ids(response), 4, day.state.histories[user], "购物车")
        visits["lists"] += 1
        kinds = [("点击",), ("点击", "购买"), ("点击", "购买", "退款"), ()][n % 4]
        for step, kind in enumerate(kinds):
            event = {"user_id": user, "item_id": ids(response)[n % 4], "event": kind}
            if step == 0:  # a purchase counts for the last click of the user too
                event["recommendation_id"] = response["recommendation_id"]
            post(server, "/v1/events", event)
            day.state.histories[user].append((str(event["item_id"]), kind))
        visits["clicked"] += bool(kinds)
        visits["purchases"] += "购买" in kinds
    return visits


def check_report(day: Day, before: dict[str, int], visits: dict[str, int]) -> None:
    """Check that the report counts the visits of the basket, with 购买 as a purchase and 退款 as none.

    Args:
        day: the shop.
        before: numbers before the visits.
        visits: numbers of the visits.
    """
    wanted = {name: before[name] + visits[name] for name in visits}
    wait_until(lambda: basket_numbers(day) == wanted, 10)


def basket_numbers(day: Day) -> dict[str, int]:
    """Return lists, clicked lists and purchases of the basket in ``segue report``."""
    cells = json.loads(segue("report", day.folder / "data", "--json").stdout)["cells"]
    own = [cell for cell in cells if cell["placement"] == "购物车"]
    return {name: sum(cell[name] for cell in own) for name in ("lists", "clicked", "purchases")}


def update(day: Day, server: ServerProcess) -> None:
    """Update the pipeline with the new day and the new items table, and promote it on the running server."""
    log, items = day.folder / "今天.csv", day.folder / "今天的商品.csv"
    write_table(log, COLUMNS, messy_rows(day.shop, day.today, day.rng, day.now_s), day.encoding)
    day.write_items(items)
    done = segue("update", day.run, log, "--replay", day.log, "--items", items, "--out", day.updated, "--json")
    report = json.loads(done.stdout)
    assert report["promoted"], report
    day.ndcg["update"] = {name: report[name] for name in ("before", "after", "cases", "new_items")}
    promoted = segue("promote", day.folder / "models", day.updated, "--json")
    version = json.loads(promoted.stdout)["live"]
    wait_until(lambda: post(server, "/v1/recommend", {"k": 1})["model_version"] == version)


def check_batch(day: Day) -> None:
    """Check the lists of all users, and single ones of the command line and of Python, of the updated model.

    Once by the shop's files: both logs and the rules of this time. Once by the server's data, with its live catalog.
    """
    settings, logs = day.folder / "now.toml", day.folder / "logs"
    day.write_settings(settings)
    logs.mkdir()
    for log in (day.log, day.folder / "今天.csv"):
        (logs / log.name).write_bytes(log.read_bytes())
    live, files = day.state, State(day.state.items, day.state.rules)
    files.add(sorted([*day.past, *day.today], key=lambda event: event.time_s))
    sources = {
        "files": (files, ("--pipeline", settings, "--log", logs)),
        "data": (live, ("--data", day.folder / "data")),
    }
    model = library.load(day.updated)
    for name, (state, options) in sources.items():
        day.state = state
        for placement in PLACEMENTS[1:] if day.size.both_placements else PLACEMENTS[1:2]:
            _check_all_users(day, name, str(placement), (*options, "--placement", placement, "--k", 10))
    for user in day.users():
        events = live.histories[user]
        contexts = [[{"event": kind} for _, kind in events]]
        found = model.recommend([[item for item, _ in events]], k=10, placement="购物车", contexts=contexts)
        day.check("python", [item for item, _ in found[0]], 10, events, "购物车")


def _check_all_users(day: Day, name: str, placement: str, options: Sequence[object]) -> None:
    """Check the batch lists of one placement, and the list of one user on the command line.

    Args:
        day: the shop, whose state has the histories of the source.
        name: name of the source.
        placement: the placement.
        options: options of the commands.
    """
    out = day.folder / "lists.csv"
    out.unlink(missing_ok=True)
    segue("recommend", day.updated, "--all-users", "--out", out, *options)
    lists: dict[str, list[str]] = {user: [] for user in day.state.histories}
    with out.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            lists[row["user_id"]].append(row["item_id"])
    for user, items in lists.items():
        day.check(f"batch of {name}", items, 10, day.state.histories[user], placement)
    (user,) = day.users(1)
    done = segue("recommend", day.updated, "--user", user, *options, "--json")
    items = [row["item_id"] for row in json.loads(done.stdout)["items"]]
    day.check("command line", items, 10, day.state.histories[user], placement)


def erase(day: Day, server: ServerProcess) -> str:
    """Erase a user, and return the id: nothing of the user is left on the server."""
    user = max(day.state.histories, key=lambda name: len(day.state.histories[name]))
    path = f"/v1/users/{quote(user)}"
    stored = len(send(server, "GET", path)["events"])
    receipt = send(server, "DELETE", path)
    assert stored and receipt["events"] == stored, (stored, receipt)
    assert server.request("GET", path)[0] == 404 or send(server, "GET", path)["events"] == []
    del day.state.histories[user]
    plain = ids(post(server, "/v1/recommend", {"user_id": "没有这个用户", "placement": "首页"}))
    assert ids(post(server, "/v1/recommend", {"user_id": user, "placement": "首页"})) == plain
    return user


def read_and_fit(day: Day) -> None:
    """Profile, clean and compare the log, and fit the pipeline."""
    compare(day, profile_and_clean(day))
    fit_pipeline(day)


def serve(day: Day) -> None:
    """Serve the pipeline through the day: events, changed items, an update, batch lists, a report and an erasure."""
    with serving(day) as server:
        send_events(day, server, day.today, "served", day.size.measured)
        replace_item(day, server)
        update(day, server)
        check_http(day, server)
        send_events(day, server, day.evening, "served after the update", day.size.measured)
        before = basket_numbers(day)
        check_report(day, before, shop_visits(day, server))
        check_batch(day)
        erased = erase(day, server)
        check_http(day, server)
    for file in sorted((day.folder / "data").rglob("*")):
        assert not file.is_file() or erased.encode() not in file.read_bytes(), f"{file} holds the erased user"


def run_day(size: Size, encoding: str, seed: int, folder: Path) -> dict[str, Any]:
    """Run the day of one shop, and return the numbers of lists, violations and rankings.

    Args:
        size: size of the shop.
        encoding: encoding of its files.
        seed: random seed.
        folder: empty folder.
    """
    started_s = time.perf_counter()
    day = Day(folder, size, encoding, seed)
    read_and_fit(day)
    serve(day)
    return {
        "encoding": encoding,
        "events": len(day.past) + len(day.today) + len(day.evening),
        "lists": dict(day.lists),
        "violations": len(day.violations),
        "first violations": day.violations[:10],
        "ndcg@10": day.ndcg,
        "largest gap to the best honest ndcg@10": day.largest_gap(),
        "seconds": round(time.perf_counter() - started_s, 1),
    }


def main() -> None:
    """Run the day in both encodings, and save."""
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    results = []
    for encoding in ENCODINGS:
        with tempfile.TemporaryDirectory() as folder:
            results.append(run_day(FULL, encoding, seed, Path(folder)))
        print(json.dumps(results[-1], indent=1, ensure_ascii=False))
    machine.save("shop-day", {"about": machine.about(seed), "days": results})
    sys.exit(any(row["violations"] or row["largest gap to the best honest ndcg@10"] > 0.01 for row in results))


if __name__ == "__main__":
    main()
