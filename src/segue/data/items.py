"""The items table: what is known of an item besides who took it. Typed columns; a missing value stays missing."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from segue.data import rejects
from segue.data.catalog import PAD, Catalog
from segue.data.columns import KNOWN_NAMES, listed
from segue.data.features import Facts
from segue.data.formats import guess_format, read_raw
from segue.data.ids import to_text
from segue.data.kinds import Kind, as_kind, guess
from segue.data.raw import ROW, Raw
from segue.data.tables import from_table

if TYPE_CHECKING:
    import polars as pl

TITLES = ("title", "name", "description", "itemname", "productname", "label")
"""Column names, without case and punctuation, that people give to what an item is called; the likeliest first."""


@dataclass(frozen=True)
class ItemTable:
    """One row an item: ``item_id`` text, and the other columns of the table with their kinds."""

    frame: "pl.DataFrame"
    kinds: dict[str, Kind]
    notes: tuple[str, ...]
    """Every guess, and what was set aside, as sentences."""

    @property
    def title(self) -> str | None:
        """The column that holds what an item is called; None where no name says so."""
        plain = {"".join(c for c in name.lower() if c.isalnum()): name for name in self.kinds}
        return next((plain[name] for name in TITLES if name in plain), None)

    @property
    def ids(self) -> list[str]:
        """The items, in the table's order."""
        return self.frame["item_id"].to_list()

    def facts(self, catalog: Catalog) -> Facts:
        """What models learn from: a row for each index of the catalogue, empty for one that the table does not have."""
        rows: list[dict[str, Any]] = [{} for _ in range(catalog.size)]
        where = catalog.index(self.ids)
        for i, row in zip(where.tolist(), self.frame.iter_rows(named=True), strict=True):
            rows[i] = {name: row[name] for name in self.kinds if row[name] is not None}
        rows[PAD] = {}
        return Facts(rows, self.kinds)

    def by_id(self) -> dict[str, dict[str, Any]]:
        """Item id -> column -> value, missing values left out; the title column comes as "title" as well."""
        title = self.title
        out: dict[str, dict[str, Any]] = {}
        for row in self.frame.iter_rows(named=True):
            known = {name: row[name] for name in self.kinds if row[name] is not None}
            if title is not None and title in known:
                known["title"] = known[title]
            out[row["item_id"]] = known
        return out

    def for_catalog(self, catalog: Catalog) -> dict[str, dict[str, Any]]:
        """What an artifact keeps for people to see: ``by_id`` of the catalogue's items."""
        return {item: known for item, known in self.by_id().items() if item in catalog}


def read_items(source: Any, *, format: str = "auto", kinds: Mapping[str, Kind] | None = None) -> ItemTable:
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
    typed = {c: (kinds or {}).get(c) or guess(once[c]) for c in others}
    done = once.with_columns(*[as_kind(once[c], kind) for c, kind in typed.items()])
    for c, kind in typed.items():
        lost = done[c].null_count() - once[c].null_count()
        notes.append(f"Column '{c}' is taken as {kind}" + (f"; {lost:,} cells are none." if lost else "."))
    return ItemTable(done, typed, tuple(notes))


def read_users(source: Any, *, format: str = "auto") -> "pl.DataFrame":
    """A table of users, from a file or a table: ``user_id`` and other columns, one row a person (the first counts)."""
    raw = _read(source, format)
    frame, _ = _with_ids(raw, _id_column([c for c in raw.frame.columns if c != ROW], "user"), "user")
    return frame.unique("user_id", keep="first", maintain_order=True)


def _read(source: Any, format: str) -> Raw:
    if isinstance(source, str | Path):
        path = Path(source)
        return read_raw(path, guess_format(path) if format == "auto" else format)
    return from_table(source)


def _with_ids(raw: Raw, name: str, what: str) -> "tuple[pl.DataFrame, list[str]]":
    """(the rows of a table of items or users that have an id, which is text under ``item_id`` or ``user_id``;
    sentences)."""
    role = f"{what}_id"
    ids, notes = to_text(raw.frame[name], role)
    mixed = raw.mixed.get(name, {})
    suspect = rejects.suspicious({role: ids}) | raw.frame[ROW].is_in(list(mixed))
    aside = rejects.set_aside(raw.frame.filter(suspect), {role: name}, {role: ids.filter(suspect)}, mixed)
    for reason, count in rejects.count([*raw.rejected, *aside]).items():
        notes.append(f"{count:,} rows of the {what}s table set aside: {reason}.")
    frame = raw.frame.drop(name).with_columns(ids.alias(role))
    frame = frame.filter(~frame[ROW].is_in([row for row, _, _ in aside])).drop(ROW)
    if frame.height == 0:
        raise ValueError(f"The {what}s table has no row whose '{name}' is an id.")
    return frame, [*raw.notes, *notes]


def _check_kinds(kinds: Mapping[str, str], columns: list[str]) -> None:
    for name, kind in kinds.items():
        if name not in columns:
            raise ValueError(f"The items table has no column '{name}'. Its columns: {listed(columns)}.")
        if kind not in get_args(Kind):
            raise ValueError(f"There is no kind '{kind}' of column. Known kinds: {', '.join(get_args(Kind))}.")


def _id_column(names: list[str], what: str) -> str:
    """ValueError where no column looks like it."""
    plain = {"".join(c for c in name.lower() if c.isalnum()): name for name in reversed(names)}
    match = next((plain[s] for s in (*KNOWN_NAMES[f"{what}_id"], "id") if s in plain), None)
    if match is None:
        raise ValueError(
            f"No column of the {what}s table looks like {what}_id; rename the one that does. "
            f"Its columns: {listed(names)}."
        )
    return match
