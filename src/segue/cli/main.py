"""The segue command: one sentence and exit code 2 for what a user can mend, 130 for Ctrl-C."""

import os
import sys
from collections.abc import Callable
from importlib import metadata
from typing import Annotated, NoReturn

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

app = typer.Typer(
    name="segue",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
COMMANDS: tuple[tuple[Callable[..., None], str], ...] = (
    (quickstart.quickstart, "The bundled log, end to end."),
    (profile.profile, "What is in a log, and what is odd about it."),
    (trend.trend, "What is wanted more and more."),
    (compare.compare, "Models side by side, with intervals."),
    (plan.plan, "What a training would take."),
    (train.train, "Train, judge and save one model."),
    (train_ranker.train_ranker, "A click model that orders candidates."),
    (pipeline.pipeline, "Several models blended into one list."),
    (update.update, "New events into a saved model."),
    (add_items.add_items, "New items into a saved model, by their features."),
    (recommend.recommend, "What comes next after a history."),
    (recommend.similar, "What goes with one item."),
    (pipeline.rank, "How likely each of some items is next."),
    (serve.serve, "A saved model over HTTP."),
    (demo.demo, "A small shop in the browser."),
    (registry.promote, "A version of a model to work."),
    (registry.rollback, "The last change taken back."),
    (registry.models, "The versions there are."),
    (report.report, "What came of recommendations."),
    (transfer.export, "A server's events into a file."),
)
for command, said in COMMANDS:
    app.command(short_help=said)(command)
app.command("import", short_help="A log's events into a server's data.")(transfer.import_events)


@app.callback(invoke_without_command=True)
def about(
    version: Annotated[
        bool, typer.Option("--version", help="Show which version this is, and end.", is_eager=True)
    ] = False,
) -> None:
    """Turns a log of who did what and when into live recommendations of what each person will want next."""
    if version:
        typer.echo(f"segue {metadata.version('segue')}")
        raise typer.Exit


REFUSED = 2
"""The exit code of what a user can mend."""
STOPPED = 130
"""The exit code of Ctrl-C."""
EXTRAS = {
    **dict.fromkeys(("torch", "onnx", "onnxscript"), "train"),
    **dict.fromkeys(("uvicorn", "httptools", "starlette", "apsw", "onnxruntime", "prometheus_client"), "serve"),
    "statsmodels": "trend",
    "lightgbm": "gbdt",
    "faiss": "ann",
}
"""Where a module that may be missing comes from; any other missing module is our own mistake."""


def main() -> None:
    """What the installed command runs. With SEGUE_TRACEBACK set, a refusal also shows where it arose."""
    try:
        app()
    except SystemExit as done:
        if done.code == STOPPED:
            sys.stderr.write("Stopped.\n")
        raise
    except KeyboardInterrupt:
        sys.stderr.write("Stopped.\n")
        sys.exit(STOPPED)
    except ModuleNotFoundError as error:
        name = (error.name or "").partition(".")[0]
        if name not in EXTRAS:
            raise
        _refuse(error, f"This needs {name}, which is not installed: pip install 'segue[{EXTRAS[name]}]'.")
    except ValueError as error:
        _refuse(error, str(error))
    except OSError as error:
        if error.filename is None:
            raise
        _refuse(error, f"{error.filename}: {error.strerror}.")


def _refuse(error: Exception, sentence: str) -> NoReturn:
    sys.stderr.write(f"segue: {sentence}\n")
    if os.environ.get("SEGUE_TRACEBACK"):
        raise error
    sys.exit(REFUSED)


if __name__ == "__main__":
    main()
