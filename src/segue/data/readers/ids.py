"""Columns of ids as text, without merging or splitting ids; invalid ids get a reason."""

import re
from typing import TYPE_CHECKING

from segue.data.features.number_text import MISSING_WORDS
from segue.data.read_report import shorten_list

if TYPE_CHECKING:
    import polars as pl


_ID_WORDS = (MISSING_WORDS - {""}) | {
    *("undefined", "unknown", "missing", "(none)", "(null)", "(not set)", "not set", "[null]", "<null>", "<na>", "nat"),
    *("anonymous", "guest", "匿名", "游客", "空", "暂无", "未登录", "00000000-0000-0000-0000-000000000000"),
}
"""Ids that are words for a missing one, in lower case."""
_LONGEST_WORD = 4 + max(len(word.encode()) for word in _ID_WORDS)
"""Bytes of the longest of them, with some spaces around it."""
MAX_ID_CHARS = 512
"""Characters of an id; longer ones are faults of a log, and could fill a server's memory."""


CONTROL = r"[\x00-\x1f\x7f]"


def ids_to_text(column: "pl.Series", role: str) -> "tuple[pl.Series, list[str]]":
    """Convert a column of ids to text.

    Integers become their decimal digits, also integers that missing values turned into floats. A number with a
    fraction becomes null; ``invalid_id_reason`` gives its reason.

    Args:
        column: ids as text or numbers.
        role: "user_id", "item_id" or "session_id", for messages.

    Returns:
        The ids as String, and notes.

    Raises:
        ValueError: the column holds booleans or another type that is no id.
    """
    import polars as pl

    if column.dtype == pl.Boolean:
        raise ValueError(f"Column '{column.name}' holds only true and false, so it cannot be {role}.")
    if column.dtype.is_float():
        whole = pl.select(pl.when(column.is_finite() & (column == column.round())).then(column)).to_series()
        bits = {pl.Float16: 11, pl.Float32: 24}.get(column.dtype, 53)  # type: ignore[call-overload]
        safe = pl.select(pl.when(whole.abs() < 2**bits).then(whole)).to_series()  # a larger one may be another, rounded
        return safe.cast(pl.Int64).cast(pl.String), [f"Column '{column.name}' holds floats; 17850.0 is read as 17850."]
    if column.dtype.is_integer():
        return column.cast(pl.String), []
    if column.dtype in (pl.String, pl.Categorical, pl.Enum):
        return column.cast(pl.String), []
    raise ValueError(f"Column '{column.name}' holds {column.dtype}, so it cannot be {role}: ids are text or numbers.")


def are_missing_words(ids: "pl.Series") -> "pl.Series":
    """Return the bool mask of ids that are words for a missing value, such as NULL and nan."""
    short = ids.str.len_bytes() <= _LONGEST_WORD
    words = ids.filter(short.fill_null(False)).unique()
    words = words.filter(words.str.strip_chars().str.to_lowercase().is_in(list(_ID_WORDS)))
    return ids.is_in(words.implode()).fill_null(False)


def warn_of_missing_words(
    ids: "pl.Series", role: str, cure: str = "leave such rows out with a condition (where)"
) -> list[str]:
    """Return a sentence about ids that are words for a missing value.

    Args:
        ids: ids as text.
        role: "user_id", "item_id" or "session_id", for the sentence.
        cure: end of the sentence.
    """
    words = ids.filter(are_missing_words(ids))
    if not len(words):
        return []
    counts = words.value_counts().sort(["count", words.name], descending=[True, False])
    listed = shorten_list(f"{word.strip()} {count:,}" for word, count in counts.rows())
    return [f"Values of {role} look like missing ones ({listed}): {cure}."]


def is_valid_id(text: "pl.Series") -> "pl.Series":
    """Return the bool mask of certainly valid ids: a vectorized check for the many rows that are valid."""
    return text.is_not_null() & (text != "") & (text.str.len_bytes() <= MAX_ID_CHARS) & ~text.str.contains(CONTROL)


def invalid_id_reason(text: str | None, role: str, missing: bool) -> str | None:
    """Return the reason why an id is rejected; None if it is valid.

    Args:
        text: converted id; None if the conversion failed.
        role: "user_id", "item_id" or "session_id", for the message.
        missing: the cell of the source is empty.
    """
    if text is None and not missing:
        return f"{role} is not an exact whole number"
    if not text:
        return f"{role} is missing"
    if len(text) > MAX_ID_CHARS:
        return f"{role} is longer than {MAX_ID_CHARS} characters"
    return f"{role} holds a control character" if re.search(CONTROL, text) else None
