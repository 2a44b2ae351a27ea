"""Logs with a known rule: what a sequence model must learn, what it must not see, and as many events as wanted.

Shape letters: B people, T events of each, V catalog size with PAD.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from segue.data.sequences import Sequences

if TYPE_CHECKING:
    import polars as pl

    from segue.data.event_log import EventLog


def ring_sequences(rng: np.random.Generator, *, people: int, items: int, length: int, noise: float = 0.0) -> Sequences:
    """After item i comes i + 1, after the last the first; with probability ``noise`` any item instead, from where the
    ring goes on. The best next guess is right with probability 1 - noise + noise / items."""
    _check("noise", noise)
    jump_BT = rng.random((people, length)) < noise
    jump_BT[:, 0] = True
    landing_BT = rng.integers(0, items, (people, length))
    step_T = np.arange(length)
    # The place of the latest jump; from there the ring was followed.
    since_BT = np.maximum.accumulate(np.where(jump_BT, step_T, 0), axis=1)
    return _rows((np.take_along_axis(landing_BT, since_BT, axis=1) + step_T - since_BT) % items + 1)


def switching_sequences(
    rng: np.random.Generator, *, people: int, categories: int, items_each: int, length: int, switch: float = 0.1
) -> Sequences:
    """People draw items of one category, and with probability ``switch`` move to another one before an event.

    Item i belongs to category (i - 1) // items_each. Popularity knows nothing here; a model that follows a shift of
    interest is right about the category with probability 1 - switch, one that averages over the past is late.
    """
    _check("switch", switch)
    moves_BT = rng.random((people, length)) < switch
    shift_BT = np.where(moves_BT, rng.integers(1, max(2, categories), (people, length)), 0)
    shift_BT[:, 0] = rng.integers(0, categories, people)
    category_BT = np.cumsum(shift_BT, axis=1) % categories
    return _rows(category_BT * items_each + rng.integers(0, items_each, (people, length)) + 1)


def shuffled_ring_sequences(rng: np.random.Generator, **options: int) -> Sequences:
    """The items of ``ring`` in an order that means nothing: what a sequence model must not gain from."""
    rows = ring_sequences(rng, **options)
    matrix = rows.items.reshape(len(rows), -1)
    return _rows(rng.permuted(matrix, axis=1))


def zipf_events(
    rng: np.random.Generator,
    *,
    events: int,
    people: int,
    items: int,
    exponent: float = 1.0,
    per_second: float = 100.0,
    chunk: int = 1_000_000,
) -> "Iterator[pl.DataFrame]":
    """A log of any size in pieces, in the order of time: the i-th item has a share proportional to
    1 / i ** exponent, people are alike, and events arrive at random at the given rate (a Poisson process).

    Columns user_id, item_id (text) and timestamp (UTC microseconds); equal generators give equal logs, however large
    the pieces.
    """
    import polars as pl

    weight_V = 1.0 / np.arange(1, items + 1) ** exponent
    edges_V = np.cumsum(weight_V) / weight_V.sum()
    edges_V[-1] = 1.0
    moment = 1_700_000_000_000_000.0
    for start in range(0, events, chunk):
        # One row of three numbers an event, so that the pieces do not depend on their size.
        draw_N3 = rng.random((min(chunk, events - start), 3))
        times_N = moment + np.cumsum(-np.log1p(-draw_N3[:, 2])) * 1e6 / per_second
        moment = times_N[-1]
        yield pl.DataFrame(
            {
                "user_id": pl.Series((draw_N3[:, 0] * people).astype(np.int64)).cast(pl.String),
                "item_id": pl.Series(np.searchsorted(edges_V, draw_N3[:, 1], side="right")).cast(pl.String),
                "timestamp": pl.Series(times_N.astype(np.int64)),
            }
        )


def to_event_log(sequences: Sequences, *, step_s: float = 60.0) -> "EventLog":
    """The rows as a log of people "0", "1", ... and items by their index: event t of everybody at t * ``step_s``."""
    import polars as pl

    from segue.data.readers.events import read_events

    row_N, where_N = sequences.positions()
    step_N = where_N - sequences.starts[row_N]
    columns = {
        "user_id": pl.Series(row_N).cast(pl.String),
        "item_id": pl.Series(sequences.items[where_N]).cast(pl.String),
        "timestamp": pl.Series(1_700_000_000_000_000 + (step_N * step_s * 1e6).astype(np.int64)),
    }
    return read_events(pl.DataFrame(columns), time_unit="us")


def _rows(items_BT: np.ndarray) -> Sequences:
    people, length = items_BT.shape
    return Sequences.from_offsets(items_BT.astype(np.int32).ravel(), np.arange(people + 1) * length)


def _check(name: str, probability: float) -> None:
    if not 0 <= probability <= 1:
        raise ValueError(f"{name} must be a probability, 0 to 1, got {probability}.")
