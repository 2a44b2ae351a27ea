"""Sentences about recommended and missing items, in English and Chinese.

>>> reason_sentence("goes with", ["Tea pot"]).english
'Often chosen together with Tea pot.'
"""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from segue.pipeline.ranked_list import PlacementReason

Reason = Literal[
    "again", "comes next", "goes with", "like it", "rising", "popular", "new", "picked", "drawn", "for you", "other",
    "listed", "unknown", "seen", "forbidden", "not found", "ranked lower", "re-ranked",
]  # fmt: skip
REASON_OF_MODEL: Mapping[str, Reason] = {
    "again": "again",
    "new": "new",
    "list": "picked",
    "content-knn": "like it",
    "trend": "rising",
    "popularity": "popular",
    "catalog": "other",
    **dict.fromkeys(("item-knn", "ease", "ials", "bpr", "spectral", "user-knn"), "goes with"),
}
"""Model of a source, or fallback step -> reason; every other model stands for "comes next"."""
PERSONAL = ("comes next", "goes with", "like it")
"""Reasons that name events of the user."""


class Sentence(NamedTuple):
    """A sentence in two languages."""

    english: str
    chinese: str


NO_SENTENCE = Sentence("", "")


REASON_SENTENCES: Mapping[Reason, Sentence] = {
    "again": Sentence("You have chosen this before.", "您以前选过它。"),
    "comes next": Sentence("Often chosen next after {items}.", "选了{items}的人，接下来常常选它。"),
    "goes with": Sentence("Often chosen together with {items}.", "常与{items}一起被选。"),
    "like it": Sentence("It is like {items}.", "与{items}相似。"),
    "rising": Sentence("Chosen more and more often.", "最近选它的人越来越多。"),
    "popular": Sentence("A popular choice.", "很多人都选它。"),
    "new": Sentence("It is new here.", "新品上架。"),
    "picked": Sentence("Picked for you by the shop.", "店家精选。"),
    "drawn": Sentence("Something different to discover.", "换个新鲜的试试。"),
    "for you": Sentence("Chosen for you.", "为您推荐。"),
    "other": Sentence("Another item of the catalog.", "目录中的其他商品。"),
}
WHY_NOT_SENTENCES: Mapping[Reason, Sentence] = {
    "listed": Sentence("It is in the list, at position {rank}.", "它就在列表里，第{rank}位。"),
    "unknown": Sentence("The catalog does not hold it.", "目录里没有它。"),
    "seen": Sentence("Seen items are left out: {clauses}.", "看过的不再推荐：{clauses}。"),
    "forbidden": Sentence("The rules do not allow it: {clauses}.", "规则不允许推荐它：{clauses}。"),
    "not found": Sentence("No source gives it: {ranks}.", "没有任何来源选中它：{ranks}。"),
    "ranked lower": Sentence(
        "It has rank {rank}, and {num_recommended} items are recommended{lowered}.",
        "它排在第{rank}位，而只展示{num_recommended}个{lowered}。",
    ),
    "re-ranked": Sentence(
        "By its score it would have rank {rank}; {clauses}.",
        "按得分它应在第{rank}位，但{clauses}。",
    ),
}


def choose_reason(placement: PlacementReason, model: str, in_history: bool, has_influence: bool) -> Reason:
    """Return the reason of an item.

    Args:
        placement: reason for the item's position.
        model: model of the source with the largest share in the score among those that gave the item, or the fallback
            step; empty: none.
        in_history: the history holds the item.
        has_influence: an event of the history raises the item's probability.
    """
    if placement in (PlacementReason.PINNED, PlacementReason.QUOTA):
        return "picked"
    if placement == PlacementReason.EXPLORED:
        return "drawn"
    if placement == PlacementReason.FILLED:
        return REASON_OF_MODEL.get(model, "popular")
    if in_history:
        return "again"
    reason = REASON_OF_MODEL.get(model, "comes next" if model else "for you")
    if reason in PERSONAL or reason == "again":
        return (reason if reason in PERSONAL else "comes next") if has_influence else "for you"
    return reason


def reason_sentence(reason: Reason, items: Sequence[str]) -> Sentence:
    """Return the sentence for a user.

    Args:
        reason: reason of the item.
        items: titles of the events with the largest effect; without any the sentence names none.
    """
    if reason in PERSONAL and not items:
        reason = "for you"
    words = REASON_SENTENCES[reason]
    return Sentence(words.english.format(items=" and ".join(items)), words.chinese.format(items="和".join(items)))


def why_not_sentence(
    reason: Reason,
    *,
    rank: int | None,
    num_recommended: int,
    ranks: Mapping[str, tuple[int, int]],
    lowered_by: str | None,
    clauses: Sentence = NO_SENTENCE,
) -> Sentence:
    """Return the sentence about a missing item.

    Args:
        reason: reason of its absence.
        rank: rank of the item by score; None without one.
        num_recommended: length of the list.
        ranks: source -> (rank of the item, number of candidates).
        lowered_by: source that lowers the item most; None: none.
        clauses: rules or stages that keep the item out, in both languages.
    """
    english = ", ".join(f"{name} has it at rank {rank:,} and gives {count:,}" for name, (rank, count) in ranks.items())
    chinese = "，".join(f"{name}把它排在第{rank}位，只给{count}个" for name, (rank, count) in ranks.items())
    lowered = "" if lowered_by is None else f"; {lowered_by} lowers it most"
    lowered_zh = "" if lowered_by is None else f"；拉低它最多的是{lowered_by}"
    words = WHY_NOT_SENTENCES[reason]
    return Sentence(
        words.english.format(
            rank=rank,
            num_recommended=num_recommended,
            ranks=english or "no source scores it",
            lowered=lowered,
            clauses=clauses.english,
        ),
        words.chinese.format(
            rank=rank,
            num_recommended=num_recommended,
            ranks=chinese or "都不认识它",
            lowered=lowered_zh,
            clauses=clauses.chinese,
        ),
    )
