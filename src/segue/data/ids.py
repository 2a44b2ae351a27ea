"""Any column of ids -> text, never merging two ids nor splitting one; what cannot name anything gets a reason."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

LONGEST = 512
"""Characters of an id; longer ones are a fault in the log (and a way to fill a server's memory)."""


def to_text(column: "pl.Series", role: str) -> "tuple[pl.Series, list[str]]":
    """(String, notes). Whole numbers become their decimal digits, also where missing values turned them into floats;
    a number with a fraction becomes null and is rejected by ``faults``. ValueError for a column of true and false."""
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


def faults(text: "pl.Series", role: str, was_null: "pl.Series") -> "pl.Expr":
    """Why an id is refused, as text; null where it is fine."""
    import polars as pl

    column = pl.lit(text)
    return (
        pl.when(column.is_null() & ~pl.lit(was_null))
        .then(pl.lit(f"{role} is not a whole number"))
        .when(column.is_null() | (column == ""))
        .then(pl.lit(f"{role} is missing"))
        .when(column.str.len_chars() > LONGEST)
        .then(pl.lit(f"{role} is longer than {LONGEST} characters"))
        .when(column.str.contains(r"[\x00-\x1f\x7f]"))
        .then(pl.lit(f"{role} holds a control character"))
    )
