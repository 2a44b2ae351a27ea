"""Tables of changed items and placement rules: merges, revisions, rollbacks, damage, a disk that refuses."""

import logging

import apsw
import pytest

from segue.serving.schemas.problems import Problem
from segue.serving.store import catalog_tables
from segue.serving.store.catalog_tables import (
    MAX_OLD_RULES,
    ItemEdit,
    PlacementRules,
    read_item,
    read_items,
    read_rules,
)
from segue.serving.store.event_store import EventStore


def edit(store, item_id, method, cells=None, *, is_known=True, seq=5):
    (result,) = store.catalog.edit_items([ItemEdit(item_id, method, cells or {}, is_known)], seq, 1_000)
    return result


def test_put_replaces_patch_merges_delete_hides_and_put_begins_anew(store):
    first = edit(store, "新", "PATCH", {"price": 3, "brand": None})
    assert (first.revision, first.replaced, first.cells) == (1, False, {"price": 3, "brand": None})
    assert edit(store, "新", "PATCH", {"stock": True}).cells == {"price": 3, "brand": None, "stock": True}
    whole = edit(store, "新", "PUT", {"price": 4, "brand": None}, seq=9)
    assert (whole.replaced, whole.cells, whole.start_seq) == (True, {"price": 4}, 5)
    assert edit(store, "新", "PATCH", {"price": None, "title": "t"}).cells == {"title": "t"}
    gone = edit(store, "新", "DELETE")
    assert (gone.deleted, gone.cells) == (True, {"title": "t"})
    assert edit(store, "新", "DELETE") == gone
    again = edit(store, "新", "PUT", {"price": 5}, seq=12)
    assert (again.deleted, again.start_seq, again.revision) == (False, 12, 6)
    assert read_items(store) == [read_item(store, "新")] == [again]
    assert read_items(store, again.revision) == []


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
def test_an_unknown_item_is_refused_and_the_others_are_stored(store, method):
    edits = [
        ItemEdit("a", "PUT", {"price": 1}, True),
        ItemEdit("zz", method, {}, False),
        ItemEdit("b", "PUT", {}, True),
    ]
    one, refused, two = store.catalog.edit_items(edits, 5, 1_000)
    assert isinstance(refused, Problem)
    assert refused.status == 404
    assert [one.revision, two.revision] == [1, 2]
    assert [item.item_id for item in read_items(store)] == ["a", "b"]


def test_rules_are_rolled_back_one_change_at_a_time(store):
    def present():
        (rules,) = read_rules(store)
        return rules.settings

    assert store.catalog.earlier_rules("home") is None
    for number in range(3):
        store.catalog.put_rules("home", {"number": number}, 1)
    store.catalog.put_rules("home", None, 1)
    seen = []
    while (earlier := store.catalog.earlier_rules("home")) is not None:
        store.catalog.restore_rules(earlier, 2)
        seen.append(present())
    assert seen == [{"number": 2}, {"number": 1}, {"number": 0}, None]
    store.catalog.put_rules("home", {"number": 9}, 3)
    earlier = store.catalog.earlier_rules("home")
    assert earlier is not None
    assert earlier.settings is None
    revisions = store.rows("SELECT revision FROM placement_rules ORDER BY revision")
    assert [revision for (revision,) in revisions] == list(range(1, 10))


def test_old_rules_are_dropped_and_revisions_go_on(store):
    for number in range(MAX_OLD_RULES + 10):
        store.catalog.put_rules("home", {"number": number}, 1)
    assert store.rows("SELECT count(*) FROM placement_rules")[0][0] == MAX_OLD_RULES
    assert edit(store, "a", "PUT").revision == MAX_OLD_RULES + 11


def test_a_damaged_item_is_hidden_and_damaged_rules_stop_the_server(tmp_path):
    store = EventStore(tmp_path / "events.sqlite")
    edit(store, "a", "PATCH", {"price": 1})
    edit(store, "b", "PATCH", {"price": 1})
    store.catalog.put_rules("home", {"number": 1}, 1)
    store.close()
    connection = apsw.Connection(str(tmp_path / "events.sqlite"))
    connection.execute("UPDATE live_items SET cells = '{\"price\":7}' WHERE item_id = 'a'").fetchall()
    connection.execute("UPDATE placement_rules SET settings = '{\"number\":2}'").fetchall()
    connection.close()
    store = EventStore(tmp_path / "events.sqlite")
    assert {item.item_id: item.deleted for item in read_items(store)} == {"a": True, "b": False}
    assert edit(store, "a", "PUT", {"price": 2}).deleted is False
    with pytest.raises(ValueError, match="The rules of placement 'home' are damaged"):
        read_rules(store)
    store.catalog.put_rules("home", None, 1)
    assert [rules.settings for rules in read_rules(store)] == [None]
    store.close()


def test_a_full_disk_stores_nothing_of_a_group(store):
    edit(store, "a", "PUT", {"price": 1})
    pages = store._write.execute("PRAGMA page_count").get
    store._write.execute(f"PRAGMA max_page_count = {pages}").fetchall()
    large = [ItemEdit(f"n{number}", "PUT", {"title": "x" * 4000}, True) for number in range(50)]
    with pytest.raises(apsw.FullError):
        store.catalog.edit_items([ItemEdit("a", "PUT", {"price": 2}, True), *large], 5, 1_000)
    assert [(item.item_id, item.cells) for item in read_items(store)] == [("a", {"price": 1})]


def test_the_tables_outlive_a_repair(tmp_path):
    store = EventStore(tmp_path / "events.sqlite")
    edit(store, "a", "PATCH", {"price": 1})
    store.catalog.put_rules("home", {"number": 1}, 1)
    store.repair()
    assert [item.item_id for item in read_items(store)] == ["a"]
    assert [rules.name for rules in read_rules(store)] == ["home"]
    store.close()


def test_a_damaged_item_is_reported(store, caplog, monkeypatch):
    monkeypatch.setattr(catalog_tables, "_log", logging.getLogger("a test of the tables"))
    edit(store, "a", "PUT", {"price": 1})
    with caplog.at_level("ERROR", "a test of the tables"):
        read_items(store)
        store._write.execute("UPDATE live_items SET cells = '{}'").fetchall()
        read_items(store)
    assert [record.message for record in caplog.records] == [
        "The row of a changed item is damaged: the item is hidden until it is put again."
    ]


def test_rows_that_cannot_be_decoded_are_damaged(store):
    edit(store, "a", "PUT", {"price": 1}, seq=7)
    store.catalog.put_rules("home", {"number": 1}, 1)
    store.catalog.put_rules("home", {"number": 2}, 1)
    write = store._write.execute
    for cells in ("{", "null", "[]", '{"price":1'):
        write("UPDATE live_items SET cells = ?", (cells,)).fetchall()
        (item,) = read_items(store)
        assert (item.item_id, item.revision, item.deleted, item.replaced, item.cells) == ("a", 1, True, False, {})
        assert (item.start_seq, item.start_us) == (7, 1_000)
    for settings in ("{", "null"):
        write("UPDATE placement_rules SET settings = ? WHERE revision = 3", (settings,)).fetchall()
        with pytest.raises(ValueError) as error:
            read_rules(store)
        assert str(error.value) == ("The rules of placement 'home' are damaged: restore the event store from a backup.")
        assert store.catalog.earlier_rules("home") == PlacementRules(0, "home", 0, None, 0), "of the sound rows"


@pytest.mark.parametrize(
    ("column", "value"),
    [("item_id", "b"), ("revision", 9), ("deleted", 1), ("replaced", 0), ("start_seq", 6), ("start_us", 5)],
)
def test_every_column_of_an_item_is_in_its_checksum(store, column, value):
    edit(store, "a", "PUT", {"price": 1})
    store._write.execute(f"UPDATE live_items SET {column} = ?", (value,)).fetchall()
    (item,) = read_items(store)
    assert (item.deleted, item.replaced, item.cells) == (True, False, {})


@pytest.mark.parametrize(("column", "value"), [("revision", 9), ("name", "cart"), ("origin", 0), ("time_us", 5)])
def test_every_column_of_rules_is_in_their_checksum(store, column, value):
    store.catalog.put_rules("home", None, 1)
    store._write.execute(f"UPDATE placement_rules SET {column} = ?", (value,)).fetchall()
    with pytest.raises(ValueError, match="are damaged"):
        read_rules(store)


def test_the_sentences_about_unknown_items(store):
    for method in ("PATCH", "DELETE"):
        assert edit(store, "zz", method, is_known=False).detail == "The catalog does not know the item 'zz'."
    edit(store, "a", "DELETE")
    assert edit(store, "a", "PATCH", {"price": 1}).detail == (
        "The item 'a' was deleted: PUT it to have it recommended again."
    )
    assert edit(store, "zz", "PUT", is_known=False).cells == {}, "a new item"


def test_a_deleted_item_keeps_its_row_and_gets_a_new_start(store):
    gone = edit(store, "a", "DELETE", seq=5)
    assert (gone.deleted, gone.replaced, gone.cells, gone.start_seq, gone.start_us) == (True, False, {}, 5, 1_000)
    edit(store, "b", "PATCH", {"price": None, "title": "t"})
    merged = edit(store, "b", "PATCH", {"price": 2, "title": None})
    assert merged.cells == {"price": 2, "title": None}, "None removes the value of the model's row"
    assert (merged.revision, merged.start_seq) == (3, 5)
    assert edit(store, "b", "DELETE", seq=9).start_seq == 5
    assert edit(store, "b", "PUT", {"price": 3}, seq=9).start_seq == 9


def test_items_are_read_in_the_order_of_their_changes(store):
    for item in "cab":
        edit(store, item, "PUT", {"price": 1})
    edit(store, "c", "PATCH", {"price": 2})
    assert [(item.item_id, item.revision) for item in read_items(store)] == [("a", 2), ("b", 3), ("c", 4)]
    assert [item.item_id for item in read_items(store, 3)] == ["c"]
    assert read_item(store, "zz") is None


def test_placements_are_apart(store):
    for number in range(MAX_OLD_RULES + 1):
        store.catalog.put_rules("cart", {"number": number}, 1)
    rules = store.catalog.put_rules("home", {"number": 0}, 5)
    assert (rules.revision, rules.origin, rules.time_us) == (MAX_OLD_RULES + 2, MAX_OLD_RULES + 2, 5)
    assert sorted(rules.name for rules in read_rules(store)) == ["cart", "home"]
    earlier = store.catalog.earlier_rules("cart")
    restored = store.catalog.restore_rules(earlier, 9)
    assert (restored.settings, restored.origin) == ({"number": MAX_OLD_RULES - 1}, MAX_OLD_RULES)
    assert (restored.revision, restored.time_us) == (MAX_OLD_RULES + 3, 9)
    assert store.catalog.earlier_rules("home") == PlacementRules(0, "home", 0, None, 0)


@pytest.mark.parametrize("change", ["items", "rules", "restore"])
def test_every_change_is_forced_to_disk(store, event, change):
    """Also behind events whose commits did not wait for the disk."""
    store.catalog.put_rules("home", {"number": 1}, 1)
    store.append([[event()]], force=False)
    assert store._write.execute("PRAGMA synchronous").get == 1
    if change == "items":
        edit(store, "a", "PUT")
    elif change == "rules":
        store.catalog.put_rules("home", {"number": 2}, 1)
    else:
        store.catalog.restore_rules(store.catalog.earlier_rules("home"), 2)
    assert store._write.execute("PRAGMA synchronous").get == 2
