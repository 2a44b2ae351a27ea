"""Item and user table readers: a file or a table to typed columns."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from segue.data.features.column_types import ColumnType, cast_column, infer_column_type
from segue.data.item_table import ItemTable
from segue.data.read_report import shorten_list
from segue.data.readers import rejected_rows
from segue.data.readers.column_roles import KNOWN_COLUMN_NAMES
from segue.data.readers.formats.data_frames import read_data_frame
from segue.data.readers.formats.file_formats import guess_format, read_raw
from segue.data.readers.formats.raw_table import ROW, RawTable
from segue.data.readers.ids import ids_to_text

if TYPE_CHECKING:
    import polars as pl


def read_items(source: Any, *, format: str = "auto", column_types: Mapping[str, ColumnType] | None = None) -> ItemTable:
    """Read an item table from a file or a table. An item that occurs twice keeps its first row.

    Args:
        source: path of a file, or a Polars, pandas or Arrow table; an ``ItemTable`` is returned unchanged.
        format: format of the file (see ``ReadOptions.format``); "auto": by its suffix.
        column_types: type of some columns. The others are guessed: "number"; "list" for cells with ``|`` or ``;``
            between words; "text" for long or all different cells; "vector" for lists of floats; else "category".

    Returns:
        The table; its ``notes`` state every guess and count the rejected rows.

    Raises:
        ValueError: there is no item column, no valid item id, or ``column_types`` names an unknown column or type.
    """
    if isinstance(source, ItemTable):
        return source
    raw = _read(source, format)
    id_column = _find_id_column([c for c in raw.frame.columns if c != ROW], "item")
    frame, notes = _with_ids(raw, id_column, "item")
    unique = frame.unique("item_id", keep="first", maintain_order=True)
    if unique.height < frame.height:
        notes.append(f"{frame.height - unique.height:,} rows repeat an item; its first row counts.")
    others = [c for c in unique.columns if c != "item_id"]
    _check_column_types(column_types or {}, others)
    types = {c: (column_types or {}).get(c) or infer_column_type(unique[c]) for c in others}
    typed = unique.with_columns(*[cast_column(unique[c], type_) for c, type_ in types.items()])
    for c, type_ in types.items():
        lost = typed[c].null_count() - unique[c].null_count()
        notes.append(f"Column '{c}' is read as {type_}" + (f"; {lost:,} cells have no such value." if lost else "."))
    return ItemTable(typed, types, tuple(notes))


def read_users(source: Any, *, format: str = "auto") -> "pl.DataFrame":
    """Read a user table from a file or a table. A user that occurs twice keeps the first row.

    Args:
        source: path of a file, or a Polars, pandas or Arrow table.
        format: format of the file (see ``ReadOptions.format``); "auto": by its suffix.

    Returns:
        ``user_id`` and the other columns of the source.

    Raises:
        ValueError: there is no user column or no valid user id.
    """
    raw = _read(source, format)
    frame, _ = _with_ids(raw, _find_id_column([c for c in raw.frame.columns if c != ROW], "user"), "user")
    return frame.unique("user_id", keep="first", maintain_order=True)


def _read(source: Any, format: str) -> RawTable:
    if isinstance(source, str | Path):
        path = Path(source)
        return read_raw(path, guess_format(path) if format == "auto" else format)
    return read_data_frame(source)


def _with_ids(raw: RawTable, id_column: str, entity: str) -> "tuple[pl.DataFrame, list[str]]":
    """Return the rows with a valid id, as text in ``item_id`` or ``user_id``, and notes. ``entity``: item or user."""
    role = f"{entity}_id"
    ids, notes = ids_to_text(raw.frame[id_column], role)
    mixed = raw.mixed_type_rows.get(id_column, {})
    is_suspect = rejected_rows.has_invalid_cell({role: ids}) | raw.frame[ROW].is_in(list(mixed))
    rejected = rejected_rows.reject_rows(
        raw.frame.filter(is_suspect), {role: id_column}, {role: ids.filter(is_suspect)}, mixed
    )
    for reason, count in rejected_rows.count_by_reason([*raw.rejected, *rejected]).items():
        notes.append(f"{count:,} rows of the {entity}s table rejected: {reason}.")
    frame = raw.frame.drop(id_column).with_columns(ids.alias(role))
    frame = frame.filter(~frame[ROW].is_in([row.row for row in rejected])).drop(ROW)
    if frame.height == 0:
        raise ValueError(f"The {entity}s table has no row whose '{id_column}' is an id.")
    return frame, [*raw.notes, *notes]


def _check_column_types(column_types: Mapping[str, str], columns: list[str]) -> None:
    for name, type_ in column_types.items():
        if name not in columns:
            raise ValueError(f"The items table has no column '{name}'. Its columns: {shorten_list(columns)}.")
        if type_ not in get_args(ColumnType):
            raise ValueError(f"There is no column type '{type_}'. Known types: {', '.join(get_args(ColumnType))}.")


def _find_id_column(columns: list[str], entity: str) -> str:
    plain = {"".join(c for c in name.lower() if c.isalnum()): name for name in reversed(columns)}
    match = next((plain[s] for s in (*KNOWN_COLUMN_NAMES[f"{entity}_id"], "id") if s in plain), None)
    if match is None:
        raise ValueError(
            f"No column of the {entity}s table looks like {entity}_id; rename the one that does. "
            f"Its columns: {shorten_list(columns)}."
        )
    return match
