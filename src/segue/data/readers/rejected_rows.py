"""Rows that cannot be events: which ones, why, and the file they go to."""

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from segue.data.readers.ids import invalid_id_reason, is_valid_id
from segue.data.readers.raw_table import MAX_TEXT_CHARS, ROW, RejectedRow
from segue.data.readers.timestamps import LATEST_US

if TYPE_CHECKING:
    import polars as pl

IDS = ("user_id", "item_id", "session_id")
NO_TIME = "timestamp is missing or no time between 1970 and 2200"


def has_invalid_cell(ready: "Mapping[str, pl.Series]") -> "pl.Series":
    """bool: rows that need a closer look. Cheap and never too lenient: most rows of most logs are done with it."""
    fine, *others = (is_valid_id(ready[role]) for role in IDS if role in ready)
    for other in others:
        fine &= other
    if "timestamp" in ready:
        moment = ready["timestamp"]
        fine &= moment.is_not_null() & (moment >= 0) & (moment <= LATEST_US)
    return ~fine.fill_null(False)


def reject_rows(
    suspects: "pl.DataFrame", columns: Mapping[str, str], ready: "Mapping[str, pl.Series]", mixed: Mapping[int, str]
) -> list[RejectedRow]:
    """Those of the suspects that are refused; of several reasons the first is told. ``mixed``: place -> reason."""
    places = suspects[ROW].to_list()
    reasons: list[str | None] = [mixed.get(place) for place in places]
    for role in IDS:
        if role in ready:
            original = suspects[columns[role]]
            missing = (original.fill_nan(None) if original.dtype.is_float() else original).is_null().to_list()
            for i, text in enumerate(ready[role].to_list()):
                reasons[i] = reasons[i] or invalid_id_reason(text, role, missing[i])
    for i, moment in enumerate(ready["timestamp"].to_list() if "timestamp" in ready else ()):
        if moment is None or not 0 <= moment <= LATEST_US:
            reasons[i] = reasons[i] or NO_TIME
    texts = (",".join("" if v is None else str(v) for v in row) for row in suspects.drop(ROW).iter_rows())
    return [
        (place, reason, text[:MAX_TEXT_CHARS])
        for place, reason, text in zip(places, reasons, texts, strict=True)
        if reason is not None
    ]


def count_by_reason(rejects: Iterable[RejectedRow]) -> dict[str, int]:
    """Rows by reason, the commonest first."""
    counts: dict[str, int] = {}
    for _, reason, _ in rejects:
        counts[reason] = counts.get(reason, 0) + 1
    return dict(sorted(counts.items(), key=lambda pair: -pair[1]))


def write_rejected_rows(path: Path, rejects: Iterable[RejectedRow]) -> None:
    """A CSV with row, reason, text, by row; only its head where nothing was refused."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["row", "reason", "text"])
        writer.writerows(sorted(rejects))
