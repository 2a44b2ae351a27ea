"""Integer codes of distinct ids."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import polars as pl


def encode_ids(column: "pl.Series") -> tuple[list[str], np.ndarray]:
    """Return the distinct ids, sorted as text, and the int64 code of each row: its position among them."""
    import polars as pl

    distinct = column.unique().sort()
    codes = column.cast(pl.Enum(distinct)).to_physical().to_numpy().astype(np.int64)
    return distinct.to_list(), codes
