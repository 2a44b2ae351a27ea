"""Building blocks of splits: cutoff times, events before a cutoff, the catalog, the timeline and the fingerprint.

Shape letters: B rows, N flat events, V catalog size with PAD.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from segue.data.catalog import PAD, Catalog
from segue.data.evaluation_cases import Split
from segue.data.sequences import Sequences

if TYPE_CHECKING:
    from segue.data.item_table import ItemTable


class Cutoffs(NamedTuple):
    """Begin of the validation and of the test part, UTC microseconds."""

    validation_us: int
    test_us: int


def cutoff_times(times_N: np.ndarray, test: float, validation: float) -> Cutoffs:
    """Return the times at which validation and test begin.

    The last ``test`` of the times lie at or after the test cutoff; the last ``validation`` of those before it lie at or
    after the validation cutoff. Equal times stay on one side, so that the shares are not exact.

    Args:
        times_N: int64, UTC microseconds, in any order.
        test: share of the times, in (0, 1).
        validation: share of the times before the test cutoff, in (0, 1).

    Raises:
        ValueError: a share is outside (0, 1), or no time is left before a cutoff.
    """
    for name, share in (("test", test), ("validation", validation)):
        check_share(name, share)
    test_us = int(np.quantile(times_N, 1 - test, method="higher"))
    before_N = times_N[times_N < test_us]
    if len(before_N):
        validation_us = int(np.quantile(before_N, 1 - validation, method="higher"))
        if validation_us > before_N.min():
            return Cutoffs(validation_us, test_us)
    raise ValueError(
        f"No event is left to train on: this log has only {len(np.unique(times_N))} different times to cut at "
        f"(test {test}, validation {validation}). Use leave-last-out."
    )


def check_share(name: str, value: float) -> None:
    """Check that an option is a share.

    Args:
        name: name of the option, for the message.
        value: its value.

    Raises:
        ValueError: the value is outside (0, 1).
    """
    if not 0 < value < 1:
        raise ValueError(f"{name} must be a share between 0 and 1, got {value}.")


def check_choice(name: str, value: str, choices: Iterable[str]) -> None:
    """Check that an option has one of its possible values.

    Args:
        name: name of the option, for the message.
        value: its value.
        choices: possible values.

    Raises:
        ValueError: the value is none of the choices.
    """
    choices = tuple(choices)
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got '{value}'.")


def events_before(sequences: Sequences, cutoff_us: int) -> Sequences:
    """Return each row's events before a time. No event is copied.

    Args:
        sequences: rows with times.
        cutoff_us: UTC microseconds.
    """
    assert sequences.times is not None
    row_N, position_N = sequences.positions()
    early_N = sequences.times[position_N] < cutoff_us
    return sequences.prefixes(np.bincount(row_N[early_N], minlength=len(sequences)))


def item_mask(sequences: Sequences, size: int) -> np.ndarray:
    """Return the bool [V] mask of the items that occur; False for PAD.

    Args:
        sequences: rows of catalog indices.
        size: V.
    """
    present_V = np.zeros(size, dtype=bool)
    present_V[sequences.items[sequences.positions()[1]]] = True
    present_V[PAD] = False
    return present_V


def known_item_mask(sequences: Sequences, catalog: Catalog, item_table: "ItemTable | None") -> np.ndarray:
    """Return the bool [V] mask of the items that can be targets: those that occur, and those of the item table.

    Args:
        sequences: rows of catalog indices.
        catalog: items, V with PAD.
        item_table: table whose items are known without events; None: no table.
    """
    known_V = item_mask(sequences, catalog.size)
    if item_table is not None:
        known_V[catalog.to_indices(item_table.ids)] = True
        known_V[PAD] = False
    return known_V


def restrict_catalog(
    sequences: Sequences, ids: tuple[str, ...], kept: Sequences, item_table: "ItemTable | None" = None
) -> tuple[Catalog, Sequences]:
    """Return the catalog of the known items, and all rows with its indices; items outside it become PAD.

    Args:
        sequences: rows whose indices refer to ``ids``.
        ids: items, index i is ``ids[i - 1]``.
        kept: rows whose items stay in the catalog.
        item_table: table whose items stay in the catalog as well; None: no table.
    """
    present_V = known_item_mask(kept, Catalog(ids), item_table)
    index_V = np.where(present_V, np.cumsum(present_V), PAD).astype(np.int32)
    catalog = Catalog(ids[i - 1] for i in np.flatnonzero(present_V))
    return catalog, replace(sequences, items=index_V[sequences.items])


def format_time(time_us: int) -> str:
    """Return UTC microseconds as ISO 8601 text, to the second."""
    return str(np.datetime64(time_us, "us").astype("datetime64[s]")) + "Z"


def draw_timeline(train: int, validation: int, test: int, cutoffs: Cutoffs | None = None) -> str:
    """Draw the sizes of the parts to scale, at least one character each, with the cutoff times.

    Args:
        train: number of events or rows to train on.
        validation: number of events or rows of the validation part.
        test: number of events or rows of the test part.
        cutoffs: cutoff times; None: the log is not cut at a time.
    """
    sizes = (train, validation, test)
    widths = [max(1, round(60 * size / max(1, sum(sizes)))) for size in sizes]
    lines = ["|".join(letter * width for letter, width in zip("=vT", widths, strict=True))]
    lines.append(f"= train {train:,} | v validation {validation:,} | T test {test:,}")
    if cutoffs is not None:
        lines.append(f"validation from {format_time(cutoffs.validation_us)}, test from {format_time(cutoffs.test_us)}")
    return "\n".join(lines)


def with_fingerprint(split: Split, key: str) -> Split:
    """Return the split with its fingerprint: SHA-256 over the catalog, the sequences, the cases and a key.

    Args:
        split: split without a fingerprint.
        key: name and options of the protocol. The sentence ``Split.protocol`` is not hashed: its words may change.
    """
    digest = hashlib.sha256(f"{split.catalog.fingerprint}\n{key} exclude_seen={split.exclude_seen}\n".encode())
    for rows in (split.train, split.refit):
        flat = rows.to_contiguous()
        _add(digest, flat.items, flat.stops, flat.times)
    for cases in (split.validation, split.test):
        _add(digest, cases.targets, cases.groups, cases.histories.lengths, cases.times)
        digest.update(f"{cases.missed} {sorted(cases.dropped.items())}".encode())
        if cases.futures is not None:
            flat = cases.futures.to_contiguous()
            _add(digest, flat.items, flat.stops)
    return replace(split, fingerprint=digest.hexdigest())


def _add(digest: "hashlib._Hash", *arrays: np.ndarray | None) -> None:
    for array in arrays:
        wide = None if array is None else np.ascontiguousarray(array, dtype=np.int64)
        digest.update(b"none" if wide is None else str(len(wide)).encode() + wide.tobytes())
