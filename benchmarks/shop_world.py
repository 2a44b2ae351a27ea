"""Shop of ``benchmarks/shop_day.py``: a messy Chinese log with a planted rule of succession, the truth behind it, and
naive checks of lists that know nothing of masks.
"""

import csv
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

CATEGORIES = {
    "茶叶": ("龙井茶", "碧螺春", "普洱茶", "铁观音"),
    "茶具": ("紫砂壶", "盖碗", "茶盘", "公道杯"),
    "点心": ("绿豆糕", "桃酥", "月饼", "麻花"),
    "文具": ("毛笔", "宣纸", "砚台", "墨锭"),
    "图书": ("茶经", "食谱", "画册", "游记"),
}
FIRST, SECOND = 0.6, 0.3
"""Probabilities of the two successors of an item; any other item follows by its popularity."""
KINDS, SHARES = ("点击", "收藏", "加购", "购买"), (0.7, 0.1, 0.1, 0.1)
"""Event types and their shares. ``购买`` is a purchase."""
ROBOT = "爬虫-01"
NOBODY, NOTHING = ("NULL", "未知", "-"), ("NULL", "undefined")
"""Words in place of a user and of an item."""
CANCELLATIONS = ("退款", "取消订单")
SHANGHAI = timezone(timedelta(hours=8))
TIME_FORMS = ("%Y-%m-%d %H:%M:%S", "%Y/%m/%d %H:%M:%S", "%Y年%m月%d日 %H时%M分%S秒")
COLUMNS = ("用户ID", "商品ID", "时间", "行为", "价格")
ITEM_COLUMNS = ("商品ID", "标题", "类目", "价格", "库存")
DAY_S = 86_400


class Item(NamedTuple):
    """True row of an item."""

    title: str
    category: str
    price: float | None
    in_stock: bool


class Event(NamedTuple):
    """True event."""

    user: str
    item: str
    time_s: int
    kind: str


@dataclass(frozen=True)
class Shop:
    """Catalog, and the probability of each next item."""

    ids: list[str]
    items: dict[str, Item]
    next_II: np.ndarray
    """Probability of the next item (column) after an item (row)."""

    def best_ndcg(self, last: Sequence[str], targets: Sequence[str], k: int = 10) -> float:
        """Return the ndcg@k of the true probabilities: no other ranking has a higher expectation.

        Args:
            last: newest item of each history.
            targets: item after it.
            k: length of the lists.
        """
        number = {item: n for n, item in enumerate(self.ids)}
        gains = []
        for before, target in zip(last, targets, strict=True):
            chances_I = self.next_II[number[before]]
            rank = 1 + int((chances_I > chances_I[number[target]]).sum())
            gains.append(1 / np.log2(1 + rank) if rank <= k else 0.0)
        return float(np.mean(gains))


def make_shop(seed: int, num_items: int) -> Shop:
    """Return a random shop.

    Args:
        seed: random seed.
        num_items: number of items.
    """
    rng = np.random.default_rng((seed, 1))
    ids = [f"货{n:04d}" for n in range(num_items)]
    items = {}
    for n, item in enumerate(ids):
        category = list(CATEGORIES)[n % len(CATEGORIES)]
        title = f"{rng.choice(CATEGORIES[category])} {n:04d}号"
        price = None if n % 40 == 7 else round(float(rng.lognormal(4.3, 1.2)), 2)
        items[item] = Item(title, category, price, n % 11 != 3)
    popularity_I = (1.0 + rng.permutation(num_items)) ** -0.5
    next_II = np.tile(popularity_I, (num_items, 1))
    np.fill_diagonal(next_II, 0)
    next_II *= (1 - FIRST - SECOND) / next_II.sum(axis=1, keepdims=True)
    cycle = rng.permutation(num_items)
    next_II[cycle, np.roll(cycle, 1)] += FIRST
    next_II[cycle, np.roll(cycle, 7)] += SECOND
    return Shop(ids, items, next_II)


def make_events(
    shop: Shop,
    rng: np.random.Generator,
    last: dict[str, str],
    begin_s: int,
    end_s: int,
    mean_events: int,
) -> list[Event]:
    """Return events of users between two times, in time order, and keep the newest item of each user in ``last``.

    Args:
        shop: the shop.
        rng: generator.
        last: user -> newest item; "" for a user without events.
        begin_s: earliest time, seconds.
        end_s: time after the newest event.
        mean_events: mean number of events of a user.
    """
    limits_II = shop.next_II.cumsum(axis=1)
    number = {item: n for n, item in enumerate(shop.ids)}
    events = []
    for user, newest in last.items():
        item = newest
        time_s = int(begin_s + rng.random() * 0.8 * (end_s - begin_s))
        for _ in range(1 + rng.geometric(1 / mean_events)):
            if time_s >= end_s:
                break
            row = number.get(item)
            n = rng.integers(len(shop.ids)) if row is None else np.searchsorted(limits_II[row], rng.random())
            item = shop.ids[min(int(n), len(shop.ids) - 1)]
            events.append(Event(user, item, time_s, str(rng.choice(KINDS, p=SHARES))))
            pause_s = 0.03 * (end_s - begin_s) if rng.random() < 0.15 else 90
            time_s += 10 + int(rng.exponential(pause_s))
        last[user] = item
    return sorted(events, key=lambda event: event.time_s)


def time_text(time_s: int, form: str = TIME_FORMS[0]) -> str:
    """Return a time of Shanghai as text without a zone.

    Args:
        time_s: the time.
        form: its form.
    """
    return datetime.fromtimestamp(time_s, SHANGHAI).strftime(form)


def price_text(price: float | None, rng: np.random.Generator) -> str:
    """Return a price as one of the spellings of a shop.

    Args:
        price: the price; None: a word for a missing one.
        rng: generator.
    """
    if price is None:
        return str(rng.choice(["NA", "", "-", "未知"]))
    return str(rng.choice([f"{price}", f"￥{price:,.2f}", f"{price}元", f"¥ {price:.2f}", f"{price:,.2f}"]))


def messy_rows(shop: Shop, events: Sequence[Event], rng: np.random.Generator, now_s: int) -> list[list[str]]:
    """Return the rows of a log as shops have them, in random order: the events, and rows that are none.

    Args:
        shop: the shop.
        events: the events.
        rng: generator.
        now_s: current time.
    """
    rows = []

    def add(user: str, item: str, time_s: int, kind: str) -> None:
        price = price_text(shop.items[item].price, rng) if item in shop.items else ""
        rows.append([user, item, time_text(time_s, str(rng.choice(TIME_FORMS))), kind, price])

    def some(share: float) -> list[Event]:
        return [events[n] for n in rng.choice(len(events), max(2, round(share * len(events))), replace=False)]

    for event in events:
        add(*event)
        if event.kind == "购买" and rng.random() < 0.5:
            add(event.user, event.item, event.time_s - 4, "点击")
        if event.kind == "购买" and rng.random() < 0.1:
            add(event.user, event.item, event.time_s + 3, str(rng.choice(CANCELLATIONS)))
    for event in some(0.02):
        rows.append(rows[int(rng.integers(len(rows)))])  # sent twice
        add(event.user, event.item, event.time_s + 1, event.kind)  # two clicks
    for event in some(0.01):
        add(str(rng.choice(NOBODY)), event.item, event.time_s + 2, event.kind)
        add(event.user, str(rng.choice(NOTHING)), event.time_s + 2, event.kind)
    for event in some(0.003):
        add(event.user, event.item, now_s + 400 * DAY_S + int(rng.integers(DAY_S)), event.kind)
        rows.append([event.user, event.item, "0000-00-00 00:00:00", event.kind, ""])
    begin_s = events[0].time_s
    for n in range(max(400, len(events) // 20)):
        add(ROBOT, shop.ids[n % len(shop.ids)], begin_s + n // 12, "点击")
    rng.shuffle(rows)
    return rows


def item_rows(items: Mapping[str, Item], rng: np.random.Generator) -> list[list[str]]:
    """Return the rows of the items table, with spelled prices and words for the stock.

    Args:
        items: item id -> true row.
        rng: generator.
    """
    return [
        [item, row.title, row.category, price_text(row.price, rng), "有货" if row.in_stock else "缺货"]
        for item, row in items.items()
    ]


def write_table(path: Path, columns: Sequence[str], rows: Sequence[Sequence[str]], encoding: str) -> None:
    """Write a CSV file.

    Args:
        path: the file.
        columns: the header.
        rows: the rows.
        encoding: encoding; the one with a byte order mark also gets the line ends of Windows.
    """
    with path.open("w", encoding=encoding, newline="") as file:
        writer = csv.writer(file, lineterminator="\r\n" if encoding == "utf-8-sig" else "\n")
        writer.writerows([columns, *rows])


@dataclass(frozen=True)
class Rules:
    """Rules of a placement: as settings, and as naive tests."""

    filter: str
    passes: Callable[[Item], bool]
    exclude_seen: Any
    pin: str | None = None
    at_most: int | None = None
    """Largest number of items of one category."""
    exclude: tuple[str, ...] = ()

    def settings(self) -> dict[str, Any]:
        """Return the rules of a pipeline's settings as plain values."""
        pins = [] if self.pin is None else [{"item": self.pin, "position": 1}]
        quotas = [] if self.at_most is None else [{"column": "类目", "at_most": self.at_most}]
        rules = {"filter": self.filter, "in_stock": "库存", "exclude": list(self.exclude)}
        return {**rules, "exclude_seen": self.exclude_seen, "pins": pins, "quotas": quotas}


def home_rules(pin: str) -> Rules:
    """Return the rules of the home page: cheap things of three categories, bought items hidden, one pin."""
    return Rules(
        '价格 < 120 and 类目 in ["茶叶", "茶具", "点心"]',
        lambda item: item.price is not None and item.price < 120 and item.category in ("茶叶", "茶具", "点心"),
        ["purchases"],
        pin,
        at_most=4,
    )


def basket_rules(exclude: Sequence[str]) -> Rules:
    """Return the rules of the basket: no books, nothing that the user has seen, two excluded items."""
    return Rules('not (类目 == "图书")', lambda item: item.category != "图书", True, exclude=tuple(exclude))


@dataclass
class State:
    """Present items, histories and rules of the shop, as an operator knows them."""

    items: dict[str, Item]
    """Items that are not deleted."""
    rules: dict[str, Rules]
    """Placement -> rules; a request without a placement only hides the newest item."""
    histories: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    """User -> (item, event type), oldest first."""

    def add(self, events: Sequence[Event]) -> None:
        """Add events to the histories, in the order given."""
        for event in events:
            self.histories.setdefault(event.user, []).append((event.item, event.kind))

    def last_item(self, user: str) -> str:
        """Return the newest item of a user; "" for one without events."""
        history = self.histories.get(user)
        return history[-1][0] if history else ""

    def errors(
        self,
        items: Sequence[str],
        k: int,
        history: Sequence[tuple[str, str]],
        placement: str | None,
        *,
        passes: Callable[[Item], bool] = lambda item: True,
        hidden: Sequence[str] = (),
    ) -> list[str]:
        """Return the errors of a list, found item by item.

        Args:
            items: the list.
            k: its requested length.
            history: events of the user, oldest first.
            placement: placement of the request; None: none.
            passes: test of the filter of the request.
            hidden: further items that must not be listed.
        """
        rules = None if placement is None else self.rules[placement]
        banned = {*_seen_items("last" if rules is None else rules.exclude_seen, history), *hidden}
        allowed = [
            item
            for item, row in self.items.items()
            if item not in banned and passes(row) and (rules is None or _keeps(rules, item, row))
        ]
        errors = [f"{item} is not allowed" for item in items if item not in set(allowed)]
        if len(set(items)) < len(items):
            errors.append("an item occurs twice")
        if len(items) != min(k, len(allowed)):
            errors.append(f"{len(items)} items where {min(k, len(allowed))} are allowed")
        if rules is None or errors:
            return errors
        if rules.pin in allowed and items[:1] != [rules.pin]:
            errors.append(f"the pin {rules.pin} is not first")
        most = rules.at_most or len(items)
        possible = Counter(self.items[item].category for item in allowed)
        if sum(min(count, most) for count in possible.values()) >= len(items):  # else the quota gives way
            counts = Counter(self.items[item].category for item in items)
            errors += [f"{count} items of {name}" for name, count in counts.items() if count > most]
        return errors


def _keeps(rules: Rules, item: str, row: Item) -> bool:
    return rules.passes(row) and row.in_stock and item not in rules.exclude


def _seen_items(mode: Any, history: Sequence[tuple[str, str]]) -> set[str]:
    if not history:
        return set()
    last = {history[-1][0]}
    if mode is True:
        return {item for item, _ in history}
    return last | {item for item, kind in history if kind == "购买"} if mode == ["purchases"] else last
