"""Integer codes of distinct ids."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import polars as pl


def encode_ids(column: "pl.Series") -> tuple[list[str], np.ndarray]:
    """(distinct texts sorted, int64 code of each row)."""
    import polars as pl

    distinct = column.unique().sort()
    codes = column.cast(pl.Enum(distinct)).to_physical().to_numpy().astype(np.int64)
    return distinct.to_list(), codes
