"""segue recommend and segue similar: answers from a saved model, on the command line."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segue.cli import options as o
from segue.cli.output import err, out, print_json, progress, table
from segue.cli.placement_output import PlacementOptions, show_placement

if TYPE_CHECKING:
    from segue.data.catalog import Catalog
    from segue.data.event_log import EventLog


def recommend(
    run: o.Run,
    history: Annotated[
        list[str] | None, typer.Option(help="Item ids, oldest first: comma-separated, or the option repeated.")
    ] = None,
    user: Annotated[str | None, typer.Option(help="A person of --log, whose events are the history.")] = None,
    log: Annotated[Path | None, typer.Option(help="The event log to look --user up in.")] = None,
    format: o.Format = "auto",
    column: o.Columns = None,
    k: Annotated[int, typer.Option(help="How many items.")] = 10,
    steps: Annotated[
        int | None, typer.Option(help="Write the next so many items one after the other, in place of --k.")
    ] = None,
    strategy: Annotated[
        str,
        typer.Option(help="With --steps: top-k, greedy, beam, sample, reciprocal-rank or relevance."),
    ] = "reciprocal-rank",
    seed: Annotated[int, typer.Option(help="With --steps: of what is drawn.")] = 0,
    include_seen: Annotated[bool, typer.Option("--include-seen", help="Items of the history may come again.")] = False,
    placement: Annotated[str | None, typer.Option(help="Of a pipeline: the place whose rules go.")] = None,
    pipeline: Annotated[
        Path | None,
        typer.Option(help="Take the placements of this file in place of those the pipeline was saved with."),
    ] = None,
    filter: Annotated[str, typer.Option(help="Of a pipeline: only these items, as 'price < 20'.")] = "",
    explain: Annotated[bool, typer.Option("--explain", help="Of a pipeline: say why each item is there.")] = False,
    why_not: Annotated[str | None, typer.Option(help="Of a pipeline: say why this item is not there.")] = None,
    all_users: Annotated[
        bool, typer.Option("--all-users", help="A list for everybody in --log, written to --out.")
    ] = False,
    out_file: Annotated[
        Path | None, typer.Option("--out", help="With --all-users: the file, .parquet, .csv or .jsonl.")
    ] = None,
    json: o.Json = False,
) -> None:
    """Say what comes next after a history.

    \b
    Examples:
      segue recommend run --history 85123A,71053
      segue recommend run --history 85123A --explain --why-not 22423
      segue recommend run --user 17850 --log shop.csv
      segue recommend run --history 85123A,71053 --steps 10 --strategy greedy
      segue recommend run --all-users --log shop.csv --out lists.parquet
    """
    from segue.estimators.estimator import load

    if all_users:
        if log is None or out_file is None or user is not None or history is not None:
            raise ValueError("--all-users needs --log and --out, and neither --history nor --user.")
        _all_users(run, o.open_log(log, format=format, columns=column), out_file, (k, not include_seen), json)
        return
    if (user is None) == (history is None):
        raise ValueError("Give either --history or --user (with --log).")
    model = load(run)
    if user is not None:
        if log is None:
            raise ValueError("--user needs --log, the event log to look the person up in.")
        events = _history_of(user, o.open_log(log, format=format, columns=column), log)
    else:
        events = listed(history or [], model.catalog)
    about: dict[str, Any] = {"history": events, "unknown": known_only(events, model.catalog)}
    asked = PlacementOptions(placement, pipeline, filter, explain, why_not)
    if steps is None and (model.scorer.name == "pipeline" or asked != PlacementOptions()):
        show_placement(model, events, k, None if not include_seen else False, asked, json)
        return
    if steps is None:
        answer = model.recommend(histories=[events], k=k, exclude_seen=not include_seen)[0]
    else:
        answer = model.generate([events], steps=steps, strategy=strategy, seed=seed, exclude_seen=not include_seen)[0]
        about |= {"strategy": strategy, "seed": seed}
    _show(model.items, answer, json, about)


def similar(
    run: o.Run,
    item: Annotated[str, typer.Option(help="The item id.")],
    k: Annotated[int, typer.Option(help="How many items.")] = 10,
    json: o.Json = False,
) -> None:
    """Say what goes with one item.

    \b
    Example:
      segue similar run --item 85123A
    """
    from segue.estimators.estimator import load

    model = load(run)
    _show(model.items, model.similar(item, k=k), json, {"item": item})


def listed(ids: list[str], catalog: "Catalog") -> list[str]:
    """Ids that came comma-separated, or one by one; an id may hold a comma itself."""
    whole = len(ids) != 1 or ids[0] in catalog
    return list(ids) if whole else [part.strip() for part in ids[0].split(",")]


def known_only(events: list[str], catalog: "Catalog") -> list[str]:
    """The ids that the catalog does not know; says so."""
    unknown = [item for item in events if item not in catalog]
    if unknown:
        err.print(f"Not in the catalog, so not used: {', '.join(unknown)}.", markup=False)
    return unknown


def _all_users(run: Path, log: "EventLog", out_file: Path, how: tuple[int, bool], json: bool) -> None:
    from segue.estimators.batch_recommend import recommend_all
    from segue.estimators.estimator import load

    k, exclude_seen = how
    with progress() as told:
        told("recommending", None)
        people = recommend_all(
            load(run),
            log,
            out_file,
            k=k,
            exclude_seen=exclude_seen,
            told=lambda done, of: told("recommending", (done, of)),
        )
    if json:
        print_json({"people": people, "k": k, "out": str(out_file)})
    else:
        out.print(f"Lists for {people:,} people written to {out_file}.", markup=False)


def _history_of(user: str, read: "EventLog", log: Path) -> list[str]:
    catalog = read.catalog()
    sequences, people = read.sequences(catalog)
    if user not in people:
        raise ValueError(f"There is no person '{user}' in {log}.")
    row = people.index(user)
    return catalog.to_ids(sequences.items[sequences.starts[row] : sequences.stops[row]])


def _show(items: dict[str, dict[str, Any]], answer: list[tuple[str, float]], json: bool, about: dict[str, Any]) -> None:
    titles = [str(items.get(item, {}).get("title", "")) for item, _ in answer]
    if json:
        rows = [{"item_id": i, "score": s, "title": t} for (i, s), t in zip(answer, titles, strict=True)]
        print_json({**about, "items": rows})
        return
    ranked = enumerate(zip(answer, titles, strict=True), start=1)
    table(None, ["#", "item", "title", "score"], [[str(n), i, t, f"{s:.3f}"] for n, ((i, s), t) in ranked], left=3)
    if len(answer) == 0:
        out.print("Nothing is left to recommend.")
