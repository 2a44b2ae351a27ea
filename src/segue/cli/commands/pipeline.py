"""Commands ``segue pipeline`` and ``segue rank``: models blended into one list, and probabilities of given items."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from segue.cli import options as o
from segue.cli.commands.recommend import Data, load_model, report_unknown
from segue.cli.early_checks import Replace, check_inputs, check_out, check_pipeline, check_protocol
from segue.cli.output import err, leaderboard, out, print_json, progress, table
from segue.cli.placement_output import pipeline_of, split_ids
from segue.cli.setting_options import parse_side_data
from segue.cli.tables import open_items

if TYPE_CHECKING:
    from segue.estimators.model_with_data import ModelWithData
    from segue.estimators.trained_model import TrainedModel
    from segue.models.rankers.ranker_artifact import SavedRanker


def pipeline(
    log: o.Log,
    file: Annotated[Path, typer.Argument(help="The pipeline's settings: sources, blend, rank, placements, in TOML.")],
    *,
    out_folder: Annotated[Path, typer.Option("--out", help="The folder to write the pipeline to.")] = Path("run"),
    replace: Replace = False,
    side: o.SideOptions,
    protocol: o.Protocol = "time",
    refit: o.Refit = True,
    seed: o.Seed = 0,
    reading: o.LogOptions,
    json: o.Json = False,
) -> None:
    """Fit several models, fit their blend on validation, evaluate the pipeline, and save it as one model.

    A table [log] of the file states how the log is read. The saved folder is served and queried like any model.
    Its placements can be changed without training again: see
    segue recommend --pipeline. --items serves the placements' rules and every source that scores items without events;
    --features and --context go to the networks among the sources whose settings state none.

    \b
    Examples:
      segue pipeline shop.csv shop.toml --items products.csv --out run
      segue pipeline shop.csv shop.toml --items products.csv --features category,price --out run
    """
    from segue.pipeline.config import read_pipeline
    from segue.workflows.job import TrainJob
    from segue.workflows.pipelines.fit_sources import context_names, with_side_columns, with_side_data
    from segue.workflows.train_pipeline import check_rules, train_pipeline

    config = with_side_data(read_pipeline(file), parse_side_data(side.features, side.items, side.context))
    check_out(out_folder, replace=replace)
    check_protocol(protocol)
    check_pipeline(config)
    check_inputs(side.items, side.users)
    events = reading.with_table_of(file).read(log)
    items_table = None if side.items is None else open_items(side.items, events, allow_loss=reading.allow_loss)
    events = o.with_tables(events, None, side.users, context_names(config), allow_loss=reading.allow_loss)
    events = with_side_columns(events, config, items_table)
    job = TrainJob(protocol, refit, seed, items_table)
    for note in check_rules(events, config, job):
        err.print(note, markup=False)
    with progress() as report:
        result, version = train_pipeline(events, config, out_folder, job, report)
    if json:
        print_json({**result.to_dict(), "out": str(out_folder), "version": version})
        return
    leaderboard([result], "ndcg@10")
    for name, value in result.notes.get("held_out_ndcg@10", {}).items():
        err.print(f"Held-out validation users, {name}: ndcg@10 {value:.4f} where the target is a candidate.")
    if (ranker := result.notes.get("ranker")) is not None:
        use = f"counts with weight {ranker['weight']:g}" if ranker["weight"] else "is not used: it was no better there"
        err.print(f"The ranker {ranker['ranker']} {use}.", markup=False)
    out.print(f"\nSaved to {out_folder} (version {version}). Next: segue serve {out_folder}", markup=False)


def rank(
    run: o.Run,
    items: Annotated[list[str], typer.Option(help="Item ids: comma-separated, or the option repeated.")],
    history: Annotated[
        list[str] | None, typer.Option(help="Item ids, oldest first: comma-separated, or the option repeated.")
    ] = None,
    data: Data = None,
    json: o.Json = False,
) -> None:
    """Print the probability that each of some items is the next one after a history, calibrated on validation. For a
    ranker it is the probability of a click among candidates like those the ranker was trained on.

    \b
    Examples:
      segue rank run --history 85123A,71053 --items 22423,47566,20725
      segue rank ranker --history 85123A,71053 --items 22423,47566,20725
    """
    from segue.models.rankers.ranker_artifact import is_ranker, load_ranker

    if data is not None and is_ranker(run):
        raise ValueError("--data belongs to models of lists: a ranker alone does not know the items of a server.")
    model: TrainedModel | SavedRanker = load_ranker(run) if is_ranker(run) else load_model(run, data)
    events, candidates = split_ids(history or [], model.catalog), split_ids(items, model.catalog)
    report_unknown([*events, *candidates], model.catalog)
    probabilities = _probabilities(model, events, candidates)
    order = sorted(range(len(candidates)), key=lambda i: -probabilities[i])
    rows: list[dict[str, Any]] = [
        {"item_id": candidates[i], "probability": probabilities[i], "known": candidates[i] in model.catalog}
        for i in order
    ]
    if data is not None:
        _mark_hidden(rows, cast("ModelWithData", model).hidden_items)
    if json:
        print_json({"history": events, "items": rows})
        return
    titles = [str(model.items.get(str(row["item_id"]), {}).get("title", "")) for row in rows]
    cells = [[str(row["item_id"]), title, f"{row['probability']:.5f}"] for row, title in zip(rows, titles, strict=True)]
    table(None, ["item", "title", "probability"], cells, left=2)


def _mark_hidden(rows: list[dict[str, Any]], hidden: frozenset[str]) -> None:
    """Mark the rows of items that a server recommends, and report those that it does not."""
    for row in rows:
        row["recommendable"] = row["known"] and row["item_id"] not in hidden
    if left_out := [row["item_id"] for row in rows if row["item_id"] in hidden]:
        err.print(f"Deleted or not available, so in no list: {', '.join(left_out)}.", markup=False)


def _probabilities(model: "TrainedModel | SavedRanker", events: list[str], candidates: list[str]) -> list[float]:
    from segue.data.sequences import Sequences
    from segue.models.rankers.ranker_artifact import SavedRanker
    from segue.pipeline.live.live_placements import LivePlacementEngine

    history, items = (Sequences.from_lists([model.catalog.to_indices(ids)]) for ids in (events, candidates))
    if isinstance(model, SavedRanker):
        now = model.ranker.newest_us + 1
        clicks: list[float] = model.ranker.probability(history, items.items, now).tolist()
        return clicks
    if model.scorer.name != "pipeline":
        return model.probabilities([events], candidates)[0]
    if isinstance(engine := model.lists.engine, LivePlacementEngine):
        return engine.probabilities(history, items.items.tolist())
    probabilities: list[float] = pipeline_of(model).probabilities(history, items)[0].tolist()
    return probabilities
