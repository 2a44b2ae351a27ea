"""Leave-last-out against a naive version, user by user."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segue.data.readers.events import read_events
from segue.data.splits.split import split_log

ROWS = st.lists(
    st.tuples(st.sampled_from("uvwxyz"), st.sampled_from("abcdefgh"), st.integers(0, 5)), min_size=1, max_size=40
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ROWS)
def test_equals_the_split_written_user_by_user(make_log, plain, names, rows):
    items_of_user = {}
    for user, item, _ in sorted(rows, key=lambda r: (r[0], r[2])):
        items_of_user.setdefault(user, []).append(item)
    if max(len(items) for items in items_of_user.values()) < 3:
        with pytest.raises(ValueError, match="No user of this log has three events"):
            split_log(make_log(rows), "leave-last-out")
        return
    split = split_log(make_log(rows), "leave_last_out")
    held_out = [items for items in items_of_user.values() if len(items) >= 3]
    assert plain(split, split.test) == [(items[:-1], items[-1]) for items in held_out]
    assert plain(split, split.validation) == [(items[:-2], items[-2]) for items in held_out]
    assert names(split, split.train) == [items[:-2] if len(items) >= 3 else items for items in items_of_user.values()]
    assert names(split, split.refit) == [items[:-1] if len(items) >= 3 else items for items in items_of_user.values()]
    assert [list(items_of_user)[g] for g in split.test.groups] == [
        u for u, items in items_of_user.items() if len(items) >= 3
    ]
    assert split.catalog.ids == tuple(sorted({item for _, item, _ in rows}))


def test_a_file_without_times(tmp_path, plain):
    path = tmp_path / "sequences.txt"
    path.write_text("ann a b c d\nbob e f\n")
    split = split_log(read_events(path, format="sequences"), "leave-last-out")
    assert plain(split, split.test) == [(["a", "b", "c"], "d")]
    assert split.test.times is None
    assert split.exclude_seen
    assert split.picture.splitlines()[1] == "= train 4 | v validation 1 | T test 1"
    assert split.protocol == (
        "leave-last-out: each user's last event is the test, the one before the validation (users with three or more), "
        "the whole log is the catalog; seen items excluded"
    )


def test_message(make_log):
    with pytest.raises(ValueError) as caught:
        split_log(make_log([("ann", "a", 1), ("ann", "b", 2)]), "leave-last-out")
    assert str(caught.value) == (
        "No user of this log has three events, which leave-last-out needs: use another protocol."
    )
