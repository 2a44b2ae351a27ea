"""Lost rows of a reading: more than 1 % is a warning, more than 20 % a refusal unless the caller allows it."""

from collections.abc import Mapping

from segue.data.read_report import shorten_list

WARNED_SHARE = 0.01
"""Share of lost rows above which a reading warns."""
REFUSED_SHARE = 0.2
"""Share of lost rows above which a reading is refused."""
MIN_REFUSED_ROWS = 3
"""Number of lost rows from which a reading is refused, so that one bad row of a toy table refuses nothing."""
ALLOW = "--allow-loss (in Python allow_loss=True)"


def check_loss(source: str, reasons: Mapping[str, int], rows: int, *, allowed: bool, cause: str = "") -> list[str]:
    """Return a warning about the lost rows of a source; none up to 1 %.

    Args:
        source: name of the file or table, for the sentence.
        reasons: number of lost rows by reason.
        rows: number of rows, without those that the caller filtered out.
        allowed: any loss is accepted.
        cause: sentence about the first lost row.

    Raises:
        ValueError: more than 20 % are lost, and the loss is not allowed.
    """
    lost = sum(reasons.values())
    if lost <= WARNED_SHARE * rows:
        return []
    listed = shorten_list(f"{reason} ({count:,})" for reason, count in reasons.items())
    share = f"{lost:,} of {rows:,} rows ({lost / rows:.1%}) of {source}"
    if lost > REFUSED_SHARE * rows and lost >= MIN_REFUSED_ROWS and not allowed:
        raise ValueError(
            f"{share} would be lost: {listed}.{cause} Mend the source or its options; or read the other rows with "
            f"{ALLOW}."
        )
    return [f"{share} are lost: {listed}."]
