"""Command ``segue compare``: a leaderboard of models and pipelines on one log."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segue.cli import options as o
from segue.cli.early_checks import check_inputs, check_pipeline
from segue.cli.output import leaderboard, print_json, progress
from segue.cli.setting_options import parse_lengths, parse_names, parse_settings, parse_side_data, with_features
from segue.cli.tables import open_items
from segue.data.splits.split import check_protocol_name

if TYPE_CHECKING:
    from segue.pipeline.config import PipelineConfig


def compare(
    log: o.Log,
    *,
    models: Annotated[
        str, typer.Option(help="Model names and files of pipelines (.toml), comma-separated.")
    ] = "popularity,markov,covisit,gru4rec",
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
    """Train and evaluate models and pipelines on one split, and print a leaderboard with confidence intervals.

    Every model ranks the whole catalog; with --items it also holds items without events. Epochs and weights are
    chosen on validation. Of a pipeline its sources, blend and rank count; the rules of placements do not.

    \b
    Examples:
      segue compare shop.csv --models covisit,gru4rec
      segue compare shop.csv --items products.csv --features category,title --models covisit,sasrec
      segue compare shop.csv --items products.csv --models covisit,shop.toml
      segue compare beauty.txt --format sequences --protocol leave-last-out --models popularity,markov,covisit
      segue compare train.tsv --test test.tsv --protocol fixed --ties conservative --set gru4rec.epochs=5
    """
    from segue.workflows.compare_models import compare as compare_models
    from segue.workflows.comparison.model_result import CompareOptions
    from segue.workflows.fit_model import check_model

    names = parse_names(models)
    if not names:
        raise ValueError("--models names no model: write for example --models covisit,gru4rec.")
    configs, settings = _read_settings(names, sets, side)
    ks = parse_lengths(k)
    options = CompareOptions(seeds=seeds, ks=ks, ties=ties, refit=refit)  # type: ignore[arg-type]
    for name in names:
        check_pipeline(configs[name]) if name in configs else check_model(name, settings[name])
    check_protocol_name(splitting.protocol)
    if splitting.protocol.strip().lower() == "fixed" and splitting.test is None:
        raise ValueError("--protocol fixed needs a test log: name it with --test.")
    check_inputs(side.items, side.users, splitting.test)
    reading = _with_log_table(reading, list(configs))
    contexts = _contexts(side.context, configs)
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


def _read_settings(
    names: list[str], sets: list[str] | None, side: o.SideOptions
) -> "tuple[dict[str, PipelineConfig], dict[str, dict[str, Any]]]":
    """Return the pipelines among the names, and the settings of every name, with features and contexts of networks."""
    from segue.models.zoo import is_neural
    from segue.pipeline.config import read_pipeline
    from segue.workflows.compare_models import is_pipeline_file
    from segue.workflows.pipelines.fit_sources import is_neural_source, with_side_data

    files = [name for name in names if is_pipeline_file(name)]
    models = [name for name in names if name not in files]
    check_inputs(*files)
    if sets and not models:
        raise ValueError("--set changes models, and --models names none: settings of a pipeline stand in its file.")
    configs = {name: read_pipeline(Path(name)) for name in files}
    given = parse_side_data(side.features, side.items, side.context)
    takers = [name for name, config in configs.items() if any(map(is_neural_source, config.source))] if given else []
    if not models and not takers:
        takers = list(configs)  # refused with the names of their sources
    settings = parse_settings(sets, models)
    if not takers or any(is_neural(name) for name in models):
        settings = with_features(settings, side.features, side.items, side.context)
    settings |= {name: dict(given) for name in takers if given}
    return {name: with_side_data(config, settings.get(name, {})) for name, config in configs.items()}, settings


def _with_log_table(reading: o.LogOptions, files: list[str]) -> o.LogOptions:
    """Return the options of the log with the table [log] of the pipelines' files, which must agree."""
    from segue.data.readers.log_options import read_log_config

    described = [Path(name) for name in files if reading.with_table_of(Path(name)) != reading]
    for other in described[1:]:
        if read_log_config(other) != read_log_config(described[0]):
            raise ValueError(f"{described[0]} and {other} read the log in two ways in [log]: give --log-config.")
    return reading.with_table_of(described[0]) if described else reading


def _contexts(option: str | None, configs: "dict[str, PipelineConfig]") -> list[str] | None:
    """Return the context columns of the option and of the pipelines' networks; None without any."""
    from segue.workflows.pipelines.fit_sources import context_names

    names = parse_names(option or "") + [name for config in configs.values() for name in context_names(config)]
    return list(dict.fromkeys(names)) or None
