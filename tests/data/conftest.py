"""Small logs for the tests of the data layer."""

from collections.abc import Sequence

import polars as pl
import pytest

from segue.data.event_log import EventLog
from segue.data.readers.events import read_events


@pytest.fixture
def make_log():
    """Function from rows (user, item, time in microseconds, session or nothing) to a log in that file order."""

    def make(rows: Sequence[tuple], *, session: bool = False) -> EventLog:
        names = ["user_id", "item_id", "timestamp", *(["session_id"] if session else [])]
        return read_events(
            pl.DataFrame([row[: len(names)] for row in rows], schema=names, orient="row"), time_unit="us"
        )

    return make


@pytest.fixture
def plain():
    """Function from cases to plain values: [(history ids, target id)]."""

    def to_plain(split, cases):
        names = ("?", *split.catalog.ids)
        histories = [[names[i] for i in row] for row in cases.histories]
        return [(history, names[target]) for history, target in zip(histories, cases.targets.tolist(), strict=True)]

    return to_plain


@pytest.fixture
def names():
    """Function from sequences to lists of ids."""

    def to_plain(split, rows):
        ids = ("?", *split.catalog.ids)
        return [[ids[i] for i in row] for row in rows]

    return to_plain
