"""segue train: one model, judged and then put to work."""

from pathlib import Path
from typing import Annotated

import typer

from segue.cli import options as o
from segue.cli.output import leaderboard, out, print_json, progress


def train(
    log: o.Log,
    model: Annotated[str, typer.Option(help="A model's name, as gru4rec or covisit.")] = "gru4rec",
    out_folder: Annotated[Path, typer.Option("--out", help="The folder to write the model to.")] = Path("run"),
    items: Annotated[Path | None, typer.Option(help="An items table: item_id and columns such as title.")] = None,
    protocol: o.Protocol = "time",
    refit: Annotated[
        bool, typer.Option("--refit/--no-refit", help="After judging, train once more on every event.")
    ] = True,
    seed: Annotated[int, typer.Option(help="Equal seeds give equal models.")] = 0,
    sets: o.Sets = None,
    format: o.Format = "auto",
    column: o.Columns = None,
    where: o.Where = None,
    time_unit: o.TimeUnit = "auto",
    time_format: o.TimeFormat = None,
    strict: o.Strict = False,
    rejected: o.Rejected = None,
    json: o.Json = False,
) -> None:
    """Train a model, judge it on the log's last part, train it once more on everything, and save it.

    The numbers printed and saved are those of the judged run; the saved model has also learned from the events that
    judged it (--no-refit keeps them out).

    Examples:
      segue train shop.csv --model gru4rec --out run --items products.csv
      segue train shop.csv --model covisit --set decay=0.7 --out run
    """
    from segue.data.items import read_items
    from segue.experiment import Job
    from segue.experiment import train as run

    values = o.values_of(sets, [model])[model]
    read = o.open_log(
        log,
        format=format,
        columns=column,
        where=where,
        time_unit=time_unit,
        time_format=time_format,
        strict=strict,
        rejected=rejected,
    )
    table = None if items is None else read_items(items)
    with progress(quiet=json) as told:
        job = Job(protocol=protocol, refit=refit, seed=seed, items=table)
        result, version = run(read, model, out_folder, values, job, told)
    if json:
        print_json({**result.to_dict(), "out": str(out_folder), "version": version})
        return
    leaderboard([result], "ndcg@10")
    what = "trained on every event" if refit else "as judged"
    out.print(f"\nSaved to {out_folder} (version {version}), {what}. Next: segue serve {out_folder}", markup=False)
