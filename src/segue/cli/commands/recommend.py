"""Commands ``segue recommend`` and ``segue similar``: recommendations of a saved model."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from segue.cli import options as o
from segue.cli.early_checks import check_file, check_inputs
from segue.cli.output import err, out, print_json, progress, table
from segue.cli.placement_output import GivenHistory, PlacementOptions, show_placement, split_ids

if TYPE_CHECKING:
    from segue.data.catalog import Catalog
    from segue.data.event_log import EventLog
    from segue.estimators.model_with_data import ModelWithData
    from segue.estimators.trained_model import Recommendations, TrainedModel

ExcludeSeen = Annotated[
    bool | None,
    typer.Option(
        "--exclude-seen/--include-seen",
        help="Leave out all items of the history, or none. By default as the placement states, or as in the model's "
        "evaluation and never the last item.",
    ),
]


Data = Annotated[
    Path | None,
    typer.Option(
        "--data",
        help="A server's data directory: its changed items and placement rules hold, and its stored events are the "
        "histories where no log is given.",
    ),
]


@dataclass(frozen=True)
class HistoryOptions:
    """The history: item ids, or a user of a log."""

    history: Annotated[
        list[str] | None, typer.Option(help="Item ids, oldest first: comma-separated, or the option repeated.")
    ] = None
    user: Annotated[str | None, typer.Option(help="A user of --log or --data, whose events are the history.")] = None
    log: Annotated[Path | None, typer.Option(help="The event log of --user or --all-users.")] = None
    users: Annotated[
        Path | None, typer.Option(help="A users table of --log, for a model with columns of users as context.")
    ] = None
    data: Data = None


@dataclass(frozen=True)
class GenerationOptions:
    """Generation of the next items one after the other."""

    steps: Annotated[
        int | None, typer.Option(help="Generate this number of next items one after the other, in place of --k.")
    ] = None
    strategy: Annotated[
        str,
        typer.Option(help="With --steps: top-k, greedy, beam, sample, reciprocal-rank or relevance."),
    ] = "reciprocal-rank"
    temperature: Annotated[
        float | None,
        typer.Option(help="With --steps: 1 samples by the model's calibrated probabilities, less prefers the best."),
    ] = None
    seed: Annotated[int, typer.Option(help="With --steps: random seed of the samples.")] = 0


@dataclass(frozen=True)
class BatchOptions:
    """A list for every user of a log, in a file."""

    all_users: Annotated[
        bool,
        typer.Option("--all-users", help="Recommend to every user of --log or --data and write the lists to --out."),
    ] = False
    out_file: Annotated[
        Path | None, typer.Option("--out", help="With --all-users: the file, .parquet, .csv or .jsonl.")
    ] = None


def recommend(
    run: o.Run,
    *,
    source: HistoryOptions,
    reading: o.LogOptions,
    k: Annotated[int, typer.Option(help="Number of items.")] = 10,
    generation: GenerationOptions,
    exclude_seen: ExcludeSeen = None,
    placement: PlacementOptions,
    batch: BatchOptions,
    json: o.Json = False,
) -> None:
    """Recommend the next items after a history.

    --log is read as the log of the training was, unless options state otherwise.

    \b
    Examples:
      segue recommend run --history 85123A,71053
      segue recommend run --history 85123A --explain --why-not 22423
      segue recommend run --user 17850 --log shop.csv
      segue recommend run --history 85123A,71053 --steps 10 --strategy greedy
      segue recommend run --history 85123A,71053 --steps 10 --strategy sample --temperature 0.8
      segue recommend run --all-users --log shop.csv --out lists.parquet
      segue recommend run --user 17850 --data run-data --explain --why-not 22423
    """
    reading.refuse_without("--log", source.log)
    if source.users is not None and source.log is None:
        raise ValueError("--users is the table of the users of --log: give --log.")
    _check_options(source, generation, placement, batch)
    check_inputs(source.log, source.users)
    model = placement.apply_to(load_model(run, source.data), exclude_seen)
    if batch.out_file is not None and batch.all_users:
        log = None if source.log is None else _read_log(source.log, source.users, reading, run, model)
        _recommend_all(model, log, batch.out_file, k, exclude_seen, placement, json)
        return
    history = _history(source, reading, run, model)
    about: dict[str, Any] = {"history": history.ids, "unknown": report_unknown(history.ids, model.catalog)}
    if generation.steps is None and (model.scorer.name == "pipeline" or placement.needs_pipeline):
        show_placement(model, history, k, exclude_seen, placement, json)
        return
    rules = placement.rules(model.catalog)
    if generation.steps is None:
        items = model.recommend_sequences(history.rows, k=k, exclude_seen=exclude_seen, **rules)[0]
    else:
        items = model.generate(
            history.rows,
            steps=generation.steps,
            strategy=generation.strategy,
            temperature=generation.temperature,
            seed=generation.seed,
            exclude_seen=exclude_seen,
            **rules,
        )[0]
        about |= {"strategy": generation.strategy, "seed": generation.seed}
    _show(model.items, items, json, about)


def _check_options(
    source: HistoryOptions, generation: GenerationOptions, placement: PlacementOptions, batch: BatchOptions
) -> None:
    """Check that options go together, before anything is read. ValueError if not."""
    explains = placement.explain or placement.why_not is not None
    if batch.all_users:
        has_users = source.log is not None or source.data is not None
        if not has_users or batch.out_file is None or source.user is not None or source.history is not None:
            raise ValueError("--all-users needs --log or --data, and --out, and neither --history nor --user.")
        check_file(batch.out_file, (".parquet", ".csv", ".jsonl"))
        if explains or generation.steps is not None:
            raise ValueError("--explain, --why-not and --steps need one history: give --history or --user.")
    elif (source.user is None) == (source.history is None):
        raise ValueError("Give either --history or --user (with --log or --data).")
    if generation.temperature is not None and generation.steps is None:
        raise ValueError("--temperature belongs to generated sequences: give --steps too.")
    if generation.steps is not None and explains:
        raise ValueError("--explain and --why-not explain lists, not sequences of --steps.")


def similar(
    run: o.Run,
    item: Annotated[str, typer.Option(help="The item id.")],
    k: Annotated[int, typer.Option(help="Number of items.")] = 10,
    placement: Annotated[str | None, typer.Option(help="With a pipeline: the placement whose rules apply.")] = None,
    filter: Annotated[str, typer.Option(help="With a pipeline: only these items, as 'price < 20'.")] = "",
    data: Data = None,
    json: o.Json = False,
) -> None:
    """Recommend items after a history of one item: those that go with it.

    \b
    Example:
      segue similar run --item 85123A
    """
    model = load_model(run, data)
    _show(model.items, model.similar(item, k=k, placement=placement, filter=filter), json, {"item": item})


def load_model(run: Path, data: Path | None) -> "TrainedModel":
    """Return a saved model, with the live state of a server as ``ModelWithData``.

    Args:
        run: its folder.
        data: data directory of a server whose changed items and rules hold; None: none.

    Raises:
        ValueError: the folder holds no model, or the data directory cannot be read.
    """
    if data is None:
        from segue.estimators.trained_model import load

        return load(run)
    from segue.estimators.model_with_data import ModelWithData

    return ModelWithData(run, data)


def report_unknown(events: list[str], catalog: "Catalog") -> list[str]:
    """Return the ids that are not in the catalog, and report them on standard error.

    Args:
        events: item ids.
        catalog: the model's items.
    """
    unknown = [item for item in events if item not in catalog]
    if unknown:
        err.print(f"Not in the catalog, so not used: {', '.join(unknown)}.", markup=False)
    return unknown


def _recommend_all(
    model: "TrainedModel",
    log: "EventLog | None",
    out_file: Path,
    k: int,
    exclude_seen: bool | None,
    placement: PlacementOptions,
    json: bool,
) -> None:
    from segue.estimators.batch_recommend import recommend_all

    options: dict[str, Any] = {"k": k, "exclude_seen": exclude_seen, **placement.rules(model.catalog)}
    with progress() as report:
        report("recommending", None)
        options["progress"] = lambda done, total: report("recommending", (done, total))
        if log is not None:
            users = recommend_all(model, log, out_file, **options)
        else:
            users = cast("ModelWithData", model).recommend_stored(out_file, **options)
    if json:
        print_json({"users": users, "k": k, "out": str(out_file)})
    else:
        out.print(f"Lists for {users:,} users written to {out_file}.", markup=False)


def _history(source: HistoryOptions, reading: o.LogOptions, run: Path, model: "TrainedModel") -> GivenHistory:
    """Return the history of the options."""
    if source.user is None:
        ids = split_ids(source.history or [], model.catalog)
        return GivenHistory(ids, model.histories([ids]), has_types=False)
    if source.log is None and source.data is None:
        raise ValueError("--user needs --log, the event log with the user's events, or --data.")
    if source.log is None:
        stored = cast("ModelWithData", model).stored_history(source.user)
        return GivenHistory(stored.ids, stored.rows, has_types=True, seen=stored.seen)
    events = _read_log(source.log, source.users, reading, run, model)
    own = events.with_frame(events.frame.filter(events.frame["user_id"] == source.user))
    if not len(own):
        raise ValueError(f"There is no user '{source.user}' in {source.log}.")
    own_catalog = own.catalog()
    ids = own_catalog.to_ids(own.sequences(own_catalog)[0].items)
    rows = own.sequences(model.catalog, with_event_types=True)[0].drop_unknown()
    return GivenHistory(ids, rows, has_types=rows.event_types is not None)


def _read_log(path: Path, users: Path | None, reading: o.LogOptions, run: Path, model: "TrainedModel") -> "EventLog":
    """Read the log of the histories, with the context columns that the model was trained on."""
    from segue.estimators.histories import with_model_contexts

    events = reading.read(path, o.later_description(run))
    events = o.with_tables(events, None, users, None, allow_loss=reading.allow_loss)
    events, missing = with_model_contexts(model.scorer, events)
    if missing:
        err.print(
            f"The model knows the context {', '.join(missing)}, which the log does not have: recommended without it.",
            markup=False,
        )
    return events


def _show(items: dict[str, dict[str, Any]], ranking: "Recommendations", json: bool, about: dict[str, Any]) -> None:
    titles = [str(items.get(item, {}).get("title", "")) for item, _ in ranking]
    if json:
        rows = [{"item_id": i, "score": s, "title": t} for (i, s), t in zip(ranking, titles, strict=True)]
        print_json({**about, "items": rows})
        return
    ranked = enumerate(zip(ranking, titles, strict=True), start=1)
    table(None, ["#", "item", "title", "score"], [[str(n), i, t, f"{s:.3f}"] for n, ((i, s), t) in ranked], left=3)
    if len(ranking) == 0:
        out.print("No item is left to recommend.")
