"""Every list, whichever path made it, keeps the rules of its request and placement; only refusals are raised."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.shop_pipelines import BRANDS, FILTERS, HIDDEN, IDS, PIPELINES, PLACEMENTS, is_allowed, save_pipeline

from segue.serving.config import BatchingConfig, EngineConfig
from segue.serving.deployment.deployment import Deployment, LoadedModel
from segue.serving.deployment.variant_router import VariantRouter
from segue.serving.inference.engine import Engine
from segue.serving.inference.served_model import ServedModel
from segue.serving.schemas.problems import Problem
from segue.serving.schemas.requests import EventIn, NextRequest, RecommendRequest, SimilarRequest
from segue.serving.sessions.session_cache import SessionCache
from segue.serving.store.commit_listeners import CommitListeners
from segue.serving.store.event_store import EventStore
from segue.serving.store.group_commit import GroupCommitWriter

HISTORIES = {"ann": ["i3", "i8", "i9"], "bob": [f"i{number}" for number in range(30)], "new": []}
"""Stored events of each user."""


class Shop:
    """A model of each pipeline over one event log, and a single model over the same catalog."""

    def __init__(self, folder: Path) -> None:
        self.store = EventStore(folder / "events.sqlite")
        self.listeners = CommitListeners()
        self.writer = GroupCommitWriter(self.store, self.listeners.on_commit)
        self.runs = {name: save_pipeline(name, folder / name) for name in PIPELINES}
        events = [EventIn(item_id=item, user_id=user) for user, items in HISTORIES.items() for item in items]
        self.models = {name: self.load(name) for name in PIPELINES}
        self.models["weights"].engine.store(events)[0].result(10)

    def load(self, name: str, timeout_ms: float = 60_000) -> LoadedModel:
        model = ServedModel.open(self.runs[name])
        sessions = SessionCache(self.store, model.catalog)
        config = EngineConfig(BatchingConfig(timeout_ms=timeout_ms, queue_size=10_000, max_queue_delay_ms=60_000))
        return LoadedModel(Engine(model, sessions, self.writer, config), sessions)

    def close(self) -> None:
        for model in self.models.values():
            model.engine.close()
        self.writer.close()
        self.store.close()


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    opened = Shop(tmp_path_factory.mktemp("shop"))
    yield opened
    opened.close()


ITEM = st.sampled_from([*IDS, "unknown"])
REQUESTS = st.builds(
    RecommendRequest,
    user_id=st.none() | st.sampled_from(sorted(HISTORIES)),
    history=st.none() | st.lists(ITEM, max_size=45),
    k=st.sampled_from([1, 3, 10, 39, 60, 1000]),
    exclude_seen=st.none() | st.booleans(),
    exclude=st.lists(ITEM, max_size=5) | st.just(IDS),
    allow=st.none() | st.lists(ITEM, max_size=6),
    placement=st.none() | st.sampled_from([one["name"] for one in PLACEMENTS]),
    filter=st.sampled_from(sorted(FILTERS)),
    explain=st.booleans(),
)


def history_of(request: RecommendRequest | NextRequest) -> list[str]:
    return HISTORIES[request.user_id] if request.user_id is not None else request.history or []


def check(request: RecommendRequest, items: list[str], *, full: bool = True, shown: Sequence[str] = ()) -> None:
    """Check that a list holds allowed items only, each once, and k of them while k are allowed.

    Args:
        request: the request.
        items: the list.
        full: check its length too.
        shown: items of the user's earlier lists.
    """
    history = history_of(request)
    allowed = {item for item in IDS if is_allowed(request, item, history)}
    if request.placement == "drawn" and request.user_id is not None:
        allowed -= set(shown)
    assert len(set(items)) == len(items)
    assert set(items) <= allowed
    if full:
        assert len(items) == min(request.k, len(allowed))
    if request.placement == "mixed" and full and "i39" in allowed:
        assert items[0] == "i39"


def ids(response: Any) -> list[str]:
    return [item.id for item in response.items]


@pytest.mark.parametrize("name", PIPELINES)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_no_request_fails_and_every_list_keeps_the_rules(shop: Shop, name: str, data: st.DataObject) -> None:
    """Explanations of more items than the blend keeps, items that no source scored, histories of everything."""
    request = data.draw(REQUESTS)
    if request.user_id is not None:
        request.history = None
    engine = shop.models[name].engine
    for user in HISTORIES:
        engine.forget(("user_id", user))
    scored = engine.recommend(request)
    check(request, ids(scored))
    assert all((item.reason is not None) == request.explain for item in scored.items)
    hurried = asyncio.run(engine.respond_without_scoring(request))
    assert hurried.fallback in ("cached", "popular")
    check(request, ids(hurried), shown=ids(scored))
    item = data.draw(st.sampled_from(IDS))
    similar = SimilarRequest(item_id=item, k=request.k)
    for response in (engine.similar(similar), asyncio.run(engine.respond_without_scoring(similar))):
        assert not set(ids(response)) & {item, *HIDDEN}


@pytest.mark.parametrize("name", PIPELINES)
def test_every_item_of_a_long_list_is_explained(shop: Shop, name: str) -> None:
    """More items than the blend keeps, at every placement."""
    for placement in PLACEMENTS:
        request = RecommendRequest(history=["i3", "i8"], k=1000, placement=placement["name"], explain=True)
        items = shop.models[name].engine.recommend(request).items
        assert len(items) >= 10 and all(item.reason is not None for item in items)


@pytest.mark.parametrize("strategy", ["top-k", "greedy", "beam", "sample", "reciprocal-rank", "relevance"])
def test_generated_sequences_keep_the_rules(shop: Shop, strategy: Any) -> None:
    """Also where the catalog ends before the sequence."""
    engine = shop.models["ranks"].engine
    for history in ([], ["i5", "unknown"], IDS[:37], IDS):
        request = NextRequest(history=history, steps=3 if len(history) < 5 else 5, strategy=strategy)
        for response in (engine.next(request), engine.scorer.next_without_scoring(request)):
            assert not {*history, *HIDDEN} & set(ids(response))
    assert not set(HIDDEN) & set(ids(engine.next(NextRequest(history=IDS, steps=3, exclude_seen=False))))


@settings(max_examples=30, deadline=None)
@given(st.builds(RecommendRequest, placement=st.text(max_size=5), filter=st.text(max_size=12), history=st.just(["i3"])))
def test_wrong_placements_and_filters_are_refused_on_every_path(shop: Shop, request: RecommendRequest) -> None:
    engine = shop.models["ranks"].engine
    for answer in (lambda: engine.recommend(request), lambda: asyncio.run(engine.respond_without_scoring(request))):
        try:
            answer()
        except Problem as refusal:
            assert refusal.status == 422


HURRIED = [
    RecommendRequest(filter="price < 5"),
    RecommendRequest(placement="cheap", k=3),
    RecommendRequest(placement="mixed", k=9),
    RecommendRequest(user_id="ann", placement="stocked", k=40),
    RecommendRequest(user_id="bob", exclude=["i35"], k=40),
    RecommendRequest(user_id="new", allow=["i1", "i30", "i31"]),
    RecommendRequest(history=["i4"], filter="price > 1000"),
]


def test_lists_of_a_scorer_that_sleeps_keep_the_rules(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also for users whose history was not in memory when the time ran out."""
    model = shop.load("ranks", timeout_ms=20)
    engine = model.engine
    score = engine.scorer.respond_batch
    monkeypatch.setattr(engine._batcher, "_work", lambda requests: time.sleep(0.3) or score(requests))
    assert "bob" not in model.sessions

    async def respond() -> list[Any]:
        return await asyncio.gather(*(engine.respond(request) for request in HURRIED))

    responses = asyncio.run(respond())
    for request, response in zip(HURRIED, responses, strict=True):
        assert response.fallback == "popular"
        check(request, ids(response))
    mixed = ids(responses[2])
    assert mixed[0] == "i39" and mixed[2] == "i0", "pins hold"
    assert max(sum(BRANDS[item] == brand for item in mixed) for brand in "abcd") <= 3, "quotas hold"
    refused = asyncio.run(_refusal(engine, RecommendRequest(filter="colour == 1")))
    assert refused.status == 422
    engine.close()


async def _refusal(engine: Engine, request: RecommendRequest) -> Problem:
    with pytest.raises(Problem) as refused:
        await engine.respond(request)
    return refused.value


def test_a_late_list_is_the_last_one_under_the_rules_of_the_new_request(shop: Shop) -> None:
    engine = shop.models["ranks"].engine
    last = ids(engine.recommend(RecommendRequest(user_id="ann", placement="cheap", k=5)))
    request = RecommendRequest(user_id="ann", placement="cheap", exclude=[last[1]], k=4)
    response = asyncio.run(engine.respond_without_scoring(request))
    assert (response.fallback, ids(response)) == ("cached", [last[0], *last[2:5]])
    other = RecommendRequest(user_id="ann", filter="price > 12", k=4)
    response = asyncio.run(engine.respond_without_scoring(other))
    assert response.fallback == "popular", "nothing of that list costs so much"
    check(other, ids(response))


def test_a_history_that_cannot_be_read_in_time_refuses_a_late_list(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    model = shop.load("ranks")
    monkeypatch.setattr("segue.serving.inference.engine._READ_S", 0.02)
    newest = shop.store.newest
    monkeypatch.setattr(shop.store, "newest", lambda *given: time.sleep(0.3) or newest(*given))
    with pytest.raises(Problem) as refused:
        asyncio.run(model.engine.respond_without_scoring(RecommendRequest(user_id="bob"), read_history=True))
    assert (refused.value.status, refused.value.headers) == (503, {"Retry-After": "1"})
    model.engine.close()


@pytest.mark.parametrize("roles", ["live", "previous", "canary", "interleaved"])
def test_lists_in_place_of_a_failed_version_keep_its_rules(
    shop: Shop, roles: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The other version has other rules, or lacks the placement."""
    shop.runs["lax"] = save_pipeline("ranks", tmp_path / "lax", [{"name": "cheap", "rules": {"filter": "price < 9"}}])
    failing, lax = shop.load("trees"), shop.load("lax")
    deployment = {
        "live": Deployment(failing),
        "previous": Deployment(failing, previous=lax),
        "canary": Deployment(lax, failing, canary_share=1.0),
        "interleaved": Deployment(failing, lax, interleave_share=1.0, previous=lax),
    }[roles]
    router = VariantRouter(deployment, shop.listeners)

    def fail(*given: Any, **options: Any) -> Any:
        raise ZeroDivisionError

    service = failing.engine.model.pipeline_service
    assert service is not None
    monkeypatch.setattr(service.pipeline, "score_candidates", fail)
    monkeypatch.setattr("segue.serving.inference.request_scorer.generate", fail)
    others = set()
    for request in [*HURRIED, RecommendRequest(user_id="ann", k=8, explain=True)]:
        if roles == "canary" and request.user_id is None:
            continue  # the live version responds, under its own rules
        response = asyncio.run(router.recommend(request))
        check(request, ids(response), full=response.fallback is not None)
        assert response.fallback is not None or response.variant == "previous"
        others.add(response.variant)
    assert ("previous" in others) == (roles != "live")
    if roles != "canary":
        assert not {"i8", *HIDDEN} & set(ids(asyncio.run(router.similar(SimilarRequest(item_id="i8", k=40)))))
        assert not {*HISTORIES["ann"], *HIDDEN} & set(ids(router.next(NextRequest(user_id="ann", steps=10))))
    router.close()


def test_where_even_the_rules_fail_a_request_is_refused(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    model = shop.load("ranks")
    router = VariantRouter(Deployment(model), shop.listeners)

    def fail(*given: Any, **options: Any) -> Any:
        raise ZeroDivisionError

    service = model.engine.model.pipeline_service
    assert service is not None
    monkeypatch.setattr(service._placements, "allowed_items", fail)
    for respond in (
        lambda: asyncio.run(router.recommend(RecommendRequest())),
        lambda: asyncio.run(router.similar(SimilarRequest(item_id="i3"))),
        lambda: router.next(NextRequest()),
    ):
        with pytest.raises(Problem) as refused:
            respond()
        assert (refused.value.status, refused.value.headers) == (503, {"Retry-After": "1"})
    router.close()
