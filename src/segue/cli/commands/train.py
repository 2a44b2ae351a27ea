"""Command ``segue train``: train, evaluate and save one model; a crash or Ctrl-C costs seconds of the training."""

import dataclasses
import json as jsonlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segue.cli import options as o
from segue.cli.early_checks import Replace, check_inputs, check_out, check_protocol
from segue.cli.output import err, leaderboard, out, print_json, progress
from segue.cli.setting_options import parse_settings, with_features
from segue.cli.tables import open_items
from segue.system import atomic_files
from segue.system.extras import require_modules
from segue.system.staged_folder import lock_folder
from segue.system.threads import is_distributed_launch

if TYPE_CHECKING:
    from segue.data.event_log import EventLog
    from segue.data.item_table import ItemTable
    from segue.training.distributed import ProcessGroup

JOB = "job.json"
"""File of a training's arguments, beside its checkpoints."""


@dataclass(frozen=True)
class ModelOptions:
    """The model, its settings and the folder of the result."""

    model: Annotated[str | None, typer.Option(help="A model's name, as gru4rec (the default) or covisit.")] = None
    recipe: Annotated[
        str | None, typer.Option(help="Published settings by name, as esasrec; --set changes single ones.")
    ] = None
    out_folder: Annotated[Path, typer.Option("--out", help="The folder to write the model to.")] = Path("run")
    replace: Replace = False
    sets: o.Sets = None


@dataclass(frozen=True)
class RunOptions:
    """Continuation and curves of a training."""

    resume: Annotated[
        Path | None, typer.Option(help="Continue the stopped training of this folder from its checkpoint.")
    ] = None
    log_dir: Annotated[Path | None, typer.Option(help="Write a neural model's curves here, for TensorBoard.")] = None


def train(
    log: Annotated[Path | None, typer.Argument(help="The event log; not needed with --resume.")] = None,
    *,
    target: ModelOptions,
    side: o.SideOptions,
    training: o.TrainOptions,
    running: RunOptions,
    erased: o.Erased = None,
    reading: o.LogOptions,
    json: o.Json = False,
) -> None:
    """Train a model, evaluate it on the log's last part, train it once more on every event, and save it.

    The metrics printed and saved are those of the evaluated model; the saved model is trained on the test events too
    (--no-refit leaves them out). Ctrl-C saves a checkpoint; --resume ends with the same bits, also after a crash.

    \b
    Examples:
      segue train shop.csv --model gru4rec --out run --items products.csv
      segue train shop.csv --items products.csv --features category,price,title --out run
      segue train shop.csv --users users.csv --context region,device --out run
      segue train shop.csv --model covisit --set decay=0.7 --out run
      segue train shop.csv --model sasrec --out run --log-dir curves
      segue train ratings.csv --recipe esasrec --set epochs=20 --out run
      segue train --resume run
      torchrun --nproc-per-node 2 -m segue train shop.csv --model sasrec
    """
    if running.resume is not None:
        job = _load_job(running.resume)
    elif log is None:
        raise ValueError("Name the log to train on, or --resume a training that was stopped.")
    else:
        job = {
            "log": str(log.resolve()),
            **_model_and_recipe(target.recipe, target.model),
            "out": str(target.out_folder.resolve()),
            "items": _absolute(side.items),
            "features": side.features,
            "users": _absolute(side.users),
            "context": side.context,
            "train": dataclasses.asdict(training),
            "log_dir": _absolute(running.log_dir),
            "erased": _absolute(erased),
            "sets": target.sets or [],
            "read": reading.resolve(),
        }
    _check(job, replace=target.replace)
    if not is_distributed_launch():
        with _only_training(Path(job["out"]), resumed=running.resume is not None):
            return _run(job, reading.rejected, json)
    from segue.training.distributed import process_group

    with process_group() as group:
        if not group.is_main:
            group.barrier()
            return _run_as_worker(job, group)
        with _only_training(Path(job["out"]), resumed=running.resume is not None):
            group.barrier()
            _run(job, reading.rejected, json, group)


def _check(job: dict[str, Any], *, replace: bool) -> None:
    """Refuse an option that could only fail later, before anything is read."""
    from segue.workflows.fit_model import check_model

    check_out(Path(job["out"]), replace=replace)
    check_protocol(job["train"]["protocol"])
    check_model(job["model"], _settings(job), job["train"]["device"])
    check_inputs(job["items"], job["users"], job.get("erased"))
    if job["log_dir"] is not None:
        require_modules("A log for TensorBoard", "tensorboardX")


def _absolute(path: Path | None) -> str | None:
    return None if path is None else str(path.resolve())


def _run_as_worker(job: dict[str, Any], group: "ProcessGroup") -> None:
    """Run the trainings of a process that is not the main one: it prints and saves nothing."""
    from segue.workflows.job import TrainJob
    from segue.workflows.train_model import train_as_worker

    settings = _settings(job)
    events, _ = _read(job, settings, quiet=True)
    folder = _checkpoint_folder(Path(job["out"]))
    train_as_worker(events, job["model"], settings, TrainJob(folder=folder, process_group=group, **job["train"]))


def _settings(job: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of the recipe, replaced by those of the command line."""
    own = parse_settings(job["sets"], [job["model"]])
    settings = with_features(own, job["features"], job["items"], job["context"])
    return {**job["recipe"], **settings[job["model"]]}


def _read(job: dict[str, Any], settings: dict[str, Any], **options: Any) -> "tuple[EventLog, ItemTable | None]":
    """Read the log, without erased users and with its features and context, and the items table."""
    erased = job.get("erased")  # missing in the file of an older version
    events = o.open_log(Path(job["log"]), **options, **job["read"])
    events = o.without_erased(events, None if erased is None else Path(erased))
    quiet, allow_loss = bool(options.get("quiet")), bool(job["read"].get("allow_loss"))
    table = None if job["items"] is None else open_items(job["items"], events, allow_loss=allow_loss, quiet=quiet)
    features, contexts = table if settings.get("features") else None, settings.get("contexts")
    return o.with_tables(events, features, job["users"], contexts, allow_loss=allow_loss, quiet=quiet), table


def _run(job: dict[str, Any], rejected: Path | None, json: bool, group: "ProcessGroup | None" = None) -> None:
    """Train, with the job and its checkpoints beside the model's folder until the model is saved."""
    from segue.workflows.job import TrainJob
    from segue.workflows.train_model import train_model

    target, settings = Path(job["out"]), _settings(job)
    events, table = _read(job, settings, rejected=rejected)
    folder = _checkpoint_folder(target)
    atomic_files.write(folder / JOB, [jsonlib.dumps(job, indent=1).encode()])
    curves = None if job["log_dir"] is None else Path(job["log_dir"])
    train_job = TrainJob(items=table, folder=folder, process_group=group, log_dir=curves, **job["train"])
    try:
        with progress() as report:
            result, version = train_model(events, job["model"], target, settings, train_job, report)
    except KeyboardInterrupt:
        if _has_checkpoint(folder):
            err.print(f"The checkpoint is saved. Go on with: segue train --resume {target}", markup=False)
        else:
            shutil.rmtree(folder)
        raise
    except ValueError:
        shutil.rmtree(folder) if not _has_checkpoint(folder) else None
        raise
    (folder / JOB).unlink()  # first: without it nothing can be resumed, whatever else is still in the folder
    shutil.rmtree(folder)
    if json:
        print_json({**result.to_dict(), "out": str(target), "version": version})
        return
    if result.test_cases:
        leaderboard([result], "ndcg@10")
    else:
        err.print("Not evaluated: no event of the test has an earlier event of its user.")
    state = "trained on every event" if job["train"]["refit"] else "as evaluated"
    out.print(f"\nSaved to {target} (version {version}), {state}. Next: segue serve {target}", markup=False)


def _model_and_recipe(recipe: str | None, model: str | None) -> dict[str, Any]:
    """Return the model's name and the settings of its recipe."""
    from segue.models.recipes import find_recipe
    from segue.models.zoo import canonical_name

    if recipe is None:
        return {"model": model or "gru4rec", "recipe": {}}
    entry = find_recipe(recipe)
    if model is not None and canonical_name(model) != entry.model:
        raise ValueError(f"The recipe '{recipe}' is for {entry.model}, not for {model}: leave --model out.")
    return {"model": entry.model, "recipe": dict(entry.settings)}


def _checkpoint_folder(target: Path) -> Path:
    return target.with_name(target.name + "-training")


def _has_checkpoint(folder: Path) -> bool:
    """Return whether a training left a checkpoint; between two renames the previous one is the only one."""
    return any(path.suffix in (".checkpoint", ".before") for path in folder.rglob("*"))


@contextmanager
def _only_training(target: Path, *, resumed: bool) -> Iterator[None]:
    """Lock the folder of the checkpoints, and remove those of an older, stopped training unless it is resumed.

    Raises:
        ValueError: another process trains into the same folder.
    """
    folder, handle = _checkpoint_folder(target), None
    for _ in range(5):  # the other training may end, and remove its folder, in between
        atomic_files.make_folder(folder)
        if (handle := lock_folder(folder)) is not None:
            break
    if handle is None:
        raise ValueError(f"Another training into {target} is running: wait for its end, or choose another --out.")
    try:
        if not resumed and any(folder.iterdir()):
            err.print(f"An unfinished training of {target} is removed; --resume would have continued it.", markup=False)
            for path in folder.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        yield
    finally:
        with suppress(OSError):
            folder.rmdir()  # empty after an error before the first checkpoint
        os.close(handle)


def _load_job(target: Path) -> dict[str, Any]:
    path = _checkpoint_folder(target.resolve()) / JOB
    if not path.exists():
        raise ValueError(f"There is no unfinished training of {target}: it has ended, or never began.")
    job: dict[str, Any] = jsonlib.loads(path.read_text(encoding="utf-8"))
    return job
