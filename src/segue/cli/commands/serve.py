"""Command ``segue serve``: a saved model over HTTP."""

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segue.cli import options as o
from segue.cli.setting_options import parse_names

if TYPE_CHECKING:
    from segue.serving.config import AttributionConfig, ServingConfig


class Acknowledgment(StrEnum):
    """Values of ``segue.serving.schemas.requests.Durability``, whose module needs the extra 'serve'."""

    fsync = "fsync"
    memory = "memory"


@dataclass(frozen=True)
class ServerOptions:
    """Limits, processes and logs of a server."""

    rate: Annotated[float | None, typer.Option(help="Maximum number of requests a second for each key.")] = None
    client_rate: Annotated[
        float | None, typer.Option(help="The same for each client with a key of a web page (ingest and serve only).")
    ] = None
    client_items: Annotated[
        float | None, typer.Option(help="Maximum number of items in lists an hour for each such client.")
    ] = None
    trusted_proxy: Annotated[
        list[str] | None,
        typer.Option(help="Address or network of a proxy whose X-Forwarded-For names the client. May be repeated."),
    ] = None
    approximate: Annotated[
        bool,
        typer.Option(
            "--approximate",
            help="Search large catalogs through an approximate index, where it finds 99 % of the exact top 20.",
        ),
    ] = False
    workers: Annotated[int, typer.Option(min=1, help="Number of processes that serve the one port.")] = 1
    grace: Annotated[float, typer.Option(help="Seconds from SIGTERM or Ctrl-C to the end of all processes.")] = 15.0
    min_free_mb: Annotated[
        int, typer.Option(help="Space of the disk that events leave free, in MB, at most a twentieth of the disk.")
    ] = 200
    max_log_mb: Annotated[int | None, typer.Option(help="Largest size of the event log, in MB.")] = None
    origin: Annotated[
        list[str] | None,
        typer.Option(help="A web site whose pages may send requests, as https://shop.example. May be repeated."),
    ] = None
    json_logs: Annotated[bool, typer.Option("--json-logs", help="Log lines as JSON.")] = False
    log_requests: Annotated[bool, typer.Option("--log-requests", help="A log line for each request.")] = False
    purchase_event: Annotated[
        list[str] | None,
        typer.Option(
            help="An event type that counts as a purchase, in place of purchase, order, 购买, 下单 ... Repeatable."
        ),
    ] = None
    history_events: Annotated[
        str | None,
        typer.Option(
            help="Event types that enter histories, comma-separated: click,purchase; all: every type. By default those "
            "that the log of the model's training kept (--events, --where)."
        ),
    ] = None
    measure: Annotated[bool, typer.Option("--measure/--no-measure", help="Record impressions, for 'segue report'.")] = (
        True
    )
    durability: Annotated[
        Acknowledgment,
        typer.Option(
            help="Default durability of an acknowledged event: fsync, on disk; memory, in the operating system's "
            "memory and on disk within a second."
        ),
    ] = Acknowledgment.fsync

    def config(self) -> "ServingConfig":
        """Return the settings of the server."""
        from segue.serving import config

        types = None if self.history_events is None else tuple(parse_names(self.history_events))
        limits = self.rate, self.client_rate, self.client_items
        return config.ServingConfig(
            access=config.AccessConfig(*limits, tuple(self.trusted_proxy or ()), tuple(self.origin or ())),
            logs=config.LoggingConfig(self.json_logs, self.log_requests),
            attribution=self._attribution() if self.measure else None,
            approximate=self.approximate,
            workers=self.workers,
            storage=config.StorageConfig(min_free_mb=self.min_free_mb, max_log_mb=self.max_log_mb),
            grace_s=self.grace,
            engine=config.EngineConfig(
                sessions=config.SessionsConfig(history_events=types), durability=self.durability.value
            ),
        )

    def _attribution(self) -> "AttributionConfig":
        from segue.serving.config import AttributionConfig

        if not self.purchase_event:
            return AttributionConfig()
        return AttributionConfig(purchase_events=tuple(self.purchase_event))


def serve(
    run: o.Run,
    *,
    data: Annotated[
        Path | None, typer.Option("--data", help="Folder of the events; by default RUN-data beside RUN.")
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; one beyond this machine needs SEGUE_API_KEY.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0: any free one.")] = 8000,
    history: Annotated[
        Path | None, typer.Option(help="A log to import first, so that its users have histories.")
    ] = None,
    reading: o.LogOptions,
    users: Annotated[Path | None, typer.Option(help="A users table: user_id and columns such as region.")] = None,
    context: Annotated[
        str | None, typer.Option(help="Columns of --history or --users as context of its events: region,device.")
    ] = None,
    server: ServerOptions,
) -> None:
    """Serve a model over HTTP: events in, recommendations out, each event changing the next response.

    --history is read as the log of the training was, unless options state otherwise.

    Events are kept in an append-only store and survive a crash. RUN may be a registry ('segue promote'). A version
    saved or promoted there later is deployed within a second. The description of all routes is at /openapi.json.

    \b
    Examples:
      segue serve run --port 8000
      segue serve run --history shop.csv
      segue serve run --history shop.csv --context region,device
    """
    from segue.serving.exit_codes import exit_code_of, sentence_of
    from segue.serving.server import serve as serve_model

    reading.refuse_without("--history", history)
    folder = data or run.with_name(run.name + "-data")
    config = server.config()
    if history is not None:
        arguments = ["--run", str(run), *reading.to_arguments()]
        arguments += ["--users", str(users)] if users is not None else []
        arguments += ["--context", context] if context is not None else []
        _import(history, folder, arguments)
    try:
        serve_model(run, data_dir=folder, host=host, port=port, config=config)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"segue: {sentence_of(error)}\n")
        raise typer.Exit(exit_code_of(error)) from error


_IMPORT = """
import sys
from segue.system.processes import end_with_parent
end_with_parent(int(sys.argv.pop(1)))
from segue.cli.main import main
main()
"""


def _import(log: Path, folder: Path, arguments: list[str]) -> None:
    """Import a log in a process of its own: the memory of reading is not kept while the server runs.

    A signal ends both processes.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    command = [sys.executable, "-c", _IMPORT, str(os.getpid()), "import", str(log), "--data", str(folder)]
    done = subprocess.run([*command, *arguments], check=False)
    if done.returncode:
        raise typer.Exit(done.returncode)
