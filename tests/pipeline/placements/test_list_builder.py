"""The final list: pins, quotas, fallback, and the reason of each item."""

import numpy as np
import pytest

from segue.data.catalog import Catalog
from segue.pipeline.filters.compiler import Filters
from segue.pipeline.filters.item_columns import ItemColumns
from segue.pipeline.placements.fallback import FallbackChain
from segue.pipeline.placements.list_builder import SlotCandidates, build_list
from segue.pipeline.placements.quotas import Quota, Quotas
from segue.pipeline.ranked_list import PlacementReason, RankedList

SIZE = 13
FALLBACK = FallbackChain({"trend": np.array([0.0] * 8 + [3, 5, 0, 0, 1])}, SIZE)  # items 9, 8, 12
ALL = np.array([False] + [True] * (SIZE - 1))
RANKED = RankedList.from_items([5, 3, 7, 1], [0.9, 0.8, 0.7, 0.6], sources=("model",))
KINDS = "abcabcabcabc"  # item 1 is an a, item 2 a b, ...


def quotas(*settings: Quota) -> Quotas:
    catalog = Catalog(f"item {i}" for i in range(1, SIZE))
    items = {item: {"kind": kind} for item, kind in zip(catalog.ids, KINDS, strict=True)}
    return Quotas(settings, Filters(ItemColumns.from_items(items, catalog)))


def without(*items: int) -> np.ndarray:
    allowed_V = ALL.copy()
    allowed_V[list(items)] = False
    return allowed_V


def test_ranked_items_come_first_and_the_fallback_fills() -> None:
    built = build_list(RANKED, 9, without(3), fallback=FALLBACK)
    assert built.items_C.tolist() == [5, 7, 1, 9, 8, 12, 2, 4, 6]
    assert [built.source_name(i) for i in range(9)] == ["model"] * 3 + ["trend"] * 3 + ["catalog"] * 3
    assert built.reasons_C.tolist() == [PlacementReason.RANKED] * 3 + [PlacementReason.FILLED] * 6
    assert built.propensity_C.tolist() == [1.0] * 9
    assert len(build_list(RANKED, 50, without(3), fallback=FALLBACK)) == 11
    assert len(build_list(RANKED, 5, np.zeros(SIZE, dtype=bool), fallback=FALLBACK)) == 0
    with pytest.raises(ValueError, match=r"k must be at least 1, got 0\."):
        build_list(RANKED, 0, ALL, fallback=FALLBACK)


def test_pins_stand_at_their_positions() -> None:
    built = build_list(RANKED, 4, ALL, fallback=FALLBACK, pins={0: 1, 2: 11, 9: 4})
    assert built.items_C.tolist() == [1, 5, 11, 3]  # item 1 was ranked, 11 not; place 10 is behind the list
    assert built.reasons_C.tolist() == [
        PlacementReason.PINNED,
        PlacementReason.RANKED,
        PlacementReason.PINNED,
        PlacementReason.RANKED,
    ]
    assert [built.source_name(i) for i in range(4)] == ["model", "model", None, "model"]
    assert built.scores_C.tolist() == [0.6, 0.9, -np.inf, 0.8]
    assert build_list(RANKED, 4, without(11), fallback=FALLBACK, pins={2: 11}).items_C.tolist() == [5, 3, 7, 1]


def test_a_pin_behind_a_short_list_comes_last() -> None:
    allowed_V = without(*range(4, SIZE))
    built = build_list(RANKED, 8, allowed_V, fallback=FALLBACK, pins={2: 2, 6: 3})
    assert built.items_C.tolist() == [1, 3, 2]
    assert build_list(RANKED, 8, allowed_V, fallback=FALLBACK, pins={6: 3, 5: 1}).items_C.tolist() == [2, 1, 3]


def test_at_most_uses_the_fallback_before_it_gives_way() -> None:
    two = quotas(Quota(column="kind", at_most=2))  # 5: b, 3: c, 7: a, 1: a, 9: c, 8: b, 12: c
    built = build_list(RANKED, 8, ALL, fallback=FALLBACK, quotas=two)
    assert built.items_C.tolist() == [5, 3, 7, 1, 9, 8, 12, 2]
    assert (
        built.reasons_C.tolist()
        == [PlacementReason.RANKED] * 4 + [PlacementReason.FILLED] * 2 + [PlacementReason.RELAXED] * 2
    )
    one = quotas(Quota(column="kind", at_most=1))
    assert build_list(RANKED, 3, ALL, fallback=FALLBACK, quotas=one, pins={2: 8}).items_C.tolist() == [3, 7, 8]


def test_at_least_takes_the_last_positions_it_needs() -> None:
    least = quotas(Quota(filter='kind == "c"', at_least=2))
    built = build_list(RANKED, 4, ALL, fallback=FALLBACK, quotas=least)
    assert built.items_C.tolist() == [5, 3, 7, 9]
    assert built.reasons_C.tolist() == [
        PlacementReason.RANKED,
        PlacementReason.RANKED,
        PlacementReason.RANKED,
        PlacementReason.QUOTA,
    ]
    both = quotas(Quota(filter='kind == "b"', at_least=2), Quota(filter='kind == "c"', at_least=2))
    assert build_list(RANKED, 4, ALL, fallback=FALLBACK, quotas=both).items_C.tolist() == [5, 3, 9, 8]


def test_an_at_least_that_cannot_be_met_gives_way() -> None:
    none = quotas(Quota(filter='kind == "z"', at_least=2), Quota(filter='kind == "a"', at_most=1))
    built = build_list(RANKED, 4, ALL, fallback=FALLBACK, quotas=none)
    assert built.items_C.tolist() == [5, 3, 7, 9]  # at most one a is still kept
    assert built.reasons_C.tolist() == [
        PlacementReason.RANKED,
        PlacementReason.RANKED,
        PlacementReason.RELAXED,
        PlacementReason.RELAXED,
    ]


def test_a_draw_receives_open_candidates_without_fallback_items() -> None:
    seen: list[tuple[int, list[int]]] = []

    def last(open: SlotCandidates) -> tuple[int, float]:
        seen.append((open.position, open.items.tolist()))
        return len(open.items) - 1, 0.25

    two = quotas(Quota(column="kind", at_most=1))
    built = build_list(RANKED, 4, ALL, fallback=FALLBACK, quotas=two, pins={1: 2}, policy=last)
    assert seen == [(0, [3, 7, 1]), (1, [2]), (2, [3]), (3, [5])]  # the pinned item 2 is a b, as item 5 is
    assert built.items_C.tolist() == [1, 2, 3, 5]
    assert built.reasons_C.tolist() == [
        PlacementReason.EXPLORED,
        PlacementReason.PINNED,
        PlacementReason.RANKED,
        PlacementReason.RELAXED,
    ]
    assert built.propensity_C.tolist() == [0.25] * 4


def test_pins_behind_the_end_stand_at_the_end_in_their_order() -> None:
    allowed_V = np.zeros(SIZE, dtype=bool)
    allowed_V[[1, 3, 5, 7]] = True
    built = build_list(RANKED, 10, allowed_V, fallback=FALLBACK, pins={6: 5, 8: 3})
    assert built.items_C.tolist() == [7, 1, 5, 3]
    assert (built.reasons_C.dtype, built.propensity_C.dtype) == (np.int8, np.float64)
    with_last = build_list(RANKED, 10, allowed_V, fallback=FALLBACK, pins={3: 1, 8: 3})
    assert with_last.items_C.tolist() == [5, 7, 3, 1], "the last position is another pin's"
