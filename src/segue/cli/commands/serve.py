"""segue serve: a saved model over HTTP."""

import subprocess
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from segue.cli import options as o


class Acknowledged(StrEnum):
    """As ``segue.serving.schemas.requests.Durability``, whose module needs what only serving installs."""

    fsync = "fsync"
    memory = "memory"


def serve(
    run: o.Run,
    data: Annotated[
        Path | None, typer.Option("--data", help="Where events are kept; by default the folder RUN-data beside RUN.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; one beyond this machine needs SEGUE_API_KEY.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(help="Port to listen on; 0: any free one.")] = 8000,
    history: Annotated[
        Path | None, typer.Option(help="A log whose events are stored first, so that its people are known.")
    ] = None,
    format: o.Format = "auto",
    column: o.Columns = None,
    users: o.Users = None,
    context: o.Context = None,
    rate: Annotated[float | None, typer.Option(help="At most so many requests a second for each key.")] = None,
    approximate: Annotated[
        bool,
        typer.Option(
            "--approximate", help="Search large catalogs through an index, where it finds 99 % of the true best 20."
        ),
    ] = False,
    workers: Annotated[int, typer.Option(min=1, help="Processes that answer on the one port.")] = 1,
    origin: Annotated[
        list[str] | None, typer.Option(help="A web site whose pages may ask, as https://shop.example. May be repeated.")
    ] = None,
    json_logs: Annotated[bool, typer.Option("--json-logs", help="Log lines as JSON.")] = False,
    log_requests: Annotated[bool, typer.Option("--log-requests", help="A log line for each request.")] = False,
    measure: Annotated[
        bool, typer.Option("--measure/--no-measure", help="Keep which lists were shown, for 'segue report'.")
    ] = True,
    durability: Annotated[
        Acknowledged,
        typer.Option(
            help="What is acknowledged where a request does not say: events that are forced to disk, or events that "
            "the operating system has, and forces there within a second."
        ),
    ] = Acknowledged.fsync,
) -> None:
    """Serve a model over HTTP: events in, recommendations out, each event changing the next answer.

    Events are kept in an append-only store and survive a crash. RUN may be a registry ('segue promote'). A version that
    is saved or promoted there later is at work a second after. The document of all routes is at /openapi.json.

    \b
    Examples:
      segue serve run --port 8000
      segue serve run --history shop.csv
      segue serve run --history shop.csv --context region,device
    """
    from segue.serving.config import EngineConfig, ServingConfig
    from segue.serving.server import serve as listen

    folder = data or run.with_name(run.name + "-data")
    config = ServingConfig(
        requests_per_s=rate,
        cors_origins=tuple(origin or ()),
        json_logs=json_logs,
        log_requests=log_requests,
        record_impressions=measure,
        approximate=approximate,
        workers=workers,
        engine=EngineConfig(durability=durability.value),
    )
    if history is not None:
        more = [part for one in column or [] for part in ("--column", one)]
        more += ["--users", str(users)] if users is not None else []
        more += ["--context", context] if context is not None else []
        _import(history, folder, ["--format", format, *more])
    listen(run, data_dir=folder, host=host, port=port, config=config)


def _import(log: Path, folder: Path, options: list[str]) -> None:
    """In a process of its own: what reading a log needs in memory is not kept while the server runs."""
    command = [sys.executable, "-m", "segue.cli.main", "import", str(log), "--data", str(folder)]
    done = subprocess.run([*command, *options], check=False)
    if done.returncode:
        raise typer.Exit(done.returncode)
