"""Leave-last-n-out against a naive version, user by user."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segue.data.readers.events import read_events
from segue.data.splits.split import split_log

ROWS = st.lists(
    st.tuples(st.sampled_from("uvwxyz"), st.sampled_from("abcdefgh"), st.integers(0, 5)), min_size=1, max_size=50
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ROWS, st.integers(1, 3))
def test_equals_the_split_written_user_by_user(make_log, plain, names, rows, n):
    items_of_user = {}
    for user, item, _ in sorted(rows, key=lambda r: (r[0], r[2])):
        items_of_user.setdefault(user, []).append(item)
    if max(len(items) for items in items_of_user.values()) < 2 * n + 1:
        with pytest.raises(ValueError, match=f"No user of this log has {2 * n + 1} events"):
            split_log(make_log(rows), "leave-last-n-out", n=n)
        return
    split = split_log(make_log(rows), "leave_last_n_out", n=n)
    held_out = [items for items in items_of_user.values() if len(items) > 2 * n]
    assert plain(split, split.test) == [(items[:-n], items[-n]) for items in held_out]
    assert names(split, split.test.futures) == [items[-n:] for items in held_out]
    assert plain(split, split.validation) == [(items[: -2 * n], items[-2 * n]) for items in held_out]
    assert names(split, split.validation.futures) == [items[-2 * n : -n] for items in held_out]
    assert names(split, split.train) == [i[: -2 * n] if len(i) > 2 * n else i for i in items_of_user.values()]
    assert names(split, split.refit) == [i[:-n] if len(i) > 2 * n else i for i in items_of_user.values()]
    assert [list(items_of_user)[g] for g in split.test.groups] == [
        u for u, items in items_of_user.items() if len(items) > 2 * n
    ]
    some = split.test.take(slice(0, 1))
    assert names(split, some.futures) == [held_out[0][-n:]]


def test_n_one_is_leave_last_out(make_log, plain):
    log = make_log([("ann", item, t) for t, item in enumerate("abcde")] + [("bob", "a", 1), ("bob", "b", 2)])
    split, other = split_log(log, "leave-last-n-out", n=1), split_log(log, "leave-last-out")
    assert plain(split, split.test) == plain(other, other.test)
    assert plain(split, split.validation) == plain(other, other.validation)
    assert split.train.to_lists() == other.train.to_lists()
    assert split.fingerprint != other.fingerprint


def test_a_file_without_times(tmp_path, plain, names):
    path = tmp_path / "sequences.txt"
    path.write_text("ann a b c d e\nbob f g\n")
    split = split_log(read_events(path, format="sequences"), "leave-last-n-out", n=2)
    assert plain(split, split.test) == [(["a", "b", "c"], "d")]
    assert names(split, split.test.futures) == [["d", "e"]]
    assert split.exclude_seen
    assert split.picture.splitlines()[1] == "= train 3 | v validation 2 | T test 2"
    assert split.protocol == (
        "leave-last-n-out: each user's last 2 events are the test, the 2 before the validation (users with 5 or more), "
        "the whole log is the catalog; seen items excluded"
    )


def test_later_targets_are_in_the_fingerprint(make_log):
    """Two logs that differ in the last event alone, which is no target of a case."""
    rows = [("ann", item, t) for t, item in enumerate("abcdab")] + [("bob", "c", 1)]
    changed = [*rows[:5], ("ann", "d", 5), rows[-1]]
    split, other = (split_log(make_log(r), "leave-last-n-out", n=2) for r in (rows, changed))
    assert (split.test.targets == other.test.targets).all()
    assert split.fingerprint != other.fingerprint


def test_messages(make_log):
    log = make_log([("ann", "a", 1), ("ann", "b", 2)])
    with pytest.raises(ValueError) as caught:
        split_log(log, "leave-last-n-out")
    assert str(caught.value) == (
        "No user of this log has 21 events, which leave-last-n-out with n = 10 needs: use a smaller n."
    )
    with pytest.raises(ValueError, match=r"^n must be at least 1, got 0\.$"):
        split_log(log, "leave-last-n-out", n=0)
