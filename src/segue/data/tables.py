"""Tables of other libraries -> raw columns: values come over as they are, so that no two ids become one."""

from typing import TYPE_CHECKING, Any

from segue.data.json_lines import odd_kinds
from segue.data.raw import ROW, Raw, printable

if TYPE_CHECKING:
    pass


def from_table(source: Any) -> Raw:
    """A Polars, pandas or Arrow table; ValueError for anything else."""
    import polars as pl

    if isinstance(source, pl.LazyFrame):
        source = source.collect()
    if isinstance(source, pl.DataFrame):
        return Raw(source.with_row_index(ROW, offset=1))
    kind = f"{type(source).__module__.split('.')[0]}.{type(source).__name__}"
    if kind == "pandas.DataFrame":
        return _from_pandas(source)
    if kind == "pyarrow.Table":
        table = pl.from_arrow(source)
        assert isinstance(table, pl.DataFrame)
        return Raw(table.with_row_index(ROW, offset=1))
    raise ValueError(f"A log is read from a path or a Polars, pandas or Arrow table, not from {kind}.")


def _from_pandas(source: Any) -> Raw:
    """Columns of Python objects may mix 1 with "1", which would look alike as text: the rarer kind is set aside."""
    import polars as pl

    columns = {str(name): _values(source[name]) for name in source.columns}
    mixed = {name: values for name, values in columns.items() if isinstance(values, list)}
    odd = odd_kinds(mixed)
    frame = pl.DataFrame(
        {ROW: pl.Series(range(1, len(source) + 1), dtype=pl.UInt32)}
        | {name: _without(values, odd) for name, values in columns.items()},
        strict=False,
    )
    if not odd:
        return Raw(frame)
    rejected = [(i + 1, why, printable(",".join(map(str, source.iloc[i].tolist())))) for i, why in odd.items()]
    return Raw(frame.filter(~pl.col(ROW).is_in([i + 1 for i in odd])), rejected)


def _values(column: Any) -> Any:
    """A numpy array where the type is plain, else a list with None where a value is missing."""
    if column.dtype.kind == "M":  # a zone would come over as Python objects
        zoned = getattr(column.dtype, "tz", None) is not None
        return (column.dt.tz_convert("UTC").dt.tz_localize(None) if zoned else column).to_numpy()
    if type(column.dtype).__module__.startswith("numpy") and column.dtype.kind in "iufb":
        return column.to_numpy()
    return column.astype(object).where(column.notna(), None).tolist()


def _without(values: Any, odd: dict[int, str]) -> Any:
    if isinstance(values, list) and odd:
        return [None if i in odd else value for i, value in enumerate(values)]
    return values
