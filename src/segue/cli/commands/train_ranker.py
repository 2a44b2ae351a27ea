"""segue train-ranker: a model of click probability, judged and saved; a pipeline gives it the last word."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segue.cli import options as o
from segue.cli.output import err, out, print_json, progress, table

if TYPE_CHECKING:
    from segue.workflows.train_ranker import RankerReport


def train_ranker(
    log: o.Log,
    model: Annotated[str, typer.Option(help="pooled, din, dien or dual-gru.")] = "dual-gru",
    out_folder: Annotated[Path, typer.Option("--out", help="The folder to write the ranker to.")] = Path("ranker"),
    items: Annotated[Path | None, typer.Option(help="An items table: item_id and columns such as title.")] = None,
    protocol: o.Protocol = "time",
    seed: Annotated[int, typer.Option(help="Equal seeds give equal rankers.")] = 0,
    sets: o.Sets = None,
    format: o.Format = "auto",
    column: o.Columns = None,
    where: o.Where = None,
    trim: o.Trims = None,
    time_unit: o.TimeUnit = "auto",
    time_format: o.TimeFormat = None,
    json: o.Json = False,
) -> None:
    """Train a model that says how likely a person takes each of some candidates, judge it, and save it.

    It learns from what came next, against items drawn by popularity and items that the co-visit rule retrieves, stops
    and is calibrated by validation, and is judged on the log's last part, among such items too. What it learned ends
    before validation; what it knows of the items' latest events goes to the log's end, and on as a server stores more.
    Name the folder as rank.model in a pipeline's settings, or the model itself there: then it is trained on the way.

    \b
    Examples:
      segue train-ranker shop.csv --model dual-gru --out ranker
      segue train-ranker shop.csv --model din --set epochs=4 --set positives=40000
      segue rank ranker --history 85123A,71053 --items 22423,47566
    """
    from segue.config.decode import parse_assignments
    from segue.data.readers.items import read_items
    from segue.workflows.train_ranker import train_ranker

    read = o.open_log(
        log, format=format, columns=column, where=where, trim=trim, time_unit=time_unit, time_format=time_format
    )
    shown = None if items is None else read_items(items)
    with progress() as told:
        found = train_ranker(
            read, model, parse_assignments(sets or []), protocol=protocol, seed=seed, say=lambda what: told(what, None)
        )
    version = found.saved(shown).save(out_folder)
    if json:
        print_json({**found.to_dict(), "out": str(out_folder), "version": version})
        return
    _show(found)
    out.print(f'\nSaved to {out_folder} (version {version}). Next: rank.model = "{out_folder}"', markup=False)


def _show(found: "RankerReport") -> None:
    """The figures, and how what was said compares with what happened."""
    said = found.to_dict()
    rows: list[list[str]] = []
    for part in ("validation", "test"):
        figures: dict[str, Any] = said[part]
        rows.append([part, *[f"{figures[name]:.4f}" for name in ("auc", "logloss", "ece", "ece_uncalibrated")]])
    table(None, [said["model"], "AUC", "logloss", "ECE", "ECE before calibration"], rows)
    out.print()
    curve = [[f"{mean:.3f}", f"{share:.3f}"] for mean, share in said["reliability"]]
    table("Said and happened, on the test cases", ["said", "happened"], curve, left=0)
    err.print(f"Protocol: {said['protocol']}. Test cases: {said['test_cases']:,}.", markup=False)
