"""Command ``segue plan``: time and memory of a training before it starts."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segue.cli import options as o
from segue.cli.early_checks import check_inputs, check_pipeline
from segue.cli.output import out, print_json, table
from segue.cli.setting_options import parse_settings, parse_side_data, with_features
from segue.cli.tables import open_items

if TYPE_CHECKING:
    from segue.data.event_log import EventLog
    from segue.workflows.estimate_cost import TrainingPlan
    from segue.workflows.pipelines.plan_pipeline import PipelinePlan


def plan(
    log: o.Log,
    *,
    model: Annotated[
        str, typer.Option(help="A neural model's name, as gru4rec or sasrec, or the file of a pipeline (.toml).")
    ] = "gru4rec",
    sets: o.Sets = None,
    side: o.SideOptions,
    reading: o.LogOptions,
    json: o.Json = False,
) -> None:
    """Estimate the time and the memory of a training, by timing its first seconds.

    For a pipeline it is the sum over the networks among its sources. Refuses, with exit code 2, where the memory is too
    small.

    \b
    Examples:
      segue plan shop.csv --model sasrec --set embedding_dim=128
      segue plan shop.csv --model shop.toml
    """
    from segue.workflows.compare_models import is_pipeline_file
    from segue.workflows.estimate_cost import estimate_training_cost

    check_inputs(side.items, side.users)
    if is_pipeline_file(model):
        _plan_pipeline(log, Path(model), sets, side, reading, json)
        return
    own = with_features(parse_settings(sets, [model]), side.features, side.items, side.context)[model]
    events = _read(log, side, reading, own.get("contexts"), with_items=bool(own.get("features")))
    estimate = estimate_training_cost(events, model, own)
    if json:
        print_json(estimate.to_dict())
        return
    rows = [
        ["events, users, items", f"{estimate.events:,}, {estimate.users:,}, {estimate.items:,}"],
        ["steps in all epochs", f"{estimate.steps:,}"],
        ["measured rate", f"{estimate.events_per_s:,.0f} events/s"],
        ["time for all epochs", _duration(estimate.seconds)],
        ["memory needed, free", f"{estimate.needed_gb:.2f} GB, {_free(estimate)}"],
    ]
    table(None, [model, "estimate"], rows)


def _plan_pipeline(
    log: Path, file: Path, sets: list[str] | None, side: o.SideOptions, reading: o.LogOptions, json: bool
) -> None:
    """Print the estimate of each source and the sum."""
    from segue.pipeline.config import read_pipeline
    from segue.workflows.pipelines.fit_sources import context_names, with_side_columns, with_side_data
    from segue.workflows.pipelines.plan_pipeline import estimate_pipeline_cost

    check_inputs(file)
    if sets:
        raise ValueError("--set changes the settings of a model: those of a pipeline stand in its file.")
    config = with_side_data(read_pipeline(file), parse_side_data(side.features, side.items, side.context))
    check_pipeline(config)
    events = _read(log, side, reading.with_table_of(file), context_names(config), with_items=False)
    items = None if side.items is None else open_items(side.items, events, allow_loss=reading.allow_loss)
    plan = estimate_pipeline_cost(with_side_columns(events, config, items), config)
    if json:
        print_json(plan.to_dict())
        return
    rows = [
        [row.source, row.note, "", ""]
        if row.plan is None
        else [row.source, f"{row.plan.steps:,} steps", _duration(row.plan.seconds), f"{row.plan.needed_gb:.2f} GB"]
        for row in plan.sources
    ]
    total = ["sum, largest memory", "each network once", _duration(plan.seconds), f"{plan.needed_gb:.2f} GB"]
    table(None, ["source", "training", "time for all epochs", "memory"], [*rows, total], left=2)
    if any(row.plan is not None for row in plan.sources):
        out.print(f"Free memory: {_free(plan)}. 'segue pipeline' trains each network up to three times: to choose its")
        out.print("epoch, on the validation events too, and on every event.")
    if plan.without_estimate:
        out.print(f"Not in the sum: {', '.join(plan.without_estimate)}, the blend and the evaluation.", markup=False)


def _read(log: Path, side: o.SideOptions, reading: o.LogOptions, contexts: Any, *, with_items: bool) -> "EventLog":
    """Read the log with the columns that are trained on."""
    events = reading.read(log)
    items = open_items(side.items, events, allow_loss=reading.allow_loss) if with_items and side.items else None
    return o.with_tables(events, items, side.users, contexts, allow_loss=reading.allow_loss)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s"


def _free(plan: "TrainingPlan | PipelinePlan") -> str:
    return "unknown" if plan.available_gb is None else f"{plan.available_gb:.1f} GB"
