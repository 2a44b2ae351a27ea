"""Tables of changed items and placement rules: merges, revisions, rollbacks, damage, a disk that refuses."""

import apsw
import pytest

from segue.serving.schemas.problems import Problem
from segue.serving.store.catalog_tables import MAX_OLD_RULES, ItemEdit, read_item, read_items, read_rules
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
