"""segue train: one model, judged and then put to work; a crash or Ctrl-C costs seconds of it."""

import json as jsonlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segue.cli import options as o
from segue.cli.output import err, leaderboard, out, print_json, progress
from segue.system import atomic_files
from segue.system.threads import is_distributed_launch

if TYPE_CHECKING:
    from segue.data.event_log import EventLog
    from segue.data.item_table import ItemTable
    from segue.training.distributed import ProcessGroup

JOB = "job.json"
"""What a training was asked to do, beside its states."""


def train(
    log: Annotated[Path | None, typer.Argument(help="The event log; not needed with --resume.")] = None,
    model: Annotated[
        str | None, typer.Option(help="A model's name, as gru4rec (which is taken where none is named) or covisit.")
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="Published settings by name, as esasrec; --set changes single ones.")
    ] = None,
    out_folder: Annotated[Path, typer.Option("--out", help="The folder to write the model to.")] = Path("run"),
    items: Annotated[Path | None, typer.Option(help="An items table: item_id and columns such as title.")] = None,
    features: o.Features = None,
    users: o.Users = None,
    context: o.Context = None,
    protocol: o.Protocol = "time",
    refit: Annotated[
        bool, typer.Option("--refit/--no-refit", help="After judging, train once more on every event.")
    ] = True,
    seed: Annotated[int, typer.Option(help="Equal seeds give equal models.")] = 0,
    device: Annotated[str, typer.Option(help="Where a network is trained: cpu, cuda, or auto.")] = "auto",
    resume: Annotated[
        Path | None, typer.Option(help="Go on with the training that was to write this folder, where it stopped.")
    ] = None,
    log_dir: Annotated[
        Path | None, typer.Option(help="Write a network's curves here, to be watched in TensorBoard.")
    ] = None,
    erased: o.Erased = None,
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
    """Train a model, judge it on the log's last part, train it once more on everything, and save it.

    The numbers printed and saved are those of the judged run; the saved model has also learned from the events that
    judged it (--no-refit keeps them out). Ctrl-C saves; --resume goes on to the same bits, also after a crash.

    \b
    Examples:
      segue train shop.csv --model gru4rec --out run --items products.csv
      segue train shop.csv --items products.csv --features category,price,title --out run
      segue train shop.csv --users people.csv --context region,device --out run
      segue train shop.csv --model covisit --set decay=0.7 --out run
      segue train shop.csv --model sasrec --out run --log-dir curves
      segue train ratings.csv --recipe esasrec --set epochs=20 --out run
      segue train --resume run
      torchrun --nproc-per-node 2 -m segue train shop.csv --model sasrec
    """
    if resume is not None:
        job = _remembered(resume)
    elif log is None:
        raise ValueError("Name the log to train on, or --resume a training that was stopped.")
    else:
        job = {
            "log": str(log.resolve()),
            **_of_recipe(recipe, model),
            "out": str(out_folder.resolve()),
            "items": None if items is None else str(items.resolve()),
            "features": features,
            "users": None if users is None else str(users.resolve()),
            "context": context,
            "train": {"protocol": protocol, "refit": refit, "seed": seed, "device": device},
            "log_dir": None if log_dir is None else str(log_dir.resolve()),
            "erased": None if erased is None else str(erased.resolve()),
            "sets": sets or [],
            "read": {"format": format, "columns": column, "where": where, "trim": trim, "time_unit": time_unit}
            | {"time_format": time_format, "strict": strict},
        }
        if not is_distributed_launch():
            _forget(Path(job["out"]))
    if not is_distributed_launch():
        return _run(job, rejected, json)
    from segue.training.distributed import process_group

    with process_group() as team:
        if team.is_main and resume is None:
            _forget(Path(job["out"]))
        team.barrier()
        _run(job, rejected, json, team) if team.is_main else _follow(job, team)


def _follow(job: dict[str, Any], team: "ProcessGroup") -> None:
    """The share of a process that does not lead: it reads and trains, and is silent."""
    from segue.workflows.job import TrainJob
    from segue.workflows.train_model import train_as_worker

    values = _asked(job)
    read, _ = _read(job, values, quiet=True)
    train_as_worker(
        read, job["model"], values, TrainJob(folder=_work_folder(Path(job["out"])), process_group=team, **job["train"])
    )


def _asked(job: dict[str, Any]) -> dict[str, Any]:
    """The model's settings: the recipe's, and over them what was named on the command line."""
    sets = o.parse_settings(job["sets"], [job["model"]])
    values = o.with_features(sets, job["features"], job["items"], job["context"])
    return {**job["recipe"], **values[job["model"]]}


def _read(job: dict[str, Any], values: dict[str, Any], **how: Any) -> "tuple[EventLog, ItemTable | None]":
    """The log without whoever was erased (a job of an older version of Segue erases nobody), with what the model
    learns from besides events; and the items table."""
    from segue.data.readers.items import read_items

    erased = job.get("erased")
    read = o.open_log(Path(job["log"]), **how, **job["read"])
    read = o.without_erased(read, None if erased is None else Path(erased))
    table = None if job["items"] is None else read_items(job["items"])
    learned = table if values.get("features") else None
    return o.with_tables(read, learned, job["users"], values.get("contexts")), table


def _run(job: dict[str, Any], rejected: Path | None, json: bool, team: "ProcessGroup | None" = None) -> None:
    """Trains as a job says, keeping it and its states beside the model's folder until the model is saved."""
    from segue.workflows.job import TrainJob
    from segue.workflows.train_model import train_model as run

    target, values = Path(job["out"]), _asked(job)
    read, table = _read(job, values, rejected=rejected)
    folder = _work_folder(target)
    atomic_files.write(folder / JOB, [jsonlib.dumps(job, indent=1).encode()])
    curves = None if job["log_dir"] is None else Path(job["log_dir"])
    whole = TrainJob(items=table, folder=folder, process_group=team, log_dir=curves, **job["train"])
    try:
        with progress() as told:
            result, version = run(read, job["model"], target, values, whole, told)
    except KeyboardInterrupt:
        if _learned(folder):
            err.print(f"What was learned is kept. Go on with: segue train --resume {target}", markup=False)
        else:
            shutil.rmtree(folder)
        raise
    except ValueError:
        shutil.rmtree(folder) if not _learned(folder) else None
        raise
    (folder / JOB).unlink()  # first: without it there is nothing to resume, whatever else is still there
    shutil.rmtree(folder)
    if json:
        print_json({**result.to_dict(), "out": str(target), "version": version})
        return
    leaderboard([result], "ndcg@10")
    what = "trained on every event" if job["train"]["refit"] else "as judged"
    out.print(f"\nSaved to {target} (version {version}), {what}. Next: segue serve {target}", markup=False)


def _of_recipe(recipe: str | None, model: str | None) -> dict[str, Any]:
    """The model that is meant, and the settings that a recipe gives it."""
    from segue.models.recipes import find_recipe
    from segue.models.zoo import canonical_name

    if recipe is None:
        return {"model": model or "gru4rec", "recipe": {}}
    found = find_recipe(recipe)
    if model is not None and canonical_name(model) != found.model:
        raise ValueError(f"The recipe '{recipe}' is for {found.model}, not for {model}: leave --model out.")
    return {"model": found.model, "recipe": dict(found.settings)}


def _work_folder(target: Path) -> Path:
    return target.with_name(target.name + "-training")


def _learned(folder: Path) -> bool:
    """Whether a training left a state; between two renames the one before is the only one."""
    return any(path.suffix in (".checkpoint", ".before") for path in folder.rglob("*"))


def _forget(target: Path) -> None:
    """A new training into the same folder starts anew; what an older, stopped one left is cleared away."""
    if _work_folder(target).exists():
        err.print(f"An unfinished training of {target} is thrown away; --resume would have gone on.", markup=False)
        shutil.rmtree(_work_folder(target))


def _remembered(target: Path) -> dict[str, Any]:
    path = _work_folder(target.resolve()) / JOB
    if not path.exists():
        raise ValueError(f"There is no unfinished training of {target}: it has ended, or never began.")
    job: dict[str, Any] = jsonlib.loads(path.read_text(encoding="utf-8"))
    return job
