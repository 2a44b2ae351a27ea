"""segue pipeline and segue rank: several models blended into one, and what it gives single items."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segue.cli import options as o
from segue.cli.commands.recommend import known_only, listed
from segue.cli.output import err, leaderboard, out, print_json, progress, table
from segue.cli.placement_output import pipeline_of

if TYPE_CHECKING:
    from segue.estimators.estimator import TrainedModel
    from segue.models.rankers.ranker_artifact import SavedRanker


def pipeline(
    log: o.Log,
    file: Annotated[Path, typer.Argument(help="The pipeline's settings: sources, blend, rank, placements, in TOML.")],
    out_folder: Annotated[Path, typer.Option("--out", help="The folder to write the pipeline to.")] = Path("run"),
    items: Annotated[Path | None, typer.Option(help="An items table; placements' rules ask for its columns.")] = None,
    protocol: o.Protocol = "time",
    refit: Annotated[
        bool, typer.Option("--refit/--no-refit", help="After judging, fit the sources once more on every event.")
    ] = True,
    seed: Annotated[int, typer.Option(help="Equal seeds give equal pipelines.")] = 0,
    format: o.Format = "auto",
    column: o.Columns = None,
    where: o.Where = None,
    trim: o.Trims = None,
    time_unit: o.TimeUnit = "auto",
    time_format: o.TimeFormat = None,
    json: o.Json = False,
) -> None:
    """Fit several models, learn on validation how to blend them, judge the whole, and save it as one.

    The saved folder is served and asked like any model. Its placements can be changed without training again: see
    segue recommend --pipeline.

    \b
    Example:
      segue pipeline shop.csv shop.toml --items products.csv --out run
    """
    from segue.data.readers.items import read_items
    from segue.pipeline.config import read_pipeline
    from segue.workflows.job import TrainJob
    from segue.workflows.train_pipeline import train_pipeline

    config = read_pipeline(file)
    read = o.open_log(
        log, format=format, columns=column, where=where, trim=trim, time_unit=time_unit, time_format=time_format
    )
    job = TrainJob(protocol, refit, seed, None if items is None else read_items(items))
    with progress() as told:
        result, version = train_pipeline(read, config, out_folder, job, told)
    if json:
        print_json({**result.to_dict(), "out": str(out_folder), "version": version})
        return
    leaderboard([result], "ndcg@10")
    for name, value in result.notes.get("held_out_ndcg@10", {}).items():
        err.print(f"On people held out of validation, {name}: ndcg@10 {value:.4f} where the target was found.")
    if (ranker := result.notes.get("ranker")) is not None:
        used = f"counts with weight {ranker['weight']:g}" if ranker["weight"] else "is left out: it was no better there"
        err.print(f"The ranker {ranker['ranker']} {used}.", markup=False)
    out.print(f"\nSaved to {out_folder} (version {version}). Next: segue serve {out_folder}", markup=False)


def rank(
    run: o.Run,
    items: Annotated[list[str], typer.Option(help="Item ids: comma-separated, or the option repeated.")],
    history: Annotated[
        list[str] | None, typer.Option(help="Item ids, oldest first: comma-separated, or the option repeated.")
    ] = None,
    json: o.Json = False,
) -> None:
    """Say how likely each of some items is the very next one after a history, by a pipeline; or by a ranker, how
    likely it is taken when it is shown among items such as the ranker was trained with.

    \b
    Examples:
      segue rank run --history 85123A,71053 --items 22423,47566,20725
      segue rank ranker --history 85123A,71053 --items 22423,47566,20725
    """
    from segue.estimators.estimator import load
    from segue.models.rankers.ranker_artifact import is_ranker, load_ranker

    model: TrainedModel | SavedRanker = load_ranker(run) if is_ranker(run) else load(run)
    events, asked = listed(history or [], model.catalog), listed(items, model.catalog)
    known_only([*events, *asked], model.catalog)
    chances = _chances(model, events, asked)
    order = sorted(range(len(asked)), key=lambda i: -chances[i])
    found = [{"item_id": asked[i], "probability": chances[i], "known": asked[i] in model.catalog} for i in order]
    if json:
        print_json({"history": events, "items": found})
        return
    titles = [str(model.items.get(str(row["item_id"]), {}).get("title", "")) for row in found]
    rows_shown = [
        [str(row["item_id"]), title, f"{row['probability']:.5f}"] for row, title in zip(found, titles, strict=True)
    ]
    table(None, ["item", "title", "probability"], rows_shown, left=2)


def _chances(model: "TrainedModel | SavedRanker", events: list[str], asked: list[str]) -> list[float]:
    from segue.data.sequences import Sequences
    from segue.models.rankers.ranker_artifact import SavedRanker

    history, items = (Sequences.from_lists([model.catalog.to_indices(ids)]) for ids in (events, asked))
    if isinstance(model, SavedRanker):
        now = model.ranker.newest_us + 1
        chances: list[float] = model.ranker.probability(history, items.items, now).tolist()
        return chances
    said: list[float] = pipeline_of(model).probabilities(history, items)[0].tolist()
    return said
