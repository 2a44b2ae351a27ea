"""Synthetic logs with a known rule, to test sequence models, and logs of any size, to test speed.

Shape letters: B users, T events of each, N flat events, V catalog size with PAD.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from segue.data.sequences import Sequences

if TYPE_CHECKING:
    import polars as pl

    from segue.data.event_log import EventLog


def ring_sequences(rng: np.random.Generator, *, users: int, items: int, length: int, noise: float = 0.0) -> Sequences:
    """Generate users who go through a ring of items: item i is followed by i + 1, the last by the first.

    The best prediction of the next item is right with probability 1 - noise + noise / items.

    Args:
        rng: generator.
        users: number of users.
        items: number of items.
        length: events per user.
        noise: probability in [0, 1] of a random item instead, from which the ring continues.
    """
    _check_probability("noise", noise)
    jump_BT = rng.random((users, length)) < noise
    jump_BT[:, 0] = True
    landing_BT = rng.integers(0, items, (users, length))
    step_T = np.arange(length)
    # The step of the latest jump; since then the ring was followed.
    since_BT = np.maximum.accumulate(np.where(jump_BT, step_T, 0), axis=1)
    return _to_sequences((np.take_along_axis(landing_BT, since_BT, axis=1) + step_T - since_BT) % items + 1)


def switching_sequences(
    rng: np.random.Generator,
    *,
    users: int,
    categories: int,
    items_per_category: int,
    length: int,
    switch: float = 0.1,
) -> Sequences:
    """Generate users who draw items of one category, and change the category at random.

    Item i belongs to category (i - 1) // items_per_category. All items are equally popular. A model that follows a
    change of interest predicts the category with probability 1 - switch; a mean over the history reacts late.

    Args:
        rng: generator.
        users: number of users.
        categories: number of categories.
        items_per_category: number of items of each category.
        length: events per user.
        switch: probability in [0, 1] of another category before an event.
    """
    _check_probability("switch", switch)
    moves_BT = rng.random((users, length)) < switch
    shift_BT = np.where(moves_BT, rng.integers(1, max(2, categories), (users, length)), 0)
    shift_BT[:, 0] = rng.integers(0, categories, users)
    category_BT = np.cumsum(shift_BT, axis=1) % categories
    return _to_sequences(category_BT * items_per_category + rng.integers(0, items_per_category, (users, length)) + 1)


def shuffled_ring_sequences(rng: np.random.Generator, **options: int) -> Sequences:
    """Generate ``ring_sequences`` and shuffle each user's events: a control without order, of equal items.

    Args:
        rng: generator.
        options: options of ``ring_sequences``.
    """
    rows = ring_sequences(rng, **options)
    items_BT = rows.items.reshape(len(rows), -1)
    return _to_sequences(rng.permuted(items_BT, axis=1))


def zipf_events(
    rng: np.random.Generator,
    *,
    events: int,
    users: int,
    items: int,
    exponent: float = 1.0,
    events_per_s: float = 100.0,
    chunk: int = 1_000_000,
) -> "Iterator[pl.DataFrame]":
    """Generate a log of any size in chunks, in time order, with Zipf popularity and Poisson arrivals.

    Equal generators give equal logs with any chunk size (times are equal to 1 microsecond).

    Args:
        rng: generator.
        events: number of events.
        users: number of users, all equally active.
        items: number of items; the share of item i is proportional to 1 / i ** exponent.
        exponent: exponent of the Zipf law.
        events_per_s: rate of the Poisson process.
        chunk: events per chunk.

    Returns:
        Frames with ``user_id`` and ``item_id`` as text and ``timestamp`` in UTC microseconds.
    """
    import polars as pl

    weight_V = 1.0 / np.arange(1, items + 1) ** exponent
    edges_V = np.cumsum(weight_V) / weight_V.sum()
    edges_V[-1] = 1.0
    time_us = 1_700_000_000_000_000.0
    for start in range(0, events, chunk):
        # One row of three numbers per event, so that the events do not depend on the chunk size.
        draw_N3 = rng.random((min(chunk, events - start), 3))
        times_N = time_us + np.cumsum(-np.log1p(-draw_N3[:, 2])) * 1e6 / events_per_s
        time_us = times_N[-1]
        yield pl.DataFrame(
            {
                "user_id": pl.Series((draw_N3[:, 0] * users).astype(np.int64)).cast(pl.String),
                "item_id": pl.Series(np.searchsorted(edges_V, draw_N3[:, 1], side="right")).cast(pl.String),
                "timestamp": pl.Series(times_N.astype(np.int64)),
            }
        )


def to_event_log(sequences: Sequences, *, step_s: float = 60.0) -> "EventLog":
    """Return sequences as a log of users "0", "1", ... and items named by their index.

    Args:
        sequences: rows of catalog indices.
        step_s: seconds between a user's events; all users begin at the same time.
    """
    import polars as pl

    from segue.data.readers.events import read_events

    row_N, position_N = sequences.positions()
    step_N = position_N - sequences.starts[row_N]
    columns = {
        "user_id": pl.Series(row_N).cast(pl.String),
        "item_id": pl.Series(sequences.items[position_N]).cast(pl.String),
        "timestamp": pl.Series(1_700_000_000_000_000 + (step_N * step_s * 1e6).astype(np.int64)),
    }
    return read_events(pl.DataFrame(columns), time_unit="us")


def _to_sequences(items_BT: np.ndarray) -> Sequences:
    users, length = items_BT.shape
    return Sequences.from_offsets(items_BT.astype(np.int32).ravel(), np.arange(users + 1) * length)


def _check_probability(name: str, probability: float) -> None:
    if not 0 <= probability <= 1:
        raise ValueError(f"{name} must be a probability, 0 to 1, got {probability}.")
