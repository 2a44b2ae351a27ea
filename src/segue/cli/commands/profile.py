"""segue profile: what is in a log, and what is odd about it."""

from typing import TYPE_CHECKING

from segue.cli import options as o
from segue.cli.output import out, print_json, table

if TYPE_CHECKING:
    from segue.data.event_log import EventLog


def profile(
    log: o.Log,
    format: o.Format = "auto",
    column: o.Columns = None,
    where: o.Where = None,
    trim: o.Trims = None,
    time_unit: o.TimeUnit = "auto",
    time_format: o.TimeFormat = None,
    strict: o.Strict = False,
    rejected: o.Rejected = None,
    json: o.Json = False,
) -> None:
    """Say what is in a log, and what is odd about it, before a day is spent on models.

    \b
    Examples:
      segue profile shop.csv
      segue profile raw.parquet --where "Quantity > 0" --rejected rejected.csv
    """
    read = o.open_log(
        log,
        format=format,
        columns=column,
        where=where,
        trim=trim,
        time_unit=time_unit,
        time_format=time_format,
        strict=strict,
        rejected=rejected,
    )
    if json:
        from segue.data.profile import profile_log as look

        print_json(look(read).to_dict())
    else:
        show_profile(read)


def show_profile(log: "EventLog") -> None:
    """A log's numbers as a table, and what is odd about it in sentences."""
    from segue.data.profile import profile_log as look

    found = look(log)
    table(None, ["", "value"], [[name, value] for name, value in found.lines()])
    for sentence in found.warnings:
        out.print(f"- {sentence}", markup=False)
