"""segue import and segue export: events between files and a server's log."""

import time
from pathlib import Path
from typing import Annotated

import typer

from segue.cli import options as o
from segue.cli.output import err, out, print_json

Data = Annotated[Path, typer.Argument(help="A server's data directory, as RUN-data.")]


def import_events(
    log: o.Log,
    data: Annotated[Path, typer.Option("--data", help="The data directory; it must not have a server just now.")],
    format: o.Format = "auto",
    column: o.Columns = None,
    users: o.Users = None,
    context: o.Context = None,
    json: o.Json = False,
) -> None:
    """Put a log's events into a server's data directory, so that people are known from the first day on.

    Safe to repeat: what is there already is not stored again. A model that was trained with --context needs the same
    --context here.

    \b
    Examples:
      segue import shop.csv --data run-data
      segue import shop.csv --data run-data --context region,device
    """
    from segue.workflows.event_transfer import import_log

    read = o.open_log(log, format=format, columns=column)
    read = o.with_tables(read, None, users, o.parse_names(context) if context is not None else None)
    done = import_log(read, data, time.time_ns() // 1000)
    if json:
        print_json({"accepted": done.accepted, "duplicates": done.duplicates, "data": str(data)})
        return
    out.print(f"{done.accepted:,} events stored in {data}, {done.duplicates:,} were there already.", markup=False)


def export(
    data: Data,
    out_file: Annotated[Path, typer.Option("--out", help="The file: .parquet, .csv or .jsonl.")],
    context: Annotated[
        str | None, typer.Option(help="Names in the events' contexts that become columns: region,device.")
    ] = None,
    json: o.Json = False,
) -> None:
    """Write a server's events to a file that 'segue train' reads; also while the server runs.

    \b
    Example:
      segue export run-data --out events.parquet
    """
    from segue.workflows.event_transfer import export as write

    count = write(data, out_file, o.parse_names(context) if context is not None else ())
    if json:
        print_json({"events": count, "out": str(out_file)})
        return
    err.print(f"{count:,} events written to {out_file}.", markup=False)
