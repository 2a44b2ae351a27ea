"""Commands ``segue import``, ``segue export`` and ``segue backup``: events of a server's data directory."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segue.cli import options as o
from segue.cli.early_checks import check_file
from segue.cli.output import err, out, print_json
from segue.cli.setting_options import parse_names

if TYPE_CHECKING:
    from segue.data.event_log import EventLog
    from segue.data.log_description import LogDescription

Data = Annotated[Path, typer.Argument(help="A server's data directory, as RUN-data.")]


def import_events(
    log: o.Log,
    data: Annotated[Path, typer.Option("--data", help="The data directory; no server may be running on it.")],
    *,
    run: Annotated[
        Path | None,
        typer.Option("--run", help="A model: the log is read as that of its training, with its context columns."),
    ] = None,
    reading: o.LogOptions,
    users: Annotated[Path | None, typer.Option(help="A users table: user_id and columns such as region.")] = None,
    context: Annotated[
        str | None, typer.Option(help="Columns of the log or of --users as context of the events: region,device.")
    ] = None,
    json: o.Json = False,
) -> None:
    """Import a log into a server's data directory, so that its users have histories from the first request on.

    Safe to repeat: an event is stored once. A row of the future is set aside with its number. A model that was trained
    with --context needs the same --context here, or --run.

    \b
    Examples:
      segue import shop.csv --data run-data
      segue import shop.csv --data run-data --run run
      segue import shop.csv --data run-data --context region,device
    """
    from segue.serving.store.event import FUTURE_US
    from segue.workflows.event_transfer import import_log

    now_us = time.time_ns() // 1000
    like = None if run is None else o.later_description(run)
    if run is not None and like is None:
        err.print(f"{run} does not state how its log was read: the options alone hold.", markup=False)
    events = o.with_tables(
        reading.read(log, like, latest_us=now_us + FUTURE_US), None, users, None, allow_loss=reading.allow_loss
    )
    events = _with_context(events, None if context is None else parse_names(context), like)
    result = import_log(events, data, now_us, lambda line: err.print(line, markup=False))
    if json:
        counts = {
            "accepted": result.accepted,
            "duplicates": result.duplicates,
            "erased": result.erased,
            "rejected": events.report.rejected,
        }
        print_json({**counts, "data": str(data)})
        return
    erased = f", {result.erased:,} of erased users left out" if result.erased else ""
    out.print(f"{result.accepted:,} events stored in {data}, {result.duplicates:,} duplicates{erased}.", markup=False)


def _with_context(log: "EventLog", chosen: list[str] | None, like: "LogDescription | None") -> "EventLog":
    """Return the log with the chosen context columns, or with those of the training that it has."""
    if chosen is not None or like is None:
        return log.with_context(chosen) if chosen else log
    missing = [name for name in like.context if name not in log.frame.columns]
    if missing:
        listed = ", ".join(missing)
        err.print(
            f"The model knows the context {listed}, which the log does not have: stored without it.", markup=False
        )
    present = [name for name in like.context if name not in missing]
    return log.with_context(present) if present else log


def export(
    data: Data,
    out_file: Annotated[Path, typer.Option("--out", help="The file: .parquet, .csv or .jsonl.")],
    context: Annotated[
        str | None, typer.Option(help="Names in the events' contexts that become columns: region,device.")
    ] = None,
    shown: Annotated[
        bool, typer.Option("--shown", help="Export the recorded lists instead: items, propensities, clicks, purchases.")
    ] = False,
    json: o.Json = False,
) -> None:
    """Export a server's events to a file that 'segue train' reads; also while the server runs.

    With --shown the rows are the items of recommended lists, each with its position, its source, its propensity where
    a pipeline drew an item of the list, and whether it was clicked and purchased.

    \b
    Examples:
      segue export run-data --out events.parquet
      segue export run-data --shown --out shown.parquet
    """
    if shown:
        from segue.workflows.recommendation_logs.export_shown import export_shown

        if context is not None:
            raise ValueError("--context belongs to events: recommended lists have none.")
        rows = export_shown(data, out_file)
        if json:
            print_json({"rows": rows, "out": str(out_file)})
        else:
            err.print(f"{rows:,} recommended items written to {out_file}.", markup=False)
        return
    from segue.workflows.event_transfer import SUFFIXES, export_events

    check_file(out_file, SUFFIXES)
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
