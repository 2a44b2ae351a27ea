"""Ids that differ by their spelling only: ``007`` and ``7``, ``3.0`` and ``3``, ``A1`` and `` a1``."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

_AROUND = " \t\r\n\u00a0\u3000\u200b\ufeff'\"="
"""Characters around an id that spreadsheets and copying leave there."""


def spelling_key(ids: "pl.Series") -> "pl.Series":
    """Return a text that is equal for all spellings of an id.

    Spaces and quotes around it, case, full-width characters, leading zeros and a fraction of zeros are ignored.

    >>> import polars as pl
    >>> spelling_key(pl.Series([" A1", "0042", "42.0", "0", "Ａ１"])).to_list()
    ['a1', '42', '42', '0', 'a1']
    """
    import polars as pl

    plain = ids.str.normalize("NFKC").str.strip_chars(_AROUND).str.to_lowercase()
    digits = plain.str.replace(r"^(\d+)\.0+$", "$1").str.strip_chars_start("0")
    return pl.select(pl.when(digits == "").then(plain.str.head(1)).otherwise(digits)).to_series().alias(ids.name)


def find_respelled(ids: "pl.Series", known: "pl.Series") -> "pl.DataFrame":
    """Find ids that are unknown, but are known ids in another spelling.

    Args:
        ids: ids of a table.
        known: ids that it should hold.

    Returns:
        Columns ``id`` and ``known``, one row per respelled id. A known id that is among ``ids`` has no other spelling.
    """
    import polars as pl

    own, other = ids.drop_nulls().unique(), known.drop_nulls().unique()
    unknown, unmatched = own.filter(~own.is_in(other.implode())), other.filter(~other.is_in(own.implode()))
    left = pl.DataFrame({"id": unknown, "key": spelling_key(unknown)})
    right = pl.DataFrame({"known": unmatched, "key": spelling_key(unmatched)}).sort("known")
    pairs = left.join(right.unique("key", keep="first", maintain_order=True), on="key").filter(pl.col("key") != "")
    return pairs.select("id", "known").sort("id")


def respelled_within(ids: "pl.Series") -> list[tuple[str, str]]:
    """Return pairs of ids of one column that differ by their spelling only, sorted."""
    import polars as pl

    own = ids.drop_nulls().unique().sort()
    frame = pl.DataFrame({"id": own, "key": spelling_key(own)}).filter(pl.col("key") != "")
    groups = frame.group_by("key").agg(pl.col("id")).filter(pl.col("id").list.len() > 1)
    return sorted((spellings[0], spellings[1]) for spellings in groups["id"].to_list())


def describe_match(ids: "pl.Series", known: "pl.Series", entity: str) -> tuple[list[str], list[str]]:
    """Describe how many ids of a log have a row of a table.

    Args:
        ids: ids of the table.
        known: ids of the log.
        entity: "item" or "user", for the sentences.

    Returns:
        Sentences, and warnings about ids that do not match.
    """
    own, other = ids.drop_nulls().unique(), known.drop_nulls().unique()
    shared = int(other.is_in(own.implode()).sum())
    note = (
        f"{shared:,} of {len(other):,} {entity}s of the log are in the {entity}s table; {len(own) - shared:,} of its "
        f"{entity}s have no event."
    )
    respelled = find_respelled(own, other)
    warnings = []
    if not shared and len(own) and len(other):
        warnings.append(
            f"None of the {len(own):,} {entity}s of the {entity}s table is in the log: its ids look like "
            f"{own.sort()[0]!r}, those of the log like {other.sort()[0]!r}."
        )
    if respelled.height:
        first, second = respelled.row(0)
        warnings.append(
            f"{respelled.height:,} ids of the {entity}s table are ids of the log in another spelling, as {first!r} for "
            f"{second!r}: their rows are not used. Write the ids alike in both files."
        )
    return [note], warnings
