"""What is said to people about an item: short sentences in English and Chinese, one table of each.

>>> sentence("goes with", ["Tea pot"]).english
'Often chosen together with Tea pot.'
"""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from segue.pipeline.ranked_list import PlacementReason

Reason = Literal[
    "again", "comes next", "goes with", "like it", "rising", "popular", "new", "picked", "drawn", "for you",
    "shown", "unknown", "seen", "forbidden", "not found", "ranked lower", "re-ranked",
]  # fmt: skip
REASON_OF_MODEL: Mapping[str, Reason] = {
    "again": "again",
    "new": "new",
    "list": "picked",
    "content-knn": "like it",
    "trend": "rising",
    "popularity": "popular",
    **dict.fromkeys(("item-knn", "ease", "ials", "bpr", "spectral", "user-knn"), "goes with"),
}
"""Why a source of this model gives an item; every other model says what comes next."""
PERSONAL = ("comes next", "goes with", "like it")
"""Reasons that name what the person did."""


class Sentence(NamedTuple):
    """One thing, said twice."""

    english: str
    chinese: str


REASON_SENTENCES: Mapping[Reason, Sentence] = {
    "again": Sentence("You have chosen this before.", "您以前选过它。"),
    "comes next": Sentence("People who chose {items} often choose this next.", "选了{items}的人，接下来常常选它。"),
    "goes with": Sentence("Often chosen together with {items}.", "常与{items}一起被选。"),
    "like it": Sentence("It is like {items}.", "与{items}相似。"),
    "rising": Sentence("More and more people choose it these days.", "最近选它的人越来越多。"),
    "popular": Sentence("Many people choose it.", "很多人都选它。"),
    "new": Sentence("It is new here.", "新品上架。"),
    "picked": Sentence("Picked for you by the shop.", "店家精选。"),
    "drawn": Sentence("Something different to discover.", "换个新鲜的试试。"),
    "for you": Sentence("Chosen for you.", "为您推荐。"),
}
WHY_NOT_SENTENCES: Mapping[Reason, Sentence] = {
    "shown": Sentence("It is in the list, at place {place}.", "它就在列表里，第{place}位。"),
    "unknown": Sentence("The catalog does not know it.", "目录里没有它。"),
    "seen": Sentence("It is in the history, and what was seen is left out.", "您已经看过它，看过的不再推荐。"),
    "forbidden": Sentence("A rule of this place does not allow it.", "这里的规则不允许推荐它。"),
    "not found": Sentence(
        "No source gives it: {places}. Without that it has no chance.", "没有任何来源选中它：{places}。"
    ),
    "ranked lower": Sentence(
        "It comes at place {place}, and {shown} are shown{held}.", "它排在第{place}位，而只展示{shown}个{held}。"
    ),
    "re-ranked": Sentence(
        "By its score it would be at place {place}; a rule for the list's mix or order put others there.",
        "按得分它应在第{place}位，但列表的搭配规则把别的放在了前面。",
    ),
}


def choose_reason(placement: PlacementReason, model: str, in_history: bool, has_influence: bool) -> Reason:
    """The reason of an item by how it came to its place, what kind of source speaks most for it, whether the history
    holds it, and whether an event of the history matters to it."""
    if placement in (PlacementReason.PINNED, PlacementReason.QUOTA):
        return "picked"
    if placement == PlacementReason.EXPLORED:
        return "drawn"
    if placement == PlacementReason.FILLED:
        return "popular"
    if in_history:
        return "again"
    reason = REASON_OF_MODEL.get(model, "comes next" if model else "for you")
    if reason in PERSONAL or reason == "again":
        return (reason if reason in PERSONAL else "comes next") if has_influence else "for you"
    return reason


def reason_sentence(reason: Reason, items: Sequence[str]) -> Sentence:
    """What a shopper reads; ``items``: titles of the events that mattered. Without any it says less."""
    if reason in PERSONAL and not items:
        reason = "for you"
    words = REASON_SENTENCES[reason]
    return Sentence(words.english.format(items=" and ".join(items)), words.chinese.format(items="和".join(items)))


def why_not_sentence(
    reason: Reason,
    *,
    place: int | None,
    shown: int,
    places: Mapping[str, tuple[int, int]],
    held_back: str | None,
) -> Sentence:
    """What somebody reads who asks why an item is missing."""
    english = ", ".join(f"{name} has it at place {own:,} and gives {take:,}" for name, (own, take) in places.items())
    chinese = "，".join(f"{name}把它排在第{own}位，只给{take}个" for name, (own, take) in places.items())
    held = "" if held_back is None else f"; {held_back} is what holds it back most"
    held_zh = "" if held_back is None else f"；拉低它最多的是{held_back}"
    words = WHY_NOT_SENTENCES[reason]
    return Sentence(
        words.english.format(place=place, shown=shown, places=english or "none knows it", held=held),
        words.chinese.format(place=place, shown=shown, places=chinese or "都不认识它", held=held_zh),
    )
