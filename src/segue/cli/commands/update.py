"""segue update: new events into a model that is at work."""

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
    replay: Annotated[
        Path | None, typer.Option(help="The older log: its events are trained on again, so that nothing is forgotten.")
    ] = None,
    out_folder: Annotated[
        Path | None, typer.Option("--out", help="Write the updated model here instead of in RUN's place.")
    ] = None,
    items: Annotated[Path | None, typer.Option(help="An items table, for what new items are called and like.")] = None,
    users: o.Users = None,
    erased: o.Erased = None,
    seed: Annotated[int, typer.Option(help="Equal seeds give equal models.")] = 0,
    format: o.Format = "auto",
    column: o.Columns = None,
    json: o.Json = False,
) -> None:
    """Train a saved network on with new events; keep the result only where it is not worse on the newest of them.

    New items join the catalog; a network with features begins with what --items tells of them. Exit code 0 also
    where the old model stays; the output says which it is.

    Example:
      segue update run today.csv --replay shop.csv
    """
    from segue.data.readers.items import read_items
    from segue.workflows.update_model import update_model as go_on

    def read(path: Path) -> "EventLog":
        known = o.without_erased(o.open_log(path, format=format, columns=column), erased)
        return o.with_tables(known, None, users, None)

    older = None if replay is None else read(replay)
    table = None if items is None else read_items(items)
    found = go_on(run, read(log), out_folder, replay=older, items=table, seed=seed)
    if json:
        print_json(found.to_dict())
        return
    out.print(f"ndcg@10 on the newest {found.cases:,} cases: {found.before:.4f} before, {found.after:.4f} after.")
    if found.promoted:
        out.print(f"Promoted: version {found.version}, {found.new_items:,} new items.", markup=False)
    else:
        out.print("Not promoted: the model at work answers the newest events better, and stays.")
