"""The ``segue`` command: one sentence and exit code 2 for an error of the user, 130 for Ctrl-C."""

import os
import re
import sys
import warnings
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Annotated, NoReturn, TextIO

import typer

from segue.cli.commands import (
    add_items,
    compare,
    demo,
    pipeline,
    plan,
    profile,
    quickstart,
    recommend,
    registry,
    report,
    serve,
    train,
    train_ranker,
    transfer,
    trend,
    update,
)
from segue.cli.language import Default, Language, translated, use_language, with_language
from segue.cli.options import expand_groups
from segue.cli.output import print_report
from segue.data.read_report import WARNING
from segue.system.extras import EXTRA_OF_MODULE

app = typer.Typer(
    name="segue",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
COMMANDS: tuple[tuple[Callable[..., None], str], ...] = (
    (quickstart.quickstart, "The bundled log from end to end."),
    (profile.profile, "Counts and warnings of a log."),
    (profile.clean, "Write a log as it is read to a file."),
    (trend.trend, "Items with rising demand."),
    (compare.compare, "A leaderboard of models, with intervals."),
    (plan.plan, "Time and memory of a training."),
    (train.train, "Train, evaluate and save one model."),
    (train_ranker.train_ranker, "Train a click model that orders candidates."),
    (pipeline.pipeline, "Blend several models into one list."),
    (update.update, "Train a saved model on new events."),
    (add_items.add_items, "Add new items to a saved model by their features."),
    (recommend.recommend, "Recommend the next items after a history."),
    (recommend.similar, "Recommend items after one item."),
    (pipeline.rank, "Probability of each of some items."),
    (serve.serve, "Serve a saved model over HTTP."),
    (demo.demo, "Show a small shop in the browser."),
    (registry.promote, "Deploy a version of a model."),
    (registry.rollback, "Deploy the previous version again."),
    (registry.models, "List the versions in a registry."),
    (registry.placements, "Rules of a running server's placements."),
    (report.report, "Clicks and purchases after recommendations."),
    (transfer.export, "Export a server's events to a file."),
    (transfer.backup, "Back up a server's data directory."),
)
for command, summary in COMMANDS:
    app.command(short_help=summary)(with_language(expand_groups(command)))
app.command("import", short_help="Import a log into a server's data.")(
    with_language(expand_groups(transfer.import_events))
)


@app.callback(invoke_without_command=True)
def about(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)] = False,
    language: Default = Language.en,
) -> None:
    """Sequential recommendation: train on an event log, serve recommendations that follow each new event."""
    use_language(language)
    if version:
        typer.echo(f"segue {metadata.version('segue')}")
        raise typer.Exit


REFUSED = 2
"""Exit code of an error that the user can correct."""
STOPPED = 130
"""Exit code of Ctrl-C."""
PACKAGE = Path(__file__).resolve().parents[1]
"""Folder of Segue's own modules."""
_shown_warnings: set[str] = set()


def main() -> None:
    """Run the command line. With SEGUE_TRACEBACK set, an error of the user also prints its traceback."""
    _shown_warnings.clear()
    warnings.showwarning = _show_warning
    try:
        app()
    except SystemExit as done:
        if done.code == STOPPED:
            sys.stderr.write("Stopped.\n")
        raise
    except KeyboardInterrupt:
        sys.stderr.write("Stopped.\n")
        sys.exit(STOPPED)
    except Exception as error:
        sentence = _sentence(error)
        if sentence is None:
            raise
        _refuse(error, sentence)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Print a warning of Segue as a sentence, once, and one of another library with its place."""
    if issubclass(category, UserWarning) and Path(filename).is_relative_to(PACKAGE):
        if str(message) not in _shown_warnings:
            _shown_warnings.add(str(message))
            print_report([f"{WARNING}{message}"])
    else:
        sys.stderr.write(warnings.formatwarning(message, category, filename, lineno, line))


def _sentence(error: Exception) -> str | None:
    """Return the message of an error that the user can correct; None for an error in segue itself."""
    if is_out_of_memory(error):
        return OUT_OF_MEMORY
    if isinstance(error, ModuleNotFoundError):
        name = (error.name or "").partition(".")[0]
        extra = EXTRA_OF_MODULE.get(name)
        return extra and f"This needs {name}, which is not installed: pip install 'segue[{extra}]'."
    if isinstance(error, ValueError):
        return str(error)
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}."
    return None


OUT_OF_MEMORY = (
    "The memory that this process may use does not suffice: leave out rare items, lower embedding_dim or batch_tokens, "
    "or raise the limit. 'segue plan' estimates the memory of a training."
)
_NO_MEMORY = re.compile(
    r"can't allocate memory|cannot allocate|not enough memory|out of memory|bad_alloc|map segment", re.I
)
"""Errors of torch, CUDA, onnxruntime and the dynamic loader without memory; none of them raises MemoryError."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return True if an error means that memory could not be allocated."""
    is_system = isinstance(error, (RuntimeError, ImportError, OSError))
    return isinstance(error, MemoryError) or (is_system and _NO_MEMORY.search(str(error)) is not None)


def _refuse(error: Exception, sentence: str) -> NoReturn:
    sys.stderr.write(f"segue: {translated(sentence)}\n")
    if os.environ.get("SEGUE_TRACEBACK"):
        raise error
    sys.exit(REFUSED)


if __name__ == "__main__":
    main()
