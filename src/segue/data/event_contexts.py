"""Event contexts: features of events beside user, item and time, stored once per distinct context.

Columns of the log (region, device) and columns of a user table are both contexts. Shape letters: N events, C distinct
contexts.
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
    """Contexts of N events: event n has the features of row ``codes[n]``."""

    codes: np.ndarray
    """int32 [N]: row of ``features``. Row 0 is the unknown context, without features."""
    features: ItemFeatures
    """C rows of features, row 0 empty."""

    def take(self, events: np.ndarray) -> "EventContexts":
        """Return the contexts of some events, by flat position."""
        return EventContexts(self.codes[events], self.features)

    @classmethod
    def from_rows(cls, rows: Iterable[Mapping[str, Any]]) -> "EventContexts":
        """Encode the contexts of N events, given as column -> value; an absent column and None are missing."""
        code_of: dict[str, int] = {}
        features: list[dict[str, Any]] = [{}]
        codes: list[int] = []
        for row in rows:
            known = {name: value for name, value in row.items() if value is not None}
            key = json.dumps(known, sort_keys=True)
            if known and key not in code_of:
                code_of[key] = len(features)
                features.append(known)
            codes.append(code_of[key] if known else 0)
        return cls(np.array(codes, dtype=np.int32), ItemFeatures(features, {}))

    @classmethod
    def from_shared(cls, rows: Iterable[Mapping[str, Any]]) -> "EventContexts":
        """Encode contexts by object identity, for rows without missing values: one object is one context.

        Rows are not read, so that a request with a long history costs no JSON.
        """
        code_of: dict[int, int] = {}
        features: list[Mapping[str, Any]] = [{}]
        codes: list[int] = []
        for row in rows:
            code = code_of.setdefault(id(row), len(features)) if row else 0
            if code == len(features):
                features.append(row)
            codes.append(code)
        return cls(np.array(codes, dtype=np.int32), ItemFeatures(features, {}))

    @classmethod
    def from_frame(cls, frame: "pl.DataFrame", column_types: Mapping[str, ColumnType]) -> "EventContexts":
        """Encode the contexts of a log's rows; the codes do not depend on the order of the rows.

        Args:
            frame: N events.
            column_types: context columns of the frame and their types.
        """
        import polars as pl

        cells = frame.select(cast_column(frame[name], type_).alias(name) for name, type_ in column_types.items())
        cells = cells.with_columns(pl.col(pl.Float64).fill_nan(None))
        texts, codes_N = encode_ids(cells.select(pl.struct(pl.all()).struct.json_encode()).to_series())
        rows = [{name: value for name, value in json.loads(text).items() if value is not None} for text in texts]
        has_value = np.array([bool(row) for row in rows])
        row_of_code = np.cumsum(has_value) * has_value
        features = ItemFeatures([{}, *(row for row in rows if row)], dict(column_types))
        return cls(row_of_code[codes_N].astype(np.int32), features)


def context_column_types(frame: "pl.DataFrame", columns: Iterable[str]) -> dict[str, ColumnType]:
    """Infer the type of each context column of a log.

    Args:
        frame: events.
        columns: names of context columns.

    Raises:
        ValueError: the log has no such column.
    """
    for name in (columns := list(columns)):
        if name not in frame.columns:
            raise ValueError(
                f"The log has no column '{name}' to take as context. Its columns: {shorten_list(frame.columns)}."
            )
    return {name: infer_column_type(frame[name]) for name in columns}


def join_user_columns(frame: "pl.DataFrame", users: "pl.DataFrame") -> "pl.DataFrame":
    """Join the columns of a user table to the events.

    Args:
        frame: events with ``user_id``.
        users: one row per ``user_id``.

    Returns:
        The events in the same order; null for a user outside the table.

    Raises:
        ValueError: both tables have a column of one name.
    """
    shared = [name for name in users.columns if name != "user_id" and name in frame.columns]
    if shared:
        raise ValueError(
            f"The log and the users table both have a column '{shared[0]}': rename the one in the users table."
        )
    return frame.join(users, on="user_id", how="left", maintain_order="left")
