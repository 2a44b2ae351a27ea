"""Rules of placements in a server: event types, recent lists, sequences, similar items, notes, several versions."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.shop_pipelines import BRANDS, IDS, PRICES, save_pipeline

from segue.config.history_events import HistoryEvents
from segue.serving.config import SessionsConfig
from segue.serving.deployment.deployment import Deployment, LoadedModel
from segue.serving.deployment.model_registry import ModelRegistry
from segue.serving.deployment.variant_router import VariantRouter
from segue.serving.http.static_pages import pages
from segue.serving.inference import recent_lists
from segue.serving.inference.engine import Engine
from segue.serving.inference.recent_lists import RecentLists
from segue.serving.inference.served_model import ServedModel
from segue.serving.schemas.problems import Problem
from segue.serving.schemas.requests import EventIn, NextRequest, RecommendRequest, SimilarRequest
from segue.serving.sessions.session_cache import SessionCache
from segue.serving.store.commit_listeners import CommitListeners
from segue.serving.store.event_store import EventStore
from segue.serving.store.group_commit import GroupCommitWriter

PLACEMENTS: list[dict[str, Any]] = [
    {"name": "bought", "rules": {"exclude_seen": ["purchases"]}},
    {"name": "last", "rules": {"exclude_seen": "last"}},
    {"name": "cheap", "rules": {"filter": "price < 5", "exclude_seen": False}},
    {
        "name": "mixed",
        "rules": {"quotas": [{"column": "brand", "at_most": 2}], "pins": [{"item": "i39", "position": 2}]},
    },
]
EVENTS = [("i3", "view"), ("i4", "Purchase"), ("i5", "cart"), ("i6", "购买"), ("i7", "view")]


class Shop:
    """Pipelines over one event log."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = EventStore(folder / "events.sqlite")
        self.listeners = CommitListeners()
        self.writer = GroupCommitWriter(self.store, self.listeners.on_commit)
        self.engines: list[Engine] = []
        self.sessions: list[SessionCache] = []

    def load(self, name: str, placements: list[dict[str, Any]]) -> LoadedModel:
        folder = self.folder / name
        if not folder.exists():
            save_pipeline("ranks", folder, placements)
        model = ServedModel.open(folder)
        sessions = SessionCache(self.store, model.catalog)
        self.sessions.append(sessions)
        self.listeners.set_listeners([each.add for each in self.sessions])
        self.engines.append(Engine(model, sessions, self.writer))
        return LoadedModel(self.engines[-1], sessions)

    def add(self, user: str, *events: tuple[str, str]) -> None:
        now = time.time()
        sent = [
            EventIn(item_id=item, user_id=user, event=kind, timestamp=now - len(events) + step)
            for step, (item, kind) in enumerate(events)
        ]
        self.engines[0].store(sent)[0].result(10)

    def close(self) -> None:
        for engine in self.engines:
            engine.close()
        self.writer.close()
        self.store.close()


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    opened = Shop(tmp_path_factory.mktemp("shop"))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def engine(shop: Shop) -> Engine:
    loaded = shop.load("rules", PLACEMENTS)
    shop.add("ann", *EVENTS)
    return loaded.engine


def ids(response: Any) -> list[str]:
    return [item.id for item in response.items]


def every_way(engine: Engine, **fields: Any) -> list[list[str]]:
    """Return the lists of a request that is scored, one that is not, and of sequences."""
    request = RecommendRequest(**fields, k=40)
    sequence = NextRequest(**fields, steps=40)
    return [
        ids(engine.recommend(request)),
        ids(asyncio.run(engine.respond_without_scoring(request))),
        ids(engine.next(sequence)),
        ids(engine.scorer.next_without_scoring(sequence)),
    ]


@pytest.mark.parametrize(
    ("fields", "hidden"),
    [
        ({"placement": "bought"}, {"i4", "i6", "i7"}),
        ({"placement": "last"}, {"i7"}),
        ({"placement": "bought", "exclude_seen": True}, {"i3", "i4", "i5", "i6", "i7"}),
        ({"placement": "bought", "exclude_seen": False}, set()),
        ({"placement": "last", "exclude_seen": False}, set()),
    ],
)
def test_bought_items_are_hidden_and_viewed_ones_are_not(
    engine: Engine, fields: dict[str, Any], hidden: set[str]
) -> None:
    for items in every_way(engine, user_id="ann", **fields):
        assert set(IDS) - set(items) == hidden


def test_rules_on_event_types_read_events_that_do_not_enter_the_history(shop: Shop, engine: Engine) -> None:
    """A model of purchases: views are not part of its history, and still hidden where a rule names them."""
    shop.add("dan", *EVENTS)
    sessions = SessionCache(shop.store, engine.model.catalog, history_events=HistoryEvents(("Purchase", "购买")))
    alone = Engine(engine.model, sessions, shop.writer)
    for placement, hidden in (("bought", {"i4", "i6", "i7"}), ("last", {"i6"})):
        for items in every_way(alone, user_id="dan", placement=placement):
            assert set(IDS) - set(items) == hidden
    plain = RecommendRequest(history=["i4", "i6"], k=40, placement="cheap")
    assert ids(alone.recommend(RecommendRequest(user_id="dan", k=40, placement="cheap"))) == ids(
        engine.recommend(plain)
    )
    given: dict[str, Any] = {"history": ["i4", "i6"], "k": 40, "placement": "bought", "exclude_seen": None}
    response = alone.recommend(RecommendRequest(**given, event=EventIn("i9", user_id="x", event="view")))
    assert set(IDS) - set(ids(response)) == {"i9"}
    assert response.notes == [
        "The event of the request, of the type 'view', does not enter the history.",
        "Histories hold only events of the types Purchase, 购买: events of other types are stored and left out.",
    ]
    response = alone.recommend(RecommendRequest(**given, event=EventIn("i9", user_id="x", event="购买"), explain=True))
    assert len(response.notes) == 1 and "Histories hold only" in response.notes[0]
    alone.close()


def test_a_purchase_hides_its_item_from_the_next_list_on(shop: Shop, engine: Engine) -> None:
    request = RecommendRequest(user_id="bob", k=40, placement="bought")
    for kind, hides in (("view", False), ("ORDER_PAID", True)):
        shop.add("bob", ("i9", kind), ("i1", "view"))
        assert ("i9" in ids(engine.recommend(request))) != hides
    given = {"history": ["i20", "i21"], "event": EventIn("i22", user_id="x", event="buy"), "k": 40}
    assert set(IDS) - set(ids(engine.recommend(RecommendRequest(**given, placement="bought")))) == {"i22"}


def test_event_types_are_read_for_histories_that_are_in_memory_already(shop: Shop) -> None:
    """Rules may be replaced while a server runs."""
    loaded = shop.load("plain", [{"name": "home"}])
    shop.add("cat", *EVENTS)
    loaded.engine.recommend(RecommendRequest(user_id="cat", placement="home"))
    assert loaded.sessions.view(("user_id", "cat")).types is None
    loaded.sessions.keep_event_types()
    view = loaded.sessions.view(("user_id", "cat"))
    assert view.types == [kind for _, kind in EVENTS]
    shop.add("cat", ("i9", "支付"))
    assert (loaded.sessions.view(("user_id", "cat")).types or [])[-1] == "支付"


def test_sequences_and_similar_items_keep_placement_filter_allowed_and_excluded_items(engine: Engine) -> None:
    rules: dict[str, Any] = {
        "placement": "cheap",
        "filter": "price > 1",
        "exclude": ["i3"],
        "allow": [*IDS[:30], "zzz"],
    }
    allowed = {item for item in IDS[:30] if 1 < PRICES[item] < 5} - {"i3"}
    for items in every_way(engine, history=["i8"], **rules):
        assert set(items) == allowed
    similar = SimilarRequest("i12", k=40, **rules)
    assert PRICES["i12"] == 4, "the item itself would be allowed"
    for response in (engine.similar(similar), asyncio.run(engine.respond_without_scoring(similar))):
        assert set(ids(response)) == allowed - {"i12"}
        assert response.unknown_items == ["zzz"]


def test_sequences_keep_pins_and_quotas(engine: Engine) -> None:
    for items in every_way(engine, history=["i8"], placement="mixed"):
        assert items[1] == "i39"
        assert all(sum(BRANDS[item] == brand for item in items[:8]) == 2 for brand in "abcd")


@pytest.mark.parametrize(
    "ask",
    [
        lambda engine, rules: engine.next(NextRequest(history=["i1"], **rules)),
        lambda engine, rules: engine.similar(SimilarRequest("i1", **rules)),
        lambda engine, rules: engine.scorer.next_without_scoring(NextRequest(history=["i1"], **rules)),
    ],
)
def test_wrong_rules_of_sequences_and_similar_items_are_refused(
    engine: Engine, ask: Callable[[Engine, dict[str, str]], Any]
) -> None:
    for rules in ({"placement": "attic"}, {"filter": "colour == 1"}):
        with pytest.raises(Problem) as refused:
            ask(engine, rules)
        assert refused.value.status == 422


def test_pins_that_are_not_shown_and_empty_lists_are_noted_with_an_explanation(engine: Engine) -> None:
    request = RecommendRequest(history=["i39"], placement="mixed", k=3, explain=True)
    why = "The pin of 'i39' at position 2 is not shown there: it is the last item of the history."
    assert engine.recommend(request).notes == [why]
    request = RecommendRequest(placement="cheap", filter="price > 5", explain=True)
    assert engine.recommend(request).notes == [
        f"No item is left to recommend: {sum(price < 5 for price in PRICES.values())} of 40 items pass the rules of "
        "placement 'cheap', 0 of them the rules of the request."
    ]
    request.explain = False
    assert engine.recommend(request).notes == []


def test_recently_recommended_items_are_left_out_on_every_path(shop: Shop) -> None:
    placements = [{"name": "fresh", "rules": {"exclude_shown": True, "exclude_seen": False}}]
    engine = shop.load("fresh", placements).engine
    request, shown = RecommendRequest(user_id="dan", k=7, placement="fresh"), []
    shown += ids(engine.recommend(request))
    shown += ids(asyncio.run(engine.respond_without_scoring(request)))
    shown += ids(engine.next(NextRequest(user_id="dan", steps=7, placement="fresh")))
    shown += ids(engine.recommend(request))
    assert len(shown) == len(set(shown)) == 28
    assert set(ids(engine.recommend(RecommendRequest(user_id="eve", k=7, placement="fresh")))) & set(shown)
    engine.forget(("user_id", "dan"))
    assert set(ids(engine.recommend(request))) & set(shown), "an erased user has no lists"


def test_a_rule_that_one_process_alone_can_keep_is_refused_with_workers(shop: Shop, engine: Engine) -> None:
    placements = [{"name": "fresh", "rules": {"exclude_shown": True, "exclude_seen": False}}]
    model = shop.load("fresh", placements).engine.model
    model.check_processes(1)
    engine.model.check_processes(4)
    with pytest.raises(ValueError, match=r"exclude_shown.*serve it with --workers 1, or leave the rule out"):
        model.check_processes(2)


def test_recent_lists_are_bounded_in_time_and_number(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("segue.serving.inference.recent_lists.time.monotonic", lambda: now[0])
    recent, keys = RecentLists(max_keys=2), [("user_id", name) for name in "abc"]
    recent.add(keys[0], range(1, 300))
    assert recent.of(keys[0]) == list(range(100, 300))
    now[0] += recent_lists.WINDOW_S - 1
    recent.add(keys[0], [7])
    now[0] += 2
    assert recent.of(keys[0]) == [7]
    for key in keys[1:]:
        recent.add(key, [1])
    assert [recent.of(key) for key in [*keys, None]] == [[], [1], [1], []]


def test_an_interleaved_list_keeps_the_rules_of_the_live_version(shop: Shop, engine: Engine) -> None:
    live = shop.load("live", PLACEMENTS)
    lax = [{"name": name, "rules": {"exclude_seen": False}} for name in ("bought", "cheap", "mixed", "last")]
    canary = shop.load("lax", lax)
    router = VariantRouter(Deployment(live, canary, interleave_share=1.0), shop.listeners)
    for placement in ("bought", "cheap", "mixed"):
        request = RecommendRequest(user_id="ann", k=8, placement=placement)
        response = asyncio.run(router.recommend(request))
        items = ids(response)
        assert response.variant == "interleaved" and len(items) == len(set(items)) == min(8, len(items))
        if placement == "bought":
            assert not {"i4", "i6", "i7"} & set(items)
        elif placement == "cheap":
            assert all(PRICES[item] < 5 for item in items)
        else:
            assert items[1] == "i39" and all(sum(BRANDS[i] == brand for i in items) == 2 for brand in "abcd")


def test_a_placement_before_a_single_model_is_noted(run: Path, store: EventStore) -> None:
    model = ServedModel.open(run)
    writer = GroupCommitWriter(store, lambda rows: None)
    engine = Engine(model, SessionCache(store, model.catalog), writer)
    note = "This is a single model: the placement 'home' has no rules here."
    for response in (
        engine.recommend(RecommendRequest(history=["a"], placement="home")),
        asyncio.run(engine.respond_without_scoring(RecommendRequest(history=["a"], placement="home"))),
        engine.next(NextRequest(history=["a"], placement="home", steps=2)),
        engine.similar(SimilarRequest("a", placement="home")),
    ):
        assert response.notes == [note]
    assert engine.recommend(RecommendRequest(history=["a"])).notes == []
    similar = engine.similar(SimilarRequest("a", k=12, exclude=["b"], allow=["b", "c", "a"]))
    assert ids(similar) == ["c"]
    with pytest.raises(Problem, match=r"422|Filters"):
        engine.similar(SimilarRequest("a", filter="price < 3"))
    engine.close()
    writer.close()


def test_the_demo_shop_keeps_the_rules_of_the_default_placement(shop: Shop, engine: Engine) -> None:
    loaded = shop.load("demo", [{"name": "default", "rules": {"filter": "price < 5", "exclude": ["i1"]}}])
    router = VariantRouter.from_engine(loaded.engine, loaded.sessions)
    endpoint = next(each for each in pages(router, demo=True) if each.path == "/demo/items")
    items = json.loads(asyncio.run(endpoint.handler(None, Any, "")).body)
    assert {item["id"] for item in items} == {item for item in IDS if PRICES[item] < 5} - {"i1"}


def test_a_canary_without_a_placement_of_the_live_version_is_refused(
    shop: Shop, engine: Engine, tmp_path: Path
) -> None:
    registry = ModelRegistry(tmp_path / "models")
    live = registry.add(shop.folder / "rules")
    save_pipeline("ranks", tmp_path / "lax", [{"name": "cheap"}])
    lax = registry.add(tmp_path / "lax")
    assert registry.missing_placements(live) == [], "nothing is live yet"
    registry.promote(live)
    assert registry.missing_placements(lax) == ["bought", "last", "mixed"]
    sentence = f"Version {lax} has no placement 'bought', which the live version {live} has"
    for shares in ({"canary": 0.5}, {"interleave": 0.1}):
        with pytest.raises(ValueError, match=sentence):
            registry.promote(lax, **shares)
    assert registry.promote(lax).current.live == lax
    assert registry.missing_placements(live) == []
    assert registry.missing_placements("0" * 12) == []


def test_the_newest_events_of_a_long_history_keep_their_types(shop: Shop, engine: Engine) -> None:
    sessions = SessionCache(shop.store, engine.model.catalog, SessionsConfig(max_length=3))
    sessions.keep_event_types()
    shop.sessions.append(sessions)
    shop.listeners.set_listeners([each.add for each in shop.sessions])
    shop.add("fay", ("i1", "view"), ("i2", "buy"))
    assert sessions.view(("user_id", "fay")).types == ["view", "buy"]
    shop.add("fay", ("i3", "cart"))
    shop.add("fay", ("i4", "view"))
    view = sessions.view(("user_id", "fay"))
    assert [engine.model.catalog.ids[item - 1] for item in view.items] == ["i2", "i3", "i4"]
    assert view.types == ["buy", "cart", "view"]
