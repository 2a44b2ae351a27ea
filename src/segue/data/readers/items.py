"""Item and user table readers: a file or a table to typed columns."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from segue.data.features.column_types import ColumnType, cast_column, infer_column_type
from segue.data.read_report import shorten_list
from segue.data.readers import rejected_rows
from segue.data.readers.column_roles import KNOWN_NAMES
from segue.data.readers.data_frames import read_data_frame
from segue.data.readers.formats import guess_format, read_raw
from segue.data.readers.ids import ids_to_text
from segue.data.readers.raw_table import ROW, RawTable

if TYPE_CHECKING:
    import polars as pl
from segue.data.item_table import ItemTable


def read_items(source: Any, *, format: str = "auto", kinds: Mapping[str, ColumnType] | None = None) -> ItemTable:
    """From a file or a table. Kinds are guessed (numbers; lists where cells hold ``|`` or ``;`` between words; text
    where cells are long or all different; else categories) unless told.

    A table that was read already comes back as it is. An item that comes twice keeps its first row, and the notes say
    so. ValueError where there is no item column, where no item has an id, or where ``kinds`` names a column or a kind
    that there is not.
    """
    if isinstance(source, ItemTable):
        return source
    raw = _read(source, format)
    name = _id_column([c for c in raw.frame.columns if c != ROW], "item")
    frame, notes = _with_ids(raw, name, "item")
    once = frame.unique("item_id", keep="first", maintain_order=True)
    if once.height < frame.height:
        notes.append(f"{frame.height - once.height:,} rows repeat an item; its first row counts.")
    others = [c for c in once.columns if c != "item_id"]
    _check_kinds(kinds or {}, others)
    typed = {c: (kinds or {}).get(c) or infer_column_type(once[c]) for c in others}
    done = once.with_columns(*[cast_column(once[c], kind) for c, kind in typed.items()])
    for c, kind in typed.items():
        lost = done[c].null_count() - once[c].null_count()
        notes.append(f"Column '{c}' is taken as {kind}" + (f"; {lost:,} cells are none." if lost else "."))
    return ItemTable(done, typed, tuple(notes))


def read_users(source: Any, *, format: str = "auto") -> "pl.DataFrame":
    """A table of users, from a file or a table: ``user_id`` and other columns, one row a person (the first counts)."""
    raw = _read(source, format)
    frame, _ = _with_ids(raw, _id_column([c for c in raw.frame.columns if c != ROW], "user"), "user")
    return frame.unique("user_id", keep="first", maintain_order=True)


def _read(source: Any, format: str) -> RawTable:
    if isinstance(source, str | Path):
        path = Path(source)
        return read_raw(path, guess_format(path) if format == "auto" else format)
    return read_data_frame(source)


def _with_ids(raw: RawTable, name: str, what: str) -> "tuple[pl.DataFrame, list[str]]":
    """(the rows of a table of items or users that have an id, which is text under ``item_id`` or ``user_id``;
    sentences)."""
    role = f"{what}_id"
    ids, notes = ids_to_text(raw.frame[name], role)
    mixed = raw.mixed.get(name, {})
    suspect = rejected_rows.has_invalid_cell({role: ids}) | raw.frame[ROW].is_in(list(mixed))
    aside = rejected_rows.reject_rows(raw.frame.filter(suspect), {role: name}, {role: ids.filter(suspect)}, mixed)
    for reason, count in rejected_rows.count_by_reason([*raw.rejected, *aside]).items():
        notes.append(f"{count:,} rows of the {what}s table set aside: {reason}.")
    frame = raw.frame.drop(name).with_columns(ids.alias(role))
    frame = frame.filter(~frame[ROW].is_in([row for row, _, _ in aside])).drop(ROW)
    if frame.height == 0:
        raise ValueError(f"The {what}s table has no row whose '{name}' is an id.")
    return frame, [*raw.notes, *notes]


def _check_kinds(kinds: Mapping[str, str], columns: list[str]) -> None:
    for name, kind in kinds.items():
        if name not in columns:
            raise ValueError(f"The items table has no column '{name}'. Its columns: {shorten_list(columns)}.")
        if kind not in get_args(ColumnType):
            raise ValueError(f"There is no kind '{kind}' of column. Known kinds: {', '.join(get_args(ColumnType))}.")


def _id_column(names: list[str], what: str) -> str:
    """ValueError where no column looks like it."""
    plain = {"".join(c for c in name.lower() if c.isalnum()): name for name in reversed(names)}
    match = next((plain[s] for s in (*KNOWN_NAMES[f"{what}_id"], "id") if s in plain), None)
    if match is None:
        raise ValueError(
            f"No column of the {what}s table looks like {what}_id; rename the one that does. "
            f"Its columns: {shorten_list(names)}."
        )
    return match
