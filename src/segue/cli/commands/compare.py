"""segue compare: models side by side on one log."""

from typing import Annotated

import typer

from segue.cli import options as o
from segue.cli.output import leaderboard, print_json, progress


def compare(
    log: o.Log,
    models: Annotated[str, typer.Option(help="Model names, comma-separated.")] = "popularity,markov,covisit,gru4rec",
    items: o.Items = None,
    features: o.Features = None,
    users: o.Users = None,
    context: o.Context = None,
    protocol: o.Protocol = "time",
    test: o.Test = None,
    test_format: o.TestFormat = "auto",
    unknown: o.Unknown = "drop",
    seeds: Annotated[int, typer.Option(help="Train each network with this many seeds.")] = 1,
    k: o.K = "5,10,20",
    ties: o.Ties = "half",
    refit: Annotated[
        bool | None, typer.Option("--refit/--no-refit", help="Train on validation events too before the test.")
    ] = None,
    sets: o.Sets = None,
    format: o.Format = "auto",
    column: o.Columns = None,
    where: o.Where = None,
    trim: o.Trims = None,
    time_unit: o.TimeUnit = "auto",
    time_format: o.TimeFormat = None,
    strict: o.Strict = False,
    rejected: o.Rejected = None,
    json: o.Json = False,
) -> None:
    """Train and evaluate models side by side, and print a leaderboard with confidence intervals.

    Every model ranks the whole catalog; with --items, items that nobody has taken yet are in it too. What a training
    chooses it chooses on validation.

    \b
    Examples:
      segue compare shop.csv --models covisit,gru4rec
      segue compare shop.csv --items products.csv --features category,title --models covisit,sasrec
      segue compare beauty.txt --format sequences --protocol leave-last-out --models popularity,markov,covisit
      segue compare train.tsv --test test.tsv --protocol fixed --ties conservative --set gru4rec.epochs=5
    """
    from segue.data.readers.items import read_items
    from segue.workflows.compare_models import CompareOptions
    from segue.workflows.compare_models import compare as run

    names = [name.strip() for name in models.split(",") if name.strip()]
    values = o.with_features(o.parse_settings(sets, names), features, items, context)
    ks = o.parse_lengths(k)
    options = CompareOptions(seeds=seeds, ks=ks, ties=ties, refit=refit)  # type: ignore[arg-type]
    read = o.open_log(
        log,
        format=format,
        columns=column,
        where=where,
        trim=trim,
        time_unit=time_unit,
        time_format=time_format,
        strict=strict,
        rejected=rejected,
    )
    table = None if items is None else read_items(items)
    read = o.with_tables(read, table, users, o.parse_names(context) if context is not None else None)
    split = o.split_from_options(read, protocol, test, test_format, unknown)
    with progress() as told:
        results = run(split, names, values, options, told)
    if json:
        print_json([result.to_dict() for result in results])
    else:
        leaderboard(results, f"ndcg@{10 if 10 in ks else ks[0]}")
