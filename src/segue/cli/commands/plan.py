"""segue plan: what a training would take, before it starts."""

from typing import Annotated

import typer

from segue.cli import options as o
from segue.cli.output import print_json, table


def plan(
    log: o.Log,
    model: Annotated[str, typer.Option(help="A network's name, as gru4rec or sasrec.")] = "gru4rec",
    sets: o.Sets = None,
    format: o.Format = "auto",
    column: o.Columns = None,
    where: o.Where = None,
    trim: o.Trims = None,
    json: o.Json = False,
) -> None:
    """Say how long a training would take and how much memory it needs, by timing its first seconds.

    Refuses, with exit code 2, where the memory will not do.

    Example:
      segue plan shop.csv --model sasrec --set dim=128
    """
    from segue.workflows.estimate_cost import estimate_training_cost as forecast

    read = o.open_log(log, format=format, columns=column, where=where, trim=trim)
    found = forecast(read, model, o.parse_settings(sets, [model])[model])
    if json:
        print_json(found.to_dict())
        return
    free = "unknown" if found.available_gb is None else f"{found.available_gb:.1f} GB"
    minutes, seconds = divmod(round(found.seconds), 60)
    rows = [
        ["events, people, items", f"{found.events:,}, {found.users:,}, {found.items:,}"],
        ["steps in all epochs", f"{found.steps:,}"],
        ["measured rate", f"{found.events_per_s:,.0f} events/s"],
        ["time for all epochs", f"{minutes} min {seconds:02d} s"],
        ["memory needed, free", f"{found.needed_gb:.2f} GB, {free}"],
    ]
    table(None, [model, "forecast"], rows)
