"""Command ``segue update``: new events into a saved model."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segue.cli import options as o
from segue.cli.output import out, print_json

if TYPE_CHECKING:
    from segue.data.event_log import EventLog


def update(
    run: o.Run,
    log: Annotated[Path, typer.Argument(help="The new events.")],
    *,
    replay: Annotated[
        Path | None, typer.Option(help="The older log: it is trained on again, so that the model does not forget it.")
    ] = None,
    out_folder: Annotated[
        Path | None, typer.Option("--out", help="Write the updated model here instead of replacing RUN.")
    ] = None,
    items: Annotated[Path | None, typer.Option(help="An items table: titles and features of new items.")] = None,
    users: Annotated[Path | None, typer.Option(help="A users table: user_id and columns such as region.")] = None,
    erased: o.Erased = None,
    seed: o.Seed = 0,
    reading: o.FormatOptions,
    json: o.Json = False,
) -> None:
    """Continue the training of a saved model on new events; keep the result only where it is not worse on the newest.

    New items join the catalog; with features they start from those in --items. The exit code is 0 also where the old
    model stays; the output states which one it is.

    Example:
      segue update run today.csv --replay shop.csv
    """
    from segue.data.readers.items import read_items
    from segue.workflows.update_model import update_model

    def read(path: Path) -> "EventLog":
        return o.with_tables(o.without_erased(reading.read(path), erased), None, users, None)

    older = None if replay is None else read(replay)
    table = None if items is None else read_items(items)
    report = update_model(run, read(log), out_folder, replay=older, items=table, seed=seed)
    if json:
        print_json(report.to_dict())
        return
    out.print(f"ndcg@10 on the newest {report.cases:,} cases: {report.before:.4f} before, {report.after:.4f} after.")
    if report.promoted:
        out.print(f"Promoted: version {report.version}, {report.new_items:,} new items.", markup=False)
    else:
        out.print("Not promoted: the old model is better on the newest events, and stays.")
