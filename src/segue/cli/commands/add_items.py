"""Command ``segue add-items``: items without events into a saved model that was trained with features."""

from pathlib import Path
from typing import Annotated

import typer

from segue.cli import options as o
from segue.cli.early_checks import check_out
from segue.cli.output import out, print_json
from segue.cli.tables import open_items


def add_items(
    run: o.Run,
    items: Annotated[Path, typer.Argument(help="The items table, with the columns that the model was trained on.")],
    out_folder: Annotated[
        Path | None, typer.Option("--out", help="Write the larger model here instead of replacing RUN.")
    ] = None,
    allow_loss: Annotated[
        bool, typer.Option("--allow-loss", help="Read a table that loses more than 20 % of its rows.")
    ] = False,
    json: o.Json = False,
) -> None:
    """Let a saved neural model recommend new items at once, by their features alone. Nothing is trained.

    Items of the catalog stay as they are. The model must have been trained with --features.

    Example:
      segue add-items run arrivals.csv
    """
    from segue.models import add_items, artifact

    loaded = artifact.load(run)
    check_out(out_folder or run, replace=True, quiet=True)
    table = open_items(items, loaded.catalog.ids, allow_loss=allow_loss)
    larger = add_items.add_items(loaded, table.by_id())
    version = artifact.save(larger, out_folder or run)
    new = len(larger.catalog) - len(loaded.catalog)
    if json:
        print_json({"new_items": new, "items": len(larger.catalog), "out": str(out_folder or run), "version": version})
        return
    out.print(f"{new:,} new items, {len(larger.catalog):,} in all: version {version}.", markup=False)
