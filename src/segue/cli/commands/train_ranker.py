"""Command ``segue train-ranker``: a click model that orders candidates, by itself or behind a pipeline."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segue.cli import options as o
from segue.cli.early_checks import Replace, check_inputs, check_out, check_protocol, check_ranker
from segue.cli.output import err, out, print_json, progress, table
from segue.cli.tables import open_items

if TYPE_CHECKING:
    from segue.workflows.train_ranker import RankerReport


def train_ranker(
    log: o.Log,
    *,
    model: Annotated[str, typer.Option(help="pooled, din, dien or dual-gru.")] = "dual-gru",
    out_folder: Annotated[Path, typer.Option("--out", help="The folder to write the ranker to.")] = Path("ranker"),
    replace: Replace = False,
    items: o.ItemTitles = None,
    protocol: o.Protocol = "time",
    seed: o.Seed = 0,
    sets: o.Sets = None,
    reading: o.LogOptions,
    json: o.Json = False,
) -> None:
    """Train a model of the click probability of candidates, evaluate it, and save it.

    Each positive is the next event of a history. Negatives are items sampled by popularity and items retrieved by the
    co-visitation model. Validation stops and calibrates the training; the log's last part is the test. The weights are
    fitted on events before validation; the item histories reach the log's end, and a server continues them. Name the
    folder as rank.model in a pipeline's settings. Or name the model there: then the pipeline trains it.

    \b
    Examples:
      segue train-ranker shop.csv --model dual-gru --out ranker
      segue train-ranker shop.csv --model din --set epochs=4 --set max_positives=40000
      segue rank ranker --history 85123A,71053 --items 22423,47566
    """
    from segue.config.decode import parse_assignments
    from segue.workflows.train_ranker import train_ranker

    settings = parse_assignments(sets or [])
    check_out(out_folder, replace=replace)
    check_protocol(protocol)
    check_ranker(model, settings)
    check_inputs(items)
    events = reading.read(log)
    table_of_items = None if items is None else open_items(items, events, allow_loss=reading.allow_loss)
    with progress() as report:
        trained = train_ranker(
            events,
            model,
            settings,
            protocol=protocol,
            seed=seed,
            report=lambda step: report(step, None),
        )
    version = trained.to_artifact(table_of_items).save(out_folder)
    if json:
        print_json({**trained.to_dict(), "out": str(out_folder), "version": version})
        return
    _show(trained)
    out.print(f'\nSaved to {out_folder} (version {version}). Next: rank.model = "{out_folder}"', markup=False)


def _show(trained: "RankerReport") -> None:
    """Print the metrics, and predicted beside observed click rates."""
    report = trained.to_dict()
    rows: list[list[str]] = []
    for part in ("validation", "test"):
        metrics: dict[str, Any] = report[part]
        rows.append([part, *[f"{metrics[name]:.4f}" for name in ("auc", "logloss", "ece", "ece_uncalibrated")]])
    table(None, [report["model"], "AUC", "logloss", "ECE", "ECE before calibration"], rows)
    out.print()
    curve = [[f"{mean:.3f}", f"{share:.3f}"] for mean, share in report["reliability"]]
    table("Predicted and observed click rates of the test cases", ["predicted", "observed"], curve, left=0)
    err.print(f"Protocol: {report['protocol']}. Test cases: {report['test_cases']:,}.", markup=False)
