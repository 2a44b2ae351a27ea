"""Command ``segue profile``: counts, quantiles and warnings of a log."""

from typing import TYPE_CHECKING

from segue.cli import options as o
from segue.cli.output import out, print_json, table

if TYPE_CHECKING:
    from segue.data.event_log import EventLog


def profile(log: o.Log, *, reading: o.LogOptions, json: o.Json = False) -> None:
    """Count events, users and items of a log, and warn of properties that mislead models.

    \b
    Examples:
      segue profile shop.csv
      segue profile raw.parquet --where "Quantity > 0" --rejected rejected.csv
    """
    events = reading.read(log)
    if json:
        from segue.data.profile import profile_log

        print_json(profile_log(events).to_dict())
    else:
        show_profile(events)


def show_profile(log: "EventLog") -> None:
    """Print the numbers of a log as a table, and its warnings as sentences."""
    from segue.data.profile import profile_log

    result = profile_log(log)
    table(None, ["", "value"], [[name, value] for name, value in result.lines()])
    for sentence in result.warnings:
        out.print(f"- {sentence}", markup=False)
