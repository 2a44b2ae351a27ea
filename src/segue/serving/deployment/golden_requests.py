"""Golden requests: recorded lists that a version must reproduce before it is deployed (self-test)."""

import math
from collections.abc import Iterable
from pathlib import Path

import msgspec
from msgspec import Struct

from segue.data.catalog import Catalog
from segue.serving.inference.served_model import ServedModel
from segue.serving.schemas.requests import Recommendation

EXPECTATIONS = "golden.json"
"""File of a registry with the operator's own requests: [{"history": [...], "expect": [...], "k": 10}, ...]."""
GOLDEN_K = 10
"""Length of a recorded list."""
UNKNOWN_ITEM = "an item that no catalog has"
_TOLERANCE = 1e-3


class GoldenRequest(Struct, forbid_unknown_fields=True):
    """Request with a known list."""

    history: list[str]
    k: int = GOLDEN_K
    items: list[str] | None = None
    """Recorded list; None for an operator's request. Items with nearly equal scores may be swapped."""
    scores: list[float] | None = None
    """Recorded scores of ``items``."""
    expect: list[str] = []
    """Items that must be among the k."""


class GoldenRecording(Struct, forbid_unknown_fields=True):
    """Golden requests of one version, as the registry stores them."""

    version: str
    requests: list[GoldenRequest]


def golden_histories(catalog: Catalog) -> list[list[str]]:
    """Return the histories of a self-test: empty, unknown items only, single items, and runs across the catalog."""
    ids = catalog.ids
    count = min(8, len(ids))
    single = [ids[i * len(ids) // count] for i in range(count)]
    runs = [ids[start : start + 20] for start in range(0, len(ids), max(1, len(ids) // 4))][:4]
    return [[], [UNKNOWN_ITEM], *[[item] for item in single], *[list(run) for run in runs]]


def record_golden(model: ServedModel) -> list[GoldenRequest]:
    """Return golden requests with the lists of this model.

    Raises:
        ValueError: a list is too short, has duplicates, or a score is not finite.
    """
    golden = []
    for history in golden_histories(model.catalog):
        items = _recommend(model, history, GOLDEN_K)
        golden.append(GoldenRequest(history, GOLDEN_K, [item.id for item in items], [item.score for item in items]))
    return golden


def expectations(folder: Path) -> list[GoldenRequest]:
    """Return the operator's golden requests of a registry; none without the file.

    Raises:
        ValueError: the file is not readable.
    """
    path = folder / EXPECTATIONS
    if not path.exists():
        return []
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[GoldenRequest])
    except msgspec.DecodeError as error:
        raise ValueError(f"{path} is no list of golden requests: {error}.") from None


def check_golden(model: ServedModel, golden: Iterable[GoldenRequest]) -> None:
    """Check that a model reproduces its golden requests.

    Args:
        model: the loaded version.
        golden: recorded requests and the operator's.

    Raises:
        ValueError: a list differs; the message names the first one.
    """
    for request in golden:
        items = _recommend(model, request.history, request.k)
        failed = f"Version {model.version} failed its self-test: after {request.history[:5]}"
        missing = [item for item in request.expect if item not in {each.id for each in items}]
        if missing:
            raise ValueError(f"{failed} the best {request.k} should hold '{missing[0]}', and do not.")
        if request.items is not None and not _equals_recorded(items, request.items, request.scores or []):
            ids = [each.id for each in items][:5]
            raise ValueError(f"{failed} it returns {ids}, but {request.items[:5]} was recorded when it was added.")


def _recommend(model: ServedModel, history: list[str], k: int) -> list[Recommendation]:
    """Return the model's list. ValueError if it is too short, has duplicates, or a score is not finite."""
    indices = [index for index in model.catalog.to_indices(history).tolist() if index]
    items = model.top_k(indices, k)
    failed = f"Version {model.version} failed its self-test: after {history[:5]}"
    if len(items) != min(k, len(model.catalog)) or len({item.id for item in items}) != len(items):
        raise ValueError(f"{failed} it returns {len(items)} items, not {k} different ones.")
    if not all(math.isfinite(item.score) for item in items):
        raise ValueError(f"{failed} a score is not a finite number.")
    return items


def _equals_recorded(items: list[Recommendation], ids: list[str], scores: list[float]) -> bool:
    """Return whether the scores equal the recorded ones at each position, up to the tolerance.

    Items with nearly equal scores may be swapped, and one item at the end of the list may be another.
    """
    if len(items) != len(ids) or len(scores) != len(ids):
        return False
    close = [
        math.isclose(item.score, score, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)
        for item, score in zip(items, scores, strict=True)
    ]
    return all(close) and len({item.id for item in items} - set(ids)) <= 1
