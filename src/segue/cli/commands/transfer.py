"""Commands ``segue import``, ``segue export`` and ``segue backup``: events of a server's data directory."""

import time
from pathlib import Path
from typing import Annotated

import typer

from segue.cli import options as o
from segue.cli.output import err, out, print_json
from segue.cli.setting_options import parse_names

Data = Annotated[Path, typer.Argument(help="A server's data directory, as RUN-data.")]


def import_events(
    log: o.Log,
    data: Annotated[Path, typer.Option("--data", help="The data directory; no server may be running on it.")],
    *,
    reading: o.LogOptions,
    users: Annotated[Path | None, typer.Option(help="A users table: user_id and columns such as region.")] = None,
    context: Annotated[
        str | None, typer.Option(help="Columns of the log or of --users as context of the events: region,device.")
    ] = None,
    json: o.Json = False,
) -> None:
    """Import a log into a server's data directory, so that its users have histories from the first request on.

    Safe to repeat: an event is stored once. A model that was trained with --context needs the same --context here.

    \b
    Examples:
      segue import shop.csv --data run-data
      segue import shop.csv --data run-data --context region,device
    """
    from segue.workflows.event_transfer import import_log

    contexts = None if context is None else parse_names(context)
    events = o.with_tables(reading.read(log), None, users, contexts)
    result = import_log(events, data, time.time_ns() // 1000, lambda line: err.print(line, markup=False))
    if json:
        counts = {"accepted": result.accepted, "duplicates": result.duplicates, "erased": result.erased}
        print_json({**counts, "data": str(data)})
        return
    erased = f", {result.erased:,} of erased users left out" if result.erased else ""
    out.print(f"{result.accepted:,} events stored in {data}, {result.duplicates:,} duplicates{erased}.", markup=False)


def export(
    data: Data,
    out_file: Annotated[Path, typer.Option("--out", help="The file: .parquet, .csv or .jsonl.")],
    context: Annotated[
        str | None, typer.Option(help="Names in the events' contexts that become columns: region,device.")
    ] = None,
    json: o.Json = False,
) -> None:
    """Export a server's events to a file that 'segue train' reads; also while the server runs.

    \b
    Example:
      segue export run-data --out events.parquet
    """
    from segue.workflows.event_transfer import export_events

    count = export_events(data, out_file, parse_names(context) if context is not None else ())
    if json:
        print_json({"events": count, "out": str(out_file)})
        return
    err.print(f"{count:,} events written to {out_file}.", markup=False)


def backup(
    data: Data,
    out_folder: Annotated[Path, typer.Option("--out", help="The new folder, which is a data directory itself.")],
    json: o.Json = False,
) -> None:
    """Back up a server's data directory, also while the server runs, and check the copy.

    To restore, stop the server and serve from the folder or a copy of it. Erased users stay erased.

    \b
    Example:
      segue backup run-data --out backup-monday
    """
    from segue.serving.administration.back_up import back_up

    made = back_up(data, out_folder, lambda line: err.print(line, markup=False))
    for notice in made.notices:
        err.print(notice, markup=False)
    if json:
        print_json({"events": made.events, "bytes": made.bytes, "out": str(out_folder), "notices": made.notices})
        return
    err.print(f"{made.events:,} events in {out_folder}, {made.bytes / 1e6:,.1f} MB.", markup=False)
