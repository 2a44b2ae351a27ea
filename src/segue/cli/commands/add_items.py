"""Command ``segue add-items``: items without events into a saved model that was trained with features."""

from pathlib import Path
from typing import Annotated, Any

import typer

from segue.cli import options as o
from segue.cli.early_checks import check_out
from segue.cli.output import out, print_json, print_report
from segue.cli.tables import open_items
from segue.data.read_report import WARNING


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
    """Let a saved model or pipeline recommend new items at once, by their features alone. Nothing is trained.

    Items of the catalog stay as they are. A neural model must have been trained with --features. In a pipeline the
    items join every source that scores items without events: content-knn, new, list, and networks with features.

    Example:
      segue add-items run arrivals.csv
    """
    from segue.models import add_items, artifact
    from segue.pipeline.pipeline import Pipeline
    from segue.workflows.pipelines.add_pipeline_items import add_pipeline_items

    loaded = artifact.load(run)
    check_out(out_folder or run, replace=True, quiet=True)
    types = loaded.about.get("item_columns")
    read = open_items(items, allow_loss=allow_loss, column_types=types)
    table = read.matched_with(loaded.catalog.ids)
    if len(table.ids) < len(read.ids):  # known ids in another spelling, which would make two items of one
        print_report([f"{WARNING}{table.warnings[-1]}"])
    about: dict[str, Any] = {}
    if loaded.model == Pipeline.name:
        added = add_pipeline_items(loaded, table)
        larger = added.artifact
        about = {"scored_by": list(added.scored_by), "not_scored_by": list(added.not_scored_by)}
    else:
        larger = add_items.add_items(loaded, table.by_id())
    version = artifact.save(larger, out_folder or run)
    new = len(larger.catalog) - len(loaded.catalog)
    if json:
        counts = {"new_items": new, "items": len(larger.catalog)}
        print_json({**counts, **about, "out": str(out_folder or run), "version": version})
        return
    out.print(f"{new:,} new items, {len(larger.catalog):,} in all: version {version}.", markup=False)
    if about and new:
        out.print(f"Recommended by: {', '.join(about['scored_by'])}.", markup=False)
    if about.get("not_scored_by") and new:
        out.print(
            f"Without a score until an update with their events: {', '.join(about['not_scored_by'])}.", markup=False
        )
