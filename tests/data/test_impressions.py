"""Click examples from impressions, by hand and against a naive version."""

import numpy as np
import polars as pl
import pytest

from segue.data.catalog import Catalog
from segue.data.event_log import EventLog
from segue.data.impressions import click_examples_from_impressions
from segue.data.readers.events import read_events

MINUTE = 60_000_000


def log_of(rows: list[tuple[str, str, int, str]]) -> EventLog:
    columns = ["user_id", "item_id", "timestamp", "event"]
    frame = pl.DataFrame(rows, schema=columns, orient="row").with_columns(pl.col("timestamp") * MINUTE)
    return read_events(frame, time_unit="us")


def test_an_impression_is_clicked_within_the_window() -> None:
    log = log_of(
        [
            ("ann", "a", 1, "click"),
            ("ann", "b", 10, "view"),  # clicked 5 minutes later
            ("ann", "c", 10, "view"),  # never clicked
            ("ann", "b", 15, "click"),
            ("ann", "a", 20, "view"),  # clicked before only
            ("ann", "a", 15, "view"),  # clicked 31 minutes later
            ("ann", "a", 46, "click"),
            ("bob", "b", 15, "view"),  # ann took it, bob did not
            ("bob", "x", 16, "view"),  # not in the catalog
        ]
    )
    cases = click_examples_from_impressions(log, Catalog(["a", "b", "c"]))
    rows = [
        (int(group), int(time) // MINUTE, int(item), bool(label), history)
        for group, time, item, label, history in zip(
            cases.groups_B,
            cases.times_B,
            cases.candidates_BC[:, 0],
            cases.labels_BC[:, 0],
            cases.histories.to_lists(),
            strict=True,
        )
    ]
    assert rows == [
        (0, 10, 2, True, [1]),
        (0, 10, 3, False, [1]),
        (0, 15, 1, False, [1]),
        (0, 20, 1, True, [1, 2]),
        (1, 15, 2, False, []),
    ]
    assert [len(cases), len(cases.take([0, 1]))] == [5, 2]
    assert cases.is_candidate.all()


def test_equals_a_naive_version() -> None:
    rng = np.random.default_rng(0)
    rows = [
        (f"u{rng.integers(5)}", f"i{rng.integers(6)}", int(rng.integers(200)), ["view", "click"][rng.integers(2)])
        for _ in range(400)
    ]
    log = log_of(rows)
    catalog = log.catalog()
    cases = click_examples_from_impressions(log, catalog, window_s=600)
    views = sorted(((u, t, i) for u, i, t, e in rows if e == "view"), key=lambda row: row[:2])
    users = sorted({u for u, _, _ in views})
    result = sorted(
        (users[g], int(m) // MINUTE, catalog.ids[c - 1], bool(y), tuple(catalog.to_ids(h)))
        for g, m, c, y, h in zip(
            cases.groups_B,
            cases.times_B,
            cases.candidates_BC[:, 0],
            cases.labels_BC[:, 0],
            cases.histories,
            strict=True,
        )
    )
    naive = []
    for user, time, item in views:
        clicks = [(t, i) for u, i, t, e in rows if u == user and e == "click"]
        label = any(i == item and time <= t <= time + 10 for t, i in clicks)
        earlier = sorted((row for row in clicks if row[0] < time), key=lambda row: row[0])
        naive.append((user, time, item, label, tuple(i for _, i in earlier)))
    assert result == sorted(naive)


def test_invalid_logs_are_refused() -> None:
    catalog = Catalog(["a"])
    with pytest.raises(ValueError) as error:
        click_examples_from_impressions(log_of([("u", "a", 1, "click")]), catalog)
    assert str(error.value) == "This log has no event 'view'. It has: 'click'."
    plain = read_events(pl.DataFrame({"user": ["u"], "item": ["a"], "timestamp": [1_500_000_000]}))
    with pytest.raises(ValueError) as error:
        click_examples_from_impressions(plain, catalog)
    assert str(error.value) == "This log has no column 'event' to separate 'view' from 'click'."
    ordered = read_events(pl.DataFrame({"user": ["u"], "item": ["a"]}))
    with pytest.raises(ValueError) as error:
        click_examples_from_impressions(ordered, catalog)
    assert str(error.value) == (
        "This log has an order but no times, so the state of an item at an impression is unknown."
    )
