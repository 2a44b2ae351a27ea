"""Tables of the event store with changed items and the rules of placements, each row with a checksum and a revision.

Every change gets the next revision. Other processes read the rows above the revision that they know. A transaction is
on disk before its change is acknowledged, and a backup of the event store holds these tables.
"""

import logging
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import apsw
import msgspec

from segue.serving.schemas.problems import Problem
from segue.serving.store.event_reader import EventReader
from segue.serving.store.sqlite import transaction

_log = logging.getLogger("segue.serving")
ITEMS, PLACEMENTS = "live_items", "placement_rules"
"""Names of the tables."""
MAX_OLD_RULES = 100
"""Number of earlier rules of a placement that are kept."""
_ITEM_COLUMNS = "item_id, revision, deleted, replaced, start_seq, start_us, cells, crc"
_RULE_COLUMNS = "revision, name, origin, settings, time_us, crc"
_TABLES = f"""CREATE TABLE IF NOT EXISTS {ITEMS} (item_id TEXT PRIMARY KEY, revision INTEGER NOT NULL,
    deleted INTEGER NOT NULL, replaced INTEGER NOT NULL, start_seq INTEGER NOT NULL, start_us INTEGER NOT NULL,
    cells TEXT NOT NULL, crc INTEGER NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS live_items_by_revision ON {ITEMS}(revision);
CREATE TABLE IF NOT EXISTS {PLACEMENTS} (revision INTEGER PRIMARY KEY, name TEXT NOT NULL, origin INTEGER NOT NULL,
    settings TEXT NOT NULL, time_us INTEGER NOT NULL, crc INTEGER NOT NULL) STRICT;"""
_PRESENT_RULES = f"""SELECT {_RULE_COLUMNS} FROM {PLACEMENTS}
    WHERE revision IN (SELECT max(revision) FROM {PLACEMENTS} GROUP BY name)"""
_encode = msgspec.json.Encoder(order="sorted").encode


@dataclass(frozen=True)
class LiveItem:
    """Changed, new or deleted item."""

    item_id: str
    revision: int
    deleted: bool
    """True: never recommended until it is put again."""
    replaced: bool
    """True: ``cells`` is the whole row; False: changes of the row in each model's items table."""
    start_seq: int
    """Number of the newest event when the item was put."""
    start_us: int
    """Time when the item was put, UTC microseconds."""
    cells: dict[str, Any]
    """Column -> value; None removes the value of a model's row."""

    def crc(self) -> int:
        """Return the CRC-32 of the row."""
        return zlib.crc32(_encode(self))


@dataclass(frozen=True)
class ItemEdit:
    """Requested change of an item."""

    item_id: str
    method: Literal["PUT", "PATCH", "DELETE"]
    cells: dict[str, Any]
    is_known: bool
    """The catalog of a deployed version holds the item."""


@dataclass(frozen=True)
class PlacementRules:
    """Settings of a placement that replace those of the models."""

    revision: int
    name: str
    origin: int
    """Revision whose settings these are: its own, or an earlier one after a rollback. 0: those of the models, before
    any change."""
    settings: dict[str, Any] | None
    """Plain values of ``PlacementConfig``; None: those of the models."""
    time_us: int
    """Time of the change, UTC microseconds."""

    def crc(self) -> int:
        """Return the CRC-32 of the row."""
        return zlib.crc32(_encode(self))


class CatalogTables:
    """Changes over the writing connection of an event store; called in the writer's thread."""

    def __init__(self, connection: apsw.Connection, force: Callable[[], None]) -> None:
        """Create the tables.

        Args:
            connection: writing connection of the event store.
            force: function that makes the next commit wait for the disk.
        """
        self._connection = connection
        self._force = force
        connection.execute(_TABLES).fetchall()

    def edit_items(self, edits: Sequence[ItemEdit], newest_seq: int, now_us: int) -> list[LiveItem | Problem]:
        """Change items in one transaction that is on disk on return.

        Args:
            edits: changes, in their order.
            newest_seq: number of the newest event.
            now_us: time of the changes, UTC microseconds.

        Returns:
            The new row of each item, or Problem 404 for an unknown item.

        Raises:
            apsw.Error: nothing could be stored.
        """
        self._force()
        results: list[LiveItem | Problem] = []
        with transaction(self._connection):
            revision = self._newest_revision()
            for edit in edits:
                current = self._item(edit.item_id)
                item = _edited(current, edit, LiveItem(edit.item_id, revision + 1, False, True, newest_seq, now_us, {}))
                if isinstance(item, LiveItem) and item is not current:
                    revision += 1
                    self._write(f"INSERT OR REPLACE INTO {ITEMS} VALUES (?, ?, ?, ?, ?, ?, ?, ?)", _item_row(item))
                results.append(item)
        return results

    def put_rules(self, name: str, settings: dict[str, Any] | None, now_us: int) -> PlacementRules:
        """Replace the settings of a placement in one transaction that is on disk on return.

        Args:
            name: the placement.
            settings: plain values of ``PlacementConfig``; None: those of the models.
            now_us: time of the change, UTC microseconds.
        """
        self._force()
        with transaction(self._connection):
            revision = self._newest_revision() + 1
            return self._write_rules(PlacementRules(revision, name, revision, settings, now_us))

    def earlier_rules(self, name: str) -> PlacementRules | None:
        """Return the rules that a rollback of a placement makes present again; None where there are no earlier ones."""
        rows = self._rows(f"SELECT {_RULE_COLUMNS} FROM {PLACEMENTS} WHERE name = ? ORDER BY revision DESC", (name,))
        rules = [rule for rule in map(_rules, rows) if rule is not None]
        if not rules:
            return None
        earlier = next((rule for rule in rules if rule.revision < rules[0].origin), None)
        return earlier or (PlacementRules(0, name, 0, None, 0) if rules[0].origin else None)

    def restore_rules(self, earlier: PlacementRules, now_us: int) -> PlacementRules:
        """Make earlier rules of a placement the present ones, on disk on return.

        Args:
            earlier: result of ``earlier_rules``.
            now_us: time of the change, UTC microseconds.
        """
        self._force()
        with transaction(self._connection):
            revision = self._newest_revision() + 1
            return self._write_rules(replace(earlier, revision=revision, time_us=now_us))

    def _write_rules(self, rules: PlacementRules) -> PlacementRules:
        row = (rules.revision, rules.name, rules.origin, _encode(rules.settings).decode(), rules.time_us, rules.crc())
        self._write(f"INSERT INTO {PLACEMENTS} VALUES (?, ?, ?, ?, ?, ?)", row)
        self._write(
            f"DELETE FROM {PLACEMENTS} WHERE name = ? AND revision NOT IN "
            f"(SELECT revision FROM {PLACEMENTS} WHERE name = ? ORDER BY revision DESC LIMIT ?)",
            (rules.name, rules.name, MAX_OLD_RULES),
        )
        return rules

    def _newest_revision(self) -> int:
        query = f"SELECT max(coalesce((SELECT max(revision) FROM {ITEMS}), 0), " + (
            f"coalesce((SELECT max(revision) FROM {PLACEMENTS}), 0))"
        )
        revision: int = self._rows(query)[0][0]
        return revision

    def _item(self, item_id: str) -> LiveItem | None:
        rows = self._rows(f"SELECT {_ITEM_COLUMNS} FROM {ITEMS} WHERE item_id = ?", (item_id,))
        return _item(rows[0]) if rows else None

    def _write(self, statement: str, values: tuple[Any, ...]) -> None:
        self._connection.execute(statement, values).fetchall()

    def _rows(self, query: str, values: tuple[Any, ...] = ()) -> list[Any]:
        return self._connection.execute(query, values).fetchall()


def read_items(reader: EventReader, after_revision: int = 0) -> list[LiveItem]:
    """Return the rows of changed items above a revision, in order of revision.

    A row with a wrong checksum is a deleted item: to hide one too many breaks no rule.

    Args:
        reader: reader of the event store.
        after_revision: only rows with a larger revision.
    """
    query = f"SELECT {_ITEM_COLUMNS} FROM {ITEMS} WHERE revision > ? ORDER BY revision"
    return [_item(row) for row in reader.rows(query, (after_revision,))]


def read_item(reader: EventReader, item_id: str) -> LiveItem | None:
    """Return the row of a changed item; None for an item that was never changed.

    Args:
        reader: reader of the event store.
        item_id: the item.
    """
    rows = reader.rows(f"SELECT {_ITEM_COLUMNS} FROM {ITEMS} WHERE item_id = ?", (item_id,))
    return _item(rows[0]) if rows else None


def read_rules(reader: EventReader) -> list[PlacementRules]:
    """Return the present rules of each changed placement; those with a wrong checksum raise ValueError."""
    return [_sound_rules(row) for row in reader.rows(_PRESENT_RULES)]


def _edited(current: LiveItem | None, edit: ItemEdit, new: LiveItem) -> LiveItem | Problem:
    """Return the row of an item after a change; Problem 404 for an unknown one."""
    is_present = current is not None and not current.deleted
    if edit.method == "PUT":
        start = current if current is not None and not current.deleted else new
        cells = {name: cell for name, cell in edit.cells.items() if cell is not None}
        return replace(new, start_seq=start.start_seq, start_us=start.start_us, cells=cells)
    if (current is None and not edit.is_known) or (edit.method == "PATCH" and current is not None and not is_present):
        return unknown_item(edit.item_id, deleted=current is not None)
    if edit.method == "DELETE":
        if current is None:
            return replace(new, deleted=True, replaced=False)
        return current if current.deleted else replace(current, revision=new.revision, deleted=True)
    if current is None:
        return replace(new, replaced=False, cells=edit.cells)
    cells = {**current.cells, **edit.cells}
    if current.replaced:
        cells = {name: cell for name, cell in cells.items() if cell is not None}
    return replace(current, revision=new.revision, cells=cells)


def unknown_item(item_id: str, *, deleted: bool) -> Problem:
    """Return the refusal of a request for an item that no catalog holds.

    Args:
        item_id: the item.
        deleted: whether it was deleted.
    """
    if deleted:
        return Problem(404, f"The item '{item_id}' was deleted: PUT it to have it recommended again.")
    return Problem(404, f"The catalog does not know the item '{item_id}'.")


def _item_row(item: LiveItem) -> tuple[Any, ...]:
    start = item.start_seq, item.start_us
    cells = _encode(item.cells).decode()
    return item.item_id, item.revision, int(item.deleted), int(item.replaced), *start, cells, item.crc()


def _item(row: tuple[Any, ...]) -> LiveItem:
    item_id, revision, deleted, replaced, start_seq, start_us, cells, crc = row
    try:
        decoded = msgspec.json.decode(cells)
        item = LiveItem(item_id, revision, bool(deleted), bool(replaced), start_seq, start_us, decoded)
        if item.crc() == crc:
            return item
    except (msgspec.MsgspecError, TypeError):
        pass
    _log.error("The row of a changed item is damaged: the item is hidden until it is put again.")
    return LiveItem(item_id, revision, True, False, start_seq, start_us, {})


def _rules(row: tuple[Any, ...]) -> PlacementRules | None:
    revision, name, origin, settings, time_us, crc = row
    try:
        rules = PlacementRules(revision, name, origin, msgspec.json.decode(settings), time_us)
        return rules if rules.crc() == crc else None
    except msgspec.MsgspecError:
        return None


def _sound_rules(row: tuple[Any, ...]) -> PlacementRules:
    rules = _rules(row)
    if rules is None:
        raise ValueError(f"The rules of placement '{row[1]}' are damaged: restore the event store from a backup.")
    return rules
