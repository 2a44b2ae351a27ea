"""Command ``segue compare``: a leaderboard of models on one log."""

from typing import Annotated

import typer

from segue.cli import options as o
from segue.cli.early_checks import check_inputs
from segue.cli.output import leaderboard, print_json, progress
from segue.cli.setting_options import parse_lengths, parse_names, parse_settings, with_features
from segue.cli.tables import open_items
from segue.data.splits.split import check_protocol_name


def compare(
    log: o.Log,
    *,
    models: Annotated[str, typer.Option(help="Model names, comma-separated.")] = "popularity,markov,covisit,gru4rec",
    side: o.SideOptions,
    splitting: o.SplitOptions,
    seeds: Annotated[int, typer.Option(help="Number of seeds of each neural model.")] = 1,
    k: o.K = "5,10,20",
    ties: o.Ties = "expected",
    refit: Annotated[
        bool | None, typer.Option("--refit/--no-refit", help="Train on validation events too before the test.")
    ] = None,
    sets: o.Sets = None,
    reading: o.LogOptions,
    json: o.Json = False,
) -> None:
    """Train and evaluate models on one split, and print a leaderboard with confidence intervals.

    Every model ranks the whole catalog; with --items it also holds items without events. Epochs and weights are
    chosen on validation.

    \b
    Examples:
      segue compare shop.csv --models covisit,gru4rec
      segue compare shop.csv --items products.csv --features category,title --models covisit,sasrec
      segue compare beauty.txt --format sequences --protocol leave-last-out --models popularity,markov,covisit
      segue compare train.tsv --test test.tsv --protocol fixed --ties conservative --set gru4rec.epochs=5
    """
    from segue.workflows.compare_models import CompareOptions
    from segue.workflows.compare_models import compare as compare_models
    from segue.workflows.fit_model import check_model

    names = parse_names(models)
    if not names:
        raise ValueError("--models names no model: write for example --models covisit,gru4rec.")
    settings = with_features(parse_settings(sets, names), side.features, side.items, side.context)
    ks = parse_lengths(k)
    options = CompareOptions(seeds=seeds, ks=ks, ties=ties, refit=refit)  # type: ignore[arg-type]
    for name in names:
        check_model(name, settings[name])
    check_protocol_name(splitting.protocol)
    if splitting.protocol.strip().lower() == "fixed" and splitting.test is None:
        raise ValueError("--protocol fixed needs a test log: name it with --test.")
    check_inputs(side.items, side.users, splitting.test)
    contexts = None if side.context is None else parse_names(side.context)
    events = reading.read(log)
    table = None if side.items is None else open_items(side.items, events, allow_loss=reading.allow_loss)
    events = o.with_tables(events, table, side.users, contexts, allow_loss=reading.allow_loss)
    split = splitting.split(events, reading, side.users)
    with progress() as report:
        results = compare_models(split, names, settings, options, report)
    if json:
        print_json([result.to_dict() for result in results])
    else:
        leaderboard(results, f"ndcg@{10 if 10 in ks else ks[0]}")
