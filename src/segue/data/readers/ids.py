"""Any column of ids -> text, never merging two ids nor splitting one; what cannot name anything gets a reason."""

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl


MAX_ID_CHARS = 512
"""Characters of an id; longer ones are a fault in the log (and a way to fill a server's memory)."""


CONTROL = r"[\x00-\x1f\x7f]"


def ids_to_text(column: "pl.Series", role: str) -> "tuple[pl.Series, list[str]]":
    """(String, notes). Whole numbers become their decimal digits, also where missing values turned them into floats;
    a number with a fraction becomes null, for which ``fault`` has the reason. ValueError for true and false."""
    import polars as pl

    if column.dtype == pl.Boolean:
        raise ValueError(f"Column '{column.name}' holds only true and false, so it cannot be {role}.")
    if column.dtype.is_float():
        whole = pl.select(pl.when(column.is_finite() & (column == column.round())).then(column)).to_series()
        safe = pl.select(pl.when(whole.abs() < 2**53).then(whole)).to_series()
        return safe.cast(pl.Int64).cast(pl.String), [f"Column '{column.name}' holds floats; 17850.0 is read as 17850."]
    if column.dtype.is_integer():
        return column.cast(pl.String), []
    if column.dtype in (pl.String, pl.Categorical, pl.Enum):
        return column.cast(pl.String), []
    raise ValueError(f"Column '{column.name}' holds {column.dtype}, so it cannot be {role}: ids are text or numbers.")


def is_valid_id(text: "pl.Series") -> "pl.Series":
    """bool: whether each id can name something; cheap, for the many rows that are fine."""
    return text.is_not_null() & (text != "") & (text.str.len_bytes() <= MAX_ID_CHARS) & ~text.str.contains(CONTROL)


def invalid_id_reason(text: str | None, role: str, missing: bool) -> str | None:
    """Why one id is refused, for the few rows that are not; None where it is fine after all."""
    if text is None and not missing:
        return f"{role} is not a whole number"
    if not text:
        return f"{role} is missing"
    if len(text) > MAX_ID_CHARS:
        return f"{role} is longer than {MAX_ID_CHARS} characters"
    return f"{role} holds a control character" if re.search(CONTROL, text) else None
