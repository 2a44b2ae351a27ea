"""Cells of an item in a request: decoded, limited, and checked against the columns of every deployed version."""

import difflib
import sys
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from segue.data.read_report import shorten_list
from segue.serving.catalog.availability import AVAILABLE, STOCK
from segue.serving.catalog.live_model import LiveModel
from segue.serving.schemas.admin import MAX_CELLS, MAX_PARTS, MAX_TEXT
from segue.serving.schemas.problems import Problem
from segue.serving.schemas.requests import Id

MAX_ITEM_BYTES = 65_536
"""Largest body with the cells of one item, in bytes."""
TITLE, ITEM_ID = "title", "item_id"
_DECODER = msgspec.json.Decoder(Annotated[dict[Id, Any], Meta(max_length=MAX_CELLS)])


def decode_cells(body: bytes, item_id: str) -> dict[str, Any]:
    """Return the cells of a body, a JSON object of plain values by column.

    Args:
        body: the body of the request.
        item_id: id in the path.

    Raises:
        Problem: 413, the body is larger than MAX_ITEM_BYTES; 422, it names another item, or a cell is no plain value.
        msgspec.ValidationError: the body is no object, or has too many cells.
        msgspec.DecodeError: the body is not JSON.
    """
    if len(body) > MAX_ITEM_BYTES:
        raise Problem(413, f"The cells of an item take at most {MAX_ITEM_BYTES} bytes.")
    cells: dict[str, Any] = _DECODER.decode(body)
    if cells.pop(ITEM_ID, item_id) != item_id:
        raise Problem(422, f"The body names another item than the path: leave out {ITEM_ID}.")
    for name, value in cells.items():
        _check_plain(name, value)
    return cells


def _check_plain(name: str, value: Any) -> None:
    """Check that a cell is a plain value of a sensible size. Problem 422."""
    parts = value if isinstance(value, list) else [value]
    if not all(isinstance(part, str | int | float | bool | None) for part in parts) or (
        parts is value and None in parts
    ):
        raise Problem(422, f"{name} must be text, a number, true, false, null or a list of texts.")
    if len(parts) > MAX_PARTS or any(isinstance(part, str) and len(part) > MAX_TEXT for part in parts):
        raise Problem(422, f"{name} has more than {MAX_TEXT} characters or {MAX_PARTS} parts.")
    if any(isinstance(part, int) and abs(part) > sys.float_info.max for part in parts):
        raise Problem(422, f"{name} holds a number above {sys.float_info.max:.1e}, the largest one.")


def check_cells(cells: Mapping[str, Any], models: Iterable[LiveModel]) -> list[str]:
    """Check cells against the columns of the deployed versions, and return the names that no version uses.

    Args:
        cells: column -> value.
        models: live state of each deployed version.

    Raises:
        Problem: 422, a column that the items of no deployed version have, or a value that one cannot hold.
    """
    models = list(models)
    known = {name for model in models for name in model.model.item_columns}
    builtin = {TITLE, AVAILABLE}
    if any(model.pipeline is None for model in models):
        builtin |= set(STOCK)
    unused = []
    for name, value in cells.items():
        _check_builtin(name, value)
        if name not in known | builtin:
            if known:
                raise Problem(422, _unknown_column(name, sorted(known | {TITLE, AVAILABLE})))
            unused.append(name)
        for model in models:
            if name in model.model.item_columns:
                try:
                    model.check_cell(name, value)
                except ValueError as error:
                    raise Problem(422, str(error)) from None
    return unused


def _check_builtin(name: str, value: Any) -> None:
    if name == TITLE and not isinstance(value, str | None):
        raise Problem(422, "title must be text.")
    if name == AVAILABLE and not isinstance(value, bool | int | float | None):
        raise Problem(422, "available must be true, false or a number of pieces.")


def _unknown_column(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"Did you mean '{close[0]}'?" if close else f"The columns: {shorten_list(known)}."
    return f"The items have no column '{name}'. {hint}"
