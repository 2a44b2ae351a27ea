"""Command ``segue plan``: time and memory of a training before it starts."""

from typing import Annotated

import typer

from segue.cli import options as o
from segue.cli.output import print_json, table
from segue.cli.setting_options import parse_settings


def plan(
    log: o.Log,
    *,
    model: Annotated[str, typer.Option(help="A neural model's name, as gru4rec or sasrec.")] = "gru4rec",
    sets: o.Sets = None,
    reading: o.LogOptions,
    json: o.Json = False,
) -> None:
    """Estimate the time and the memory of a training, by timing its first seconds.

    Refuses, with exit code 2, where the memory is too small.

    Example:
      segue plan shop.csv --model sasrec --set embedding_dim=128
    """
    from segue.workflows.estimate_cost import estimate_training_cost

    estimate = estimate_training_cost(reading.read(log), model, parse_settings(sets, [model])[model])
    if json:
        print_json(estimate.to_dict())
        return
    free = "unknown" if estimate.available_gb is None else f"{estimate.available_gb:.1f} GB"
    minutes, seconds = divmod(round(estimate.seconds), 60)
    rows = [
        ["events, users, items", f"{estimate.events:,}, {estimate.users:,}, {estimate.items:,}"],
        ["steps in all epochs", f"{estimate.steps:,}"],
        ["measured rate", f"{estimate.events_per_s:,.0f} events/s"],
        ["time for all epochs", f"{minutes} min {seconds:02d} s"],
        ["memory needed, free", f"{estimate.needed_gb:.2f} GB, {free}"],
    ]
    table(None, [model, "estimate"], rows)
