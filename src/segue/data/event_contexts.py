"""What is known of each event besides who, what and when: a row of facts for every circumstance that occurs.

Columns of the log (region, device) and columns of a table of users both end here. Shape letters: N events, C rows of
facts.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from segue.data.features.column_types import Kind, as_kind, guess
from segue.data.features.encoding import Facts
from segue.data.id_codes import codes
from segue.data.read_report import listed

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class Contexts:
    """``codes`` int32 [N]: event n happened under row ``codes[n]`` of ``facts``. Row 0 is empty: nothing is known."""

    codes: np.ndarray
    facts: Facts

    def take(self, where: np.ndarray) -> "Contexts":
        """Of some of the events."""
        return Contexts(self.codes[where], self.facts)

    @classmethod
    def from_rows(cls, rows: Iterable[Mapping[str, Any]]) -> "Contexts":
        """Of N events in their order, column -> value; what is missing or None is not known."""
        found: dict[str, int] = {}
        facts: list[dict[str, Any]] = [{}]
        codes: list[int] = []
        for row in rows:
            told = {name: value for name, value in row.items() if value is not None}
            key = json.dumps(told, sort_keys=True)
            if told and key not in found:
                found[key] = len(facts)
                facts.append(told)
            codes.append(found[key] if told else 0)
        return cls(np.array(codes, dtype=np.int32), Facts(facts, {}))

    @classmethod
    def from_shared(cls, rows: Iterable[Mapping[str, Any]]) -> "Contexts":
        """As ``from_rows``, of rows without missing values; they are not read: what is one object is one row."""
        found: dict[int, int] = {}
        facts: list[Mapping[str, Any]] = [{}]
        codes: list[int] = []
        for row in rows:
            code = found.setdefault(id(row), len(facts)) if row else 0
            if code == len(facts):
                facts.append(row)
            codes.append(code)
        return cls(np.array(codes, dtype=np.int32), Facts(facts, {}))

    @classmethod
    def from_frame(cls, frame: "pl.DataFrame", kinds: Mapping[str, Kind]) -> "Contexts":
        """Of the rows of a log, by some of its columns; the numbering does not depend on the rows' order."""
        import polars as pl

        cells = frame.select(as_kind(frame[name], kind).alias(name) for name, kind in kinds.items())
        cells = cells.with_columns(pl.col(pl.Float64).fill_nan(None))
        texts, which_N = codes(cells.select(pl.struct(pl.all()).struct.json_encode()).to_series())
        known = [{name: value for name, value in json.loads(text).items() if value is not None} for text in texts]
        place = np.cumsum([bool(row) for row in known]) * np.array([bool(row) for row in known])
        facts = Facts([{}, *(row for row in known if row)], dict(kinds))
        return cls(place[which_N].astype(np.int32), facts)


def kinds_of(frame: "pl.DataFrame", names: Iterable[str]) -> dict[str, Kind]:
    """The kind of each of these columns of a log. ValueError for one that is not there."""
    for name in (names := list(names)):
        if name not in frame.columns:
            raise ValueError(
                f"The log has no column '{name}' to take as context. Its columns: {listed(frame.columns)}."
            )
    return {name: guess(frame[name]) for name in names}


def with_users(frame: "pl.DataFrame", users: "pl.DataFrame") -> "pl.DataFrame":
    """The log with the columns of a table of users beside each event; null where the table does not know the person.

    ValueError where both have a column of the same name.
    """
    twice = [name for name in users.columns if name != "user_id" and name in frame.columns]
    if twice:
        raise ValueError(
            f"The log and the users table both have a column '{twice[0]}': rename the one in the users table."
        )
    return frame.join(users, on="user_id", how="left", maintain_order="left")
