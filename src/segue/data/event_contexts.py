"""What is known of each event besides who, what and when: a row of facts for every circumstance that occurs.

Columns of the log (region, device) and columns of a table of users both end here. Shape letters: N events, C rows of
facts.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from segue.data.features.column_types import ColumnType, cast_column, infer_column_type
from segue.data.features.encoding import ItemFeatures
from segue.data.id_codes import encode_ids
from segue.data.read_report import shorten_list

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class EventContexts:
    """``codes`` int32 [N]: event n happened under row ``codes[n]`` of ``facts``. Row 0 is empty: nothing is known."""

    codes: np.ndarray
    features: ItemFeatures

    def take(self, where: np.ndarray) -> "EventContexts":
        """Of some of the events."""
        return EventContexts(self.codes[where], self.features)

    @classmethod
    def from_rows(cls, rows: Iterable[Mapping[str, Any]]) -> "EventContexts":
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
        return cls(np.array(codes, dtype=np.int32), ItemFeatures(facts, {}))

    @classmethod
    def from_shared(cls, rows: Iterable[Mapping[str, Any]]) -> "EventContexts":
        """As ``from_rows``, of rows without missing values; they are not read: what is one object is one row."""
        found: dict[int, int] = {}
        facts: list[Mapping[str, Any]] = [{}]
        codes: list[int] = []
        for row in rows:
            code = found.setdefault(id(row), len(facts)) if row else 0
            if code == len(facts):
                facts.append(row)
            codes.append(code)
        return cls(np.array(codes, dtype=np.int32), ItemFeatures(facts, {}))

    @classmethod
    def from_frame(cls, frame: "pl.DataFrame", kinds: Mapping[str, ColumnType]) -> "EventContexts":
        """Of the rows of a log, by some of its columns; the numbering does not depend on the rows' order."""
        import polars as pl

        cells = frame.select(cast_column(frame[name], kind).alias(name) for name, kind in kinds.items())
        cells = cells.with_columns(pl.col(pl.Float64).fill_nan(None))
        texts, which_N = encode_ids(cells.select(pl.struct(pl.all()).struct.json_encode()).to_series())
        known = [{name: value for name, value in json.loads(text).items() if value is not None} for text in texts]
        place = np.cumsum([bool(row) for row in known]) * np.array([bool(row) for row in known])
        facts = ItemFeatures([{}, *(row for row in known if row)], dict(kinds))
        return cls(place[which_N].astype(np.int32), facts)


def context_column_types(frame: "pl.DataFrame", names: Iterable[str]) -> dict[str, ColumnType]:
    """The kind of each of these columns of a log. ValueError for one that is not there."""
    for name in (names := list(names)):
        if name not in frame.columns:
            raise ValueError(
                f"The log has no column '{name}' to take as context. Its columns: {shorten_list(frame.columns)}."
            )
    return {name: infer_column_type(frame[name]) for name in names}


def join_user_columns(frame: "pl.DataFrame", users: "pl.DataFrame") -> "pl.DataFrame":
    """The log with the columns of a table of users beside each event; null where the table does not know the person.

    ValueError where both have a column of the same name.
    """
    twice = [name for name in users.columns if name != "user_id" and name in frame.columns]
    if twice:
        raise ValueError(
            f"The log and the users table both have a column '{twice[0]}': rename the one in the users table."
        )
    return frame.join(users, on="user_id", how="left", maintain_order="left")
