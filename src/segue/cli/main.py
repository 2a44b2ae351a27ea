"""The segue command: one sentence and exit code 2 for what a user can mend, 130 for Ctrl-C."""

import sys

import typer

from segue.cli import compare, profile, quickstart, recommend, serve, train

app = typer.Typer(
    name="segue",
    help="Turns a log of who did what and when into live recommendations of what each person will want next.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command()(quickstart.quickstart)
app.command()(profile.profile)
app.command()(compare.compare)
app.command()(train.train)
app.command()(recommend.recommend)
app.command()(recommend.similar)
app.command()(serve.serve)


STOPPED = 130
"""The exit code of Ctrl-C."""


def main() -> None:
    """What the installed command runs."""
    try:
        code = app(standalone_mode=False)
        if code == STOPPED:
            sys.stderr.write("Stopped.\n")
        sys.exit(code if isinstance(code, int) else 0)
    except typer.Exit as done:
        sys.exit(done.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        sys.stderr.write("Stopped.\n")
        sys.exit(STOPPED)
    except (ValueError, ImportError) as error:
        sys.stderr.write(f"segue: {error}\n")
        sys.exit(2)
    except Exception as error:
        if type(error).__module__.startswith("click") or type(error).__module__.startswith("typer"):
            error.show() if callable(vars(type(error)).get("show")) else sys.stderr.write(f"segue: {error}\n")  # type: ignore[attr-defined]
            sys.exit(2)
        raise


if __name__ == "__main__":
    main()
