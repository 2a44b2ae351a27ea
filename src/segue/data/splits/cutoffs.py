"""The cut itself: at which moment, what lies before it, how it is drawn and told apart from any other.

Shape letters: B rows, N flat events, V catalog size with PAD.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from segue.data.catalog import PAD, Catalog
from segue.data.evaluation_cases import EvaluationCases
from segue.data.sequences import Sequences

if TYPE_CHECKING:
    from segue.data.item_table import ItemTable


def cutoff_times(times_N: np.ndarray, test: float, validation: float) -> tuple[int, int]:
    """(validation begins, test begins): the last ``test`` of the times lie at or after the second, and the last
    ``validation`` of those before it at or after the first. Equal times are never parted, so the shares are not exact.

    ValueError where a share is none, or where the times are so equal that nothing is left before a cut.
    """
    for name, share in (("test", test), ("validation", validation)):
        check_share(name, share)
    cut = int(np.quantile(times_N, 1 - test, method="higher"))
    before_N = times_N[times_N < cut]
    if len(before_N):
        first = int(np.quantile(before_N, 1 - validation, method="higher"))
        if first > before_N.min():
            return first, cut
    raise ValueError(
        f"Nothing is left to train on: this log has only {len(np.unique(times_N))} different times to cut at "
        f"(test {test}, validation {validation}). Use leave-last-out."
    )


def check_share(name: str, value: float) -> None:
    """ValueError unless 0 < value < 1."""
    if not 0 < value < 1:
        raise ValueError(f"{name} must be a share between 0 and 1, got {value}.")


def check_choice(name: str, value: str, choices: Iterable[str]) -> None:
    """ValueError unless the value is one of the choices."""
    known = tuple(choices)
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}, got '{value}'.")


def events_before(sequences: Sequences, moment: int) -> Sequences:
    """Each row's events before the moment; no event is copied."""
    assert sequences.times is not None
    row_N, where_N = sequences.positions()
    early_N = sequences.times[where_N] < moment
    return sequences.prefixes(np.bincount(row_N[early_N], minlength=len(sequences)))


def item_mask(sequences: Sequences, size: int) -> np.ndarray:
    """bool [V]: which items occur; PAD never does."""
    present_V = np.zeros(size, dtype=bool)
    present_V[sequences.items[sequences.positions()[1]]] = True
    present_V[PAD] = False
    return present_V


def map_to_catalog(sequences: Sequences, catalog: Catalog, listed: "ItemTable | None") -> np.ndarray:
    """bool [V]: the items that can be asked for, because they occur or because the items table lists them."""
    known_V = item_mask(sequences, catalog.size)
    if listed is not None:
        known_V[catalog.to_indices(listed.ids)] = True
        known_V[PAD] = False
    return known_V


def restrict(
    sequences: Sequences, names: tuple[str, ...], kept: Sequences, listed: "ItemTable | None" = None
) -> tuple[Catalog, Sequences]:
    """(the catalog of what occurs in ``kept``, or is listed; all rows indexed by it): items outside become PAD."""
    present_V = map_to_catalog(kept, Catalog(names), listed)
    index_V = np.where(present_V, np.cumsum(present_V), PAD).astype(np.int32)
    catalog = Catalog(names[i - 1] for i in np.flatnonzero(present_V))
    return catalog, replace(sequences, items=index_V[sequences.items])


def format_time(moment: int) -> str:
    """UTC microseconds as people write them, to the second."""
    return str(np.datetime64(moment, "us").astype("datetime64[s]")) + "Z"


def draw_timeline(train: int, validation: int, test: int, moments: tuple[int, int] | None = None) -> str:
    """The three parts' sizes in events or rows drawn to scale, at least one character each, and where the cuts lie."""
    sizes = (train, validation, test)
    widths = [max(1, round(60 * size / max(1, sum(sizes)))) for size in sizes]
    lines = ["|".join(letter * width for letter, width in zip("=vT", widths, strict=True))]
    lines.append(f"= train {train:,} | v validation {validation:,} | T test {test:,}")
    if moments is not None:
        lines.append(f"validation from {format_time(moments[0])}, test from {format_time(moments[1])}")
    return "\n".join(lines)


def split_fingerprint(
    catalog: Catalog, sentence: str, parts: tuple[Sequences, Sequences], asked: tuple[EvaluationCases, EvaluationCases]
) -> str:
    """SHA-256 over the catalog, the protocol, what trains (train, refit) and what is asked (validation, test)."""
    digest = hashlib.sha256(f"{catalog.fingerprint}\n{sentence}\n".encode())
    for rows in parts:
        flat = rows.to_contiguous()
        _add(digest, flat.items, flat.stops, flat.times)
    for cases in asked:
        _add(digest, cases.targets, cases.groups, cases.histories.lengths, cases.times)
        digest.update(f"{cases.missed} {sorted(cases.dropped.items())}".encode())
        if cases.futures is not None:
            flat = cases.futures.to_contiguous()
            _add(digest, flat.items, flat.stops)
    return digest.hexdigest()


def _add(digest: "hashlib._Hash", *arrays: np.ndarray | None) -> None:
    for array in arrays:
        wide = None if array is None else np.ascontiguousarray(array, dtype=np.int64)
        digest.update(b"none" if wide is None else str(len(wide)).encode() + wide.tobytes())
