"""Item and user table readers: a file or a table to typed columns."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from segue.data.features.column_types import ColumnType, cast_column, describe_column, infer_column_type
from segue.data.item_table import ItemTable, UserTable
from segue.data.read_report import shorten_list
from segue.data.readers import rejected_rows
from segue.data.readers.column_roles import KNOWN_COLUMN_NAMES, plain_name
from segue.data.readers.formats.data_frames import read_data_frame
from segue.data.readers.formats.file_formats import FORMAT_BY_SUFFIX, guess_format, read_raw
from segue.data.readers.formats.raw_table import ROW, RawTable
from segue.data.readers.ids import ids_to_text, warn_of_missing_words
from segue.data.readers.losses import WARNED_SHARE, check_loss

if TYPE_CHECKING:
    import polars as pl

_RECBOLE_TYPES: dict[str, ColumnType] = {
    "token": "category",
    "token_seq": "text",
    "float": "number",
    "float_seq": "vector",
}
"""Column type of each type in a header of RecBole's."""


def read_items(
    source: Any,
    *,
    format: str = "auto",
    column_types: Mapping[str, ColumnType] | None = None,
    encoding: str = "auto",
    allow_loss: bool = False,
) -> ItemTable:
    """Read an item table from a file or a table. An item that occurs twice keeps its first row.

    Args:
        source: path of a file, or a Polars, pandas or Arrow table; an ``ItemTable`` is returned unchanged.
        format: format of the file (see ``ReadOptions.format``); "auto": by its suffix.
        column_types: type of some columns. The others are guessed: "number"; "list" for cells with ``|`` or ``;``
            between words; "text" for long or all different cells; "vector" for lists of floats; else "category".
        encoding: encoding of a text file (see ``ReadOptions.encoding``).
        allow_loss: read a table of which more than 20 % of the rows are rejected.

    Returns:
        The table; its ``notes`` state every guess and count the rejected rows.

    Raises:
        ValueError: there is no item column, no valid item id, too large a loss, or ``column_types`` names an unknown
            column or type.
    """
    if isinstance(source, ItemTable):
        return source
    read = _read_table(source, format, encoding, "item", allow_loss)
    others = [c for c in read.frame.columns if c != "item_id"]
    _check_column_types(column_types or {}, others)
    given = {**read.column_types, **(column_types or {})}
    types = {c: given.get(c) or infer_column_type(read.frame[c]) for c in others}
    typed = read.frame.with_columns(*[cast_column(read.frame[c], type_) for c, type_ in types.items()])
    columns = [describe_column(read.frame[c], typed[c], type_) for c, type_ in types.items()]
    return ItemTable(typed, types, (*read.notes, *columns), tuple(read.warnings))


def read_users(source: Any, *, format: str = "auto", encoding: str = "auto", allow_loss: bool = False) -> UserTable:
    """Read a user table from a file or a table. A user that occurs twice keeps the first row.

    Args:
        source: path of a file, or a Polars, pandas or Arrow table.
        format: format of the file (see ``ReadOptions.format``); "auto": by its suffix.
        encoding: encoding of a text file (see ``ReadOptions.encoding``).
        allow_loss: read a table of which more than 20 % of the rows are rejected.

    Returns:
        The table; its ``notes`` state every guess and count the rejected rows.

    Raises:
        ValueError: there is no user column, no valid user id, or too large a loss.
    """
    read = _read_table(source, format, encoding, "user", allow_loss)
    return UserTable(read.frame, tuple(read.notes), tuple(read.warnings))


@dataclass(frozen=True)
class _ReadTable:
    """Rows of a table, one per id, and the account of its reading."""

    frame: "pl.DataFrame"
    column_types: dict[str, ColumnType]
    """Types that the header of the file states."""
    notes: list[str]
    warnings: list[str]


def _read_table(source: Any, format: str, encoding: str, entity: str, allow_loss: bool) -> _ReadTable:
    """Return the rows with a valid id, the first of each id. ``entity``: item or user."""
    role = f"{entity}_id"
    raw = _read(source, format, encoding)
    id_column = _find_id_column([c for c in raw.frame.columns if c != ROW], entity)
    if id_column in raw.nested_columns:
        raise ValueError(f"Column '{id_column}' of the {entity}s table holds nested values, which are no ids.")
    ids, notes = ids_to_text(raw.frame[id_column], role)
    mixed = raw.mixed_type_rows.get(id_column, {})
    is_suspect = rejected_rows.has_invalid_cell({role: ids}) | raw.frame[ROW].is_in(list(mixed))
    rejected = rejected_rows.reject_rows(
        raw.frame.filter(is_suspect), {role: id_column}, {role: ids.filter(is_suspect)}, mixed
    )
    is_rejected = raw.frame[ROW].is_in([row.row for row in rejected])
    rejected += rejected_rows.others_of_lines(raw.frame[ROW].filter(is_rejected), rejected)
    reasons = rejected_rows.count_by_reason([*raw.rejected, *rejected])
    rows_read = raw.frame.height + len(raw.rejected)
    notes += [f"{count:,} rows of the {entity}s table rejected: {reason}." for reason, count in reasons.items()]
    frame = raw.frame.drop(id_column).with_columns(ids.alias(role))
    frame = frame.filter(~is_rejected).drop(ROW)
    if frame.height == 0:
        raise ValueError(f"The {entity}s table has no row whose '{id_column}' is an id.")
    warnings = check_loss(f"the {entity}s table", reasons, rows_read, allowed=allow_loss)
    cure = "rows of such an id are used only if the log has events of it"
    warnings += warn_of_missing_words(frame[role], f"{role} of the {entity}s table", cure)
    unique = frame.unique(role, keep="first", maintain_order=True)
    if repeated := frame.height - unique.height:
        differ = frame.unique(maintain_order=True).height - unique.height
        note = f"{repeated:,} rows repeat {'an item' if entity == 'item' else 'a user'}; its first row counts."
        notes.append(note)
        if differ > WARNED_SHARE * rows_read:
            warnings.append(
                f"{differ:,} of {rows_read:,} rows of the {entity}s table repeat an id with other cells, which are "
                "lost."
            )
    types = {name: _RECBOLE_TYPES[type_] for name, type_ in raw.column_types.items() if name in unique.columns}
    return _ReadTable(unique, types, [*raw.notes, *notes], warnings)


def _read(source: Any, format: str, encoding: str) -> RawTable:
    if not isinstance(source, str | Path):
        return read_data_frame(source)
    path = Path(source)
    if format == "auto":
        try:
            format = guess_format(path)
        except ValueError:
            if not path.is_file():
                raise
            raise ValueError(
                f"The suffix of {path.name} has no known format; rename the table so that it ends in one of: "
                f"{', '.join(FORMAT_BY_SUFFIX)}."
            ) from None
    return read_raw(path, format, encoding=encoding)


def _check_column_types(column_types: Mapping[str, str], columns: list[str]) -> None:
    for name, type_ in column_types.items():
        if name not in columns:
            raise ValueError(f"The items table has no column '{name}'. Its columns: {shorten_list(columns)}.")
        if type_ not in get_args(ColumnType):
            raise ValueError(f"There is no column type '{type_}'. Known types: {', '.join(get_args(ColumnType))}.")


def _find_id_column(columns: list[str], entity: str) -> str:
    plain = {plain_name(name): name for name in reversed(columns)}
    match = next((plain[s] for s in (*KNOWN_COLUMN_NAMES[f"{entity}_id"], "id") if s in plain), None)
    if match is None:
        raise ValueError(
            f"No column of the {entity}s table looks like {entity}_id; rename the one that does. "
            f"Its columns: {shorten_list(columns)}."
        )
    return match
