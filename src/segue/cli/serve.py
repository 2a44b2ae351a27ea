"""segue serve: a saved model over HTTP."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from segue.cli import options as o


class Acknowledged(StrEnum):
    """As ``segue.serving.schema.Durability``, whose module needs what only serving installs."""

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
    durability: Annotated[
        Acknowledged,
        typer.Option(
            help="What is acknowledged where a request does not say: events that are forced to disk, or events that "
            "the operating system has, and forces there within a second."
        ),
    ] = Acknowledged.fsync,
) -> None:
    """Serve a model over HTTP: events in, recommendations out, each event changing the next answer.

    Events are kept in an append-only store and survive a crash. The document of all routes is at /openapi.json.

    \b
    Example:
      segue serve run --port 8000
    """
    from segue.serving.engine import EngineConfig
    from segue.serving.server import serve as listen

    listen(
        run,
        data_dir=data or run.with_name(run.name + "-data"),
        host=host,
        port=port,
        config=EngineConfig(durability=durability.value),
    )
