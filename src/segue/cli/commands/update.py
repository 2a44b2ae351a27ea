"""Command ``segue update``: new events into a saved model."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segue.cli import options as o
from segue.cli.early_checks import check_inputs, check_out
from segue.cli.output import out, print_json, print_report
from segue.cli.tables import open_items
from segue.data.read_report import WARNING

if TYPE_CHECKING:
    from segue.data.event_log import EventLog
    from segue.workflows.updates.update_data import UpdateReport


def update(
    run: o.Run,
    log: Annotated[Path, typer.Argument(help="The new events.")],
    *,
    replay: Annotated[
        Path | None,
        typer.Option(
            help="The older log: it is trained on again, so that the model does not forget it. A pipeline is counted "
            "again on both logs."
        ),
    ] = None,
    out_folder: Annotated[
        Path | None, typer.Option("--out", help="Write the updated model here instead of replacing RUN.")
    ] = None,
    items: Annotated[Path | None, typer.Option(help="An items table: titles and features of new items.")] = None,
    users: Annotated[Path | None, typer.Option(help="A users table: user_id and columns such as region.")] = None,
    erased: o.Erased = None,
    seed: o.Seed = 0,
    reading: o.LogOptions,
    json: o.Json = False,
) -> None:
    """Continue the training of a saved model on new events; keep the result unless it is worse beyond chance.

    In a pipeline the networks are trained on, the other sources are fitted again to both logs, and the blend stays.

    The logs are read as that of the training was, unless options state otherwise.

    New items join the catalog; with features they start from those in --items. The exit code is 0 also where the old
    model stays; the output states which one it is.

    Example:
      segue update run today.csv --replay shop.csv
    """
    from segue.data.robots import find_robots
    from segue.models import artifact
    from segue.workflows.update_model import check_updatable, update_model

    check_updatable(run)
    check_out(run if out_folder is None else out_folder, replace=True, quiet=True)
    check_inputs(log, replay, items, users, erased)
    like = o.later_description(run)

    def read(path: Path, **more: Any) -> "EventLog":
        events = o.without_erased(reading.read(path, like, **more), erased)
        return o.with_tables(events, None, users, None, allow_loss=reading.allow_loss)

    older = None if replay is None else read(replay, rejected=None)
    new = read(log)
    print_report(f"{WARNING}{sentence}" for sentence in find_robots(new))
    types = artifact.read_about(run).get("item_columns")
    table = None if items is None else open_items(items, allow_loss=reading.allow_loss, column_types=types)
    report = update_model(run, new, out_folder, replay=older, items=table, seed=seed, allow_loss=reading.allow_loss)
    print_report(f"{WARNING}{sentence}" for sentence in report.warnings)
    if json:
        print_json(report.to_dict())
    else:
        _show(report)


def _show(report: "UpdateReport") -> None:
    """Print the result of an update."""
    out.print(f"ndcg@10 on the newest {report.cases:,} cases: {report.before:.4f} before, {report.after:.4f} after.")
    if report.shared_events:
        out.print(f"{report.shared_events:,} events are in both logs and count once.")
    if not report.promoted:
        out.print("Not promoted: the old model is better on the newest events, and stays.")
        return
    for name, state in report.sources.items():
        out.print(f"Source {name}: {state}.", markup=False)
    if report.kept:
        out.print(report.kept, markup=False)
    out.print(f"Promoted: version {report.version}, {report.new_items:,} new items.", markup=False)
    if report.after < report.before:
        out.print("That loss is within chance: the 95 % interval of the difference reaches 0.", markup=False)
