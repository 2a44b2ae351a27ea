"""Commands ``segue profile`` and ``segue clean``: counts and warnings of a log, and the log as it is read in a file."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segue.cli import options as o
from segue.cli.early_checks import check_file, check_inputs
from segue.cli.language import translated
from segue.cli.output import err, out, print_json, table
from segue.cli.tables import open_items, open_users

if TYPE_CHECKING:
    from segue.data.event_log import EventLog
    from segue.data.item_table import ItemTable, UserTable


def profile(
    log: o.Log,
    *,
    items: o.ItemTitles = None,
    users: Annotated[Path | None, typer.Option(help="A users table: user_id and columns such as region.")] = None,
    reading: o.LogOptions,
    json: o.Json = False,
) -> None:
    """Count events, users and items of a log, and warn of properties that mislead models.

    --items and --users are read too, and their ids are matched with those of the log.

    \b
    Examples:
      segue profile shop.csv --items products.csv
      segue profile raw.parquet --where "Quantity > 0" --rejected rejected.csv
    """
    check_inputs(items, users)
    events = reading.read(log)
    tables: list[ItemTable | UserTable] = (
        [] if items is None else [open_items(items, events, allow_loss=reading.allow_loss)]
    )
    tables += [] if users is None else [open_users(users, events, allow_loss=reading.allow_loss)]
    if json:
        from segue.data.profile import profile_log

        result = profile_log(events)
        warnings = [*result.warnings, *(warning for table in tables for warning in table.warnings)]
        print_json({**result.to_dict(), "warnings": warnings})
    else:
        show_profile(events)


def clean(
    log: o.Log,
    *,
    out_file: Annotated[Path, typer.Option("--out", help="The file: .parquet, .csv or .jsonl.")],
    reading: o.LogOptions,
    json: o.Json = False,
) -> None:
    """Write a log as it is read: its events with user_id, item_id and timestamp in UTC.

    Every command reads the file without options, also as a later log of a model whose own log has other columns.

    \b
    Examples:
      segue clean raw.csv --where "Quantity > 0" --time-zone Asia/Shanghai --out clean.parquet
      segue clean raw.csv --log-config shop.toml --rejected rejected.csv --out clean.csv
    """
    from segue.workflows.event_transfer import SUFFIXES
    from segue.workflows.log_files.clean_log import refuse_own_log, write_clean_log

    check_file(out_file, SUFFIXES)
    refuse_own_log(log, out_file)
    events = reading.read(log)
    for line in write_clean_log(events, out_file):
        err.print(line, markup=False)
    report = events.report
    if json:
        counts = {"events": len(events), "rows_read": report.rows_read, "rejected": report.rejected}
        print_json({**counts, "filtered_out": report.filtered_out, "removed": report.removed, "out": str(out_file)})
        return
    out.print(f"{len(events):,} events written to {out_file}.", markup=False)


def show_profile(log: "EventLog") -> None:
    """Print the numbers of a log as a table, and its warnings as sentences."""
    from segue.data.profile import profile_log

    result = profile_log(log)
    table(None, ["", "value"], [[translated(name), translated(value)] for name, value in result.lines()])
    for sentence in result.warnings:
        out.print(f"- {sentence}", markup=False)
