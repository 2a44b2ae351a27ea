"""New items of a served pipeline: neighbors by content, first events, their place among the pipeline's candidates."""

import numpy as np

from segue.data.catalog import PAD, Catalog
from segue.models.forecasting.trend import Trend
from segue.pipeline.filters.item_columns import ItemColumns
from segue.pipeline.live.content_index import ContentIndex
from segue.pipeline.live.first_events import MAX_EVENTS, FirstEvents, history_weights
from segue.pipeline.live.growing_catalog import GrowingCatalog
from segue.pipeline.live.live_demand import LiveDemand
from segue.pipeline.live.new_items import BY_CONTENT, BY_EVENTS, EventClock, NewItems
from segue.pipeline.ranked_list import RankedList

TITLES = [
    "green tea",
    "black tea",
    "red cup",
    "blue cup",
    "乌龙茶 大红袍",
    "乌龙茶 铁观音",
    "paper lamp",
    "tea pot green",
]


def titled(counts: list[int] | None = None) -> ContentIndex:
    ids = [f"i{number}" for number in range(len(TITLES))]
    kinds = ["tea", "tea", "cup", "cup", "tea", "tea", "lamp", "pot"]
    items = {item: {"title": title, "kind": kind} for item, title, kind in zip(ids, TITLES, kinds, strict=True)}
    counts_V = np.array([0, *(counts or [1] * len(ids))])
    return ContentIndex(ItemColumns.from_items(items, Catalog(ids)), counts_V)


def test_neighbors_share_words_and_categories_in_chinese_too() -> None:
    items, similarities = titled().neighbors({"title": "乌龙茶 水仙", "kind": "tea"})
    assert set(items[:2].tolist()) == {5, 6}
    assert (np.diff(similarities) <= 0).all()
    assert similarities[0] <= 1.0
    cups, _ = titled().neighbors({"title": "red cup"})
    assert cups[0] == 3
    assert titled().neighbors({})[0].tolist() == []
    assert titled().neighbors({"title": "zzz", "price": 3.0})[0].tolist() == []


def test_equally_similar_items_come_by_popularity() -> None:
    items, _ = titled([1, 2, 1, 1, 9, 5, 1, 1]).neighbors({"kind": "tea"})
    assert items.tolist() == [5, 6, 2, 1]


def test_an_index_of_a_growing_catalog_never_changes() -> None:
    base = Catalog(["a", "b"])
    catalog = GrowingCatalog(base)
    grown = catalog.grown(["n"])
    assert (catalog.size, grown.size, "n" in catalog, "n" in grown) == (3, 4, False, True)
    catalog.adopt(grown)
    assert catalog.to_indices_list(item for item in ["n", "b", "zz"]) == [3, 2, PAD]
    assert catalog.grown(["m"]).to_indices(["n", "m"]).tolist() == [3, 4]
    assert base.ids == ("a", "b")


def test_weights_of_a_history_sum_to_one_and_fall_with_age() -> None:
    weights = history_weights([4, 5, 6, 5])
    assert abs(sum(weights.values()) - 1.0) < 1e-12
    assert weights[5] > weights[6] > weights[4]
    assert history_weights([]) == {}


def new_items(events: FirstEvents, clock: EventClock, similarities: float = 1.0, size: int = 11) -> NewItems:
    """Return two new items behind ten: the first one like item 3, the second like item 4."""
    neighbors = np.array([[3, PAD], [4, PAD]], dtype=np.int32)
    counts = [events.counts[size], events.counts[size + 1]]
    histories = [events.num_histories(size), events.num_histories(size + 1)]
    weights = np.array([[similarities, 0.0]] * 2)
    shares_V = np.full(size, 1.0 / size)
    start = np.zeros(2, dtype=np.int64)
    return NewItems(shares_V, neighbors, weights, start, np.array(counts), np.array(histories), events.pairs(), clock)


def ranked(probabilities: dict[int, float]) -> RankedList:
    return RankedList.from_items(list(probabilities), list(probabilities.values()), sources=("markov",))


def test_without_events_a_new_item_stands_with_the_items_like_it() -> None:
    items = new_items(FirstEvents(), EventClock())
    allowed_V = np.ones(13, dtype=bool)
    joined = items.join([1], ranked({3: 0.5, 1: 0.2, 2: 0.1, 4: 0.01}), allowed_V)
    assert set(joined.items_C.tolist()[:2]) == {3, 11}
    assert joined.source_name(joined.items_C.tolist().index(11)) == BY_CONTENT
    assert joined.items_C.tolist().index(12) > joined.items_C.tolist().index(2)
    assert sorted(joined.items_C.tolist()) == [1, 2, 3, 4, 11, 12]
    allowed_V[11] = False
    assert 11 not in items.join([1], ranked({3: 0.5, 1: 0.2}), allowed_V).items_C


def test_a_sold_out_neighbor_is_no_evidence_against_the_item_that_replaces_it() -> None:
    items = new_items(FirstEvents(), EventClock())
    allowed_V = np.ones(13, dtype=bool)
    allowed_V[3] = False
    scores, _ = items.scores([1], ranked({1: 0.2, 2: 0.1}), allowed_V)
    low, _ = items.scores([1], ranked({1: 0.2, 2: 0.1, 3: 0.0}), np.ones(13, dtype=bool))
    assert scores[0] > 2 * low[0]


def test_events_raise_an_item_for_the_histories_that_they_followed() -> None:
    events, clock = FirstEvents(), EventClock()
    allowed_V, base = np.ones(13, dtype=bool), ranked({5: 0.3, 6: 0.2, 7: 0.1})
    before, _ = new_items(events, clock).scores([8], base, allowed_V)
    last = before[0]
    for number in range(1, 6):
        events.add(11, ("user_id", f"u{number}"), [2, 8])
        clock.newest_seq += 10
        now, is_by_events = new_items(events, clock).scores([8], base, allowed_V)
        elsewhere, _ = new_items(events, clock).scores([9], base, allowed_V)
        assert now[0] > last
        assert now[0] > 2 * elsewhere[0]
        last = now[0]
    assert bool(is_by_events[0])
    joined = new_items(events, clock).join([8], base, allowed_V)
    assert joined.source_name(joined.items_C.tolist().index(11)) == BY_EVENTS


def test_an_item_that_nobody_chooses_falls() -> None:
    early, late = EventClock(0), EventClock(10_000)
    base, allowed_V = ranked({3: 0.5}), np.ones(13, dtype=bool)
    first, _ = new_items(FirstEvents(), early).scores([1], base, allowed_V)
    later, _ = new_items(FirstEvents(), late).scores([1], base, allowed_V)
    assert later[0] < first[0] / 50


def test_the_events_of_an_erased_user_are_forgotten() -> None:
    events = FirstEvents()
    for number in range(MAX_EVENTS + 5):
        events.add(11, ("user_id", f"u{number % 3}"), [8])
    before = events.num_histories(11)
    assert before == MAX_EVENTS
    assert events.forget(("user_id", "u1"))
    assert not events.forget(("user_id", "u1"))
    assert events.num_histories(11) == MAX_EVENTS * 2 // 3
    events.forget(("user_id", "u0"))
    events.forget(("user_id", "u2"))
    assert events.pairs().before_P.tolist() == []


def test_trend_scores_follow_the_last_minutes_and_one_user_counts_once() -> None:
    forecast = np.array([0.0, 8.0, 4.0, 2.0, 0.0], dtype=np.float32)
    trend = Trend(forecast, forecast, forecast.astype(np.int64), np.zeros((5, 0), dtype=np.int32))
    demand, now_us = LiveDemand(trend), 10**15
    demand.refresh(now_us)
    assert trend.forecast_V.tolist() == forecast.tolist()
    for _ in range(1000):
        demand.add(("session_id", "robot"), 3, now_us)
    demand.refresh(now_us)
    assert int(trend.forecast_V.argmax()) == 1
    for number in range(200):
        demand.add(("user_id", f"u{number}"), 4, now_us)
    demand.refresh(now_us)
    assert int(trend.forecast_V.argmax()) == 4
    assert abs(float(trend.forecast_V.sum()) - 14.0) < 1e-3
    demand.refresh(now_us + 7_200 * 1_000_000)
    assert int(trend.forecast_V.argmax()) == 1
    demand.refresh(now_us)
    for number in range(200):
        demand.forget(("user_id", f"u{number}"))
    demand.refresh(now_us)
    assert int(trend.forecast_V.argmax()) == 1
