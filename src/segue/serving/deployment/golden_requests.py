"""What a model must answer before anybody else asks it: golden requests, recorded where it was added."""

import math
from collections.abc import Iterable
from pathlib import Path

import msgspec
from msgspec import Struct

from segue.data.catalog import Catalog
from segue.serving.inference.served_model import ServedModel
from segue.serving.schemas.requests import Recommendation

EXPECTATIONS = "golden.json"
"""A registry's own requests: [{"history": [...], "expect": [...], "k": 10}, ...], kept by whoever runs the shop."""
GOLDEN_K = 10
UNKNOWN_ITEM = "an item that no catalog has"
_TOLERANCE = 1e-3


class GoldenRequest(Struct, forbid_unknown_fields=True):
    """A request whose answer is known."""

    history: list[str]
    k: int = GOLDEN_K
    items: list[str] | None = None
    """The whole answer, where it was recorded; two items may change places where their scores are as good as equal."""
    scores: list[float] | None = None
    expect: list[str] = []
    """Items that must be among the k."""


def golden_histories(catalog: Catalog) -> list[list[str]]:
    """What a self-test asks: a newcomer, somebody with unknown items only, single items and runs from all over the
    catalog."""
    ids = catalog.ids
    spread = [ids[i * len(ids) // 8] for i in range(min(8, len(ids)))]
    runs = [ids[start : start + 20] for start in range(0, len(ids), max(1, len(ids) // 4))][:4]
    return [[], [UNKNOWN_ITEM], *[[one] for one in spread], *[list(run) for run in runs]]


def record_golden(model: ServedModel) -> list[GoldenRequest]:
    """How a model answers here. ValueError where an answer is none."""
    out = []
    for history in golden_histories(model.catalog):
        found = _answer(model, history, GOLDEN_K)
        out.append(GoldenRequest(history, GOLDEN_K, [one.id for one in found], [one.score for one in found]))
    return out


def expectations(folder: Path) -> list[GoldenRequest]:
    """The registry's own golden requests; none where there is no such file. ValueError where it is not readable."""
    path = folder / EXPECTATIONS
    if not path.exists():
        return []
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[GoldenRequest])
    except msgspec.DecodeError as error:
        raise ValueError(f"{path} is no list of golden requests: {error}.") from None


def check_golden(model: ServedModel, golden: Iterable[GoldenRequest]) -> None:
    """ValueError, in a sentence, for the first golden request that is not answered as it must be."""
    for one in golden:
        found = _answer(model, one.history, one.k)
        told = f"Version {model.version} failed its self-test: after {one.history[:5]}"
        missing = [item for item in one.expect if item not in {each.id for each in found}]
        if missing:
            raise ValueError(f"{told} the best {one.k} should hold '{missing[0]}', and do not.")
        if one.items is not None and not _same(found, one.items, one.scores or []):
            here = [each.id for each in found][:5]
            raise ValueError(f"{told} it answers {here}, where it was added it answered {one.items[:5]}.")


def _answer(model: ServedModel, history: list[str], k: int) -> list[Recommendation]:
    """A list that anybody could be shown: as long as it should be, no item twice, every score a number."""
    indices = [index for index in model.catalog.to_indices(history).tolist() if index]
    found = model.top_k(indices, k)
    told = f"Version {model.version} failed its self-test: after {history[:5]}"
    if len(found) != min(k, len(model.catalog)) or len({one.id for one in found}) != len(found):
        raise ValueError(f"{told} it answers with {len(found)} items, not with {k} different ones.")
    if not all(math.isfinite(one.score) for one in found):
        raise ValueError(f"{told} a score is not a finite number.")
    return found


def _same(found: list[Recommendation], items: list[str], scores: list[float]) -> bool:
    """The recorded scores in the recorded places; items whose scores are as good as equal may have changed places, and
    one at the list's end may be another."""
    if len(found) != len(items) or len(scores) != len(items):
        return False
    close = [
        math.isclose(one.score, score, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)
        for one, score in zip(found, scores, strict=True)
    ]
    return all(close) and len({one.id for one in found} - set(items)) <= 1
