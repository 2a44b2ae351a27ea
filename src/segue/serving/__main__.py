"""``python -m segue.serving``: the server without the libraries of the command line and of training."""

import argparse
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from segue.serving.client.client import Client
from segue.serving.exit_codes import STOPPED, exit_code_of, sentence_of
from segue.serving.schemas.problems import Problem

if TYPE_CHECKING:
    from segue.serving.config import ServingConfig


def main(arguments: list[str] | None = None) -> int:
    """Serve a model, or with --ready check a server's readiness; return the exit code.

    Args:
        arguments: command line; None: that of the process.

    Returns:
        0 after a stopped server or for a ready one, 1 for a server that is not ready, those of
        ``segue.serving.exit_codes`` for an error in a sentence.
    """
    parser = argparse.ArgumentParser(prog="python -m segue.serving", description="Serve a model over HTTP.")
    parser.add_argument("run", nargs="?", type=Path, help="a model's folder, or a registry of models")
    parser.add_argument("--data", type=Path, help="data directory; by default RUN-data beside RUN")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--rate", type=float, help="requests per second and key")
    parser.add_argument("--client-rate", type=float, help="requests per second and client with a key of a web page")
    parser.add_argument("--client-items", type=float, help="items in lists per hour and client with such a key")
    parser.add_argument("--trusted-proxy", action="append", default=[], help="a proxy whose header names the client")
    parser.add_argument("--origin", action="append", default=[], help="a web site whose pages may send requests")
    parser.add_argument("--json-logs", action="store_true")
    parser.add_argument("--log-requests", action="store_true")
    parser.add_argument("--workers", type=int, default=1, help="processes that serve the port")
    parser.add_argument("--grace", type=float, help="seconds from SIGTERM to the end of all processes")
    parser.add_argument("--min-free-mb", type=int, default=200, help="space of the disk that events leave free")
    parser.add_argument("--max-log-mb", type=int, help="largest size of the event log")
    parser.add_argument("--history-events", help="event types that enter histories, comma-separated, or all")
    parser.add_argument("--ready", metavar="URL", help="check whether a server is ready, and end")
    options = parser.parse_args(arguments)
    if options.ready is not None:
        try:
            return 0 if ready(options.ready) else 1
        except ValueError as error:
            sys.stderr.write(f"segue: {error}\n")
            return exit_code_of(error)
    if options.run is None:
        parser.error("name the model's folder")
    from segue.serving.server import serve

    try:
        data = options.data or options.run.with_name(options.run.name + "-data")
        serve(options.run, data_dir=data, host=options.host, port=options.port, config=_config(options))
    except (ValueError, OSError) as error:
        sys.stderr.write(f"segue: {sentence_of(error)}\n")
        return exit_code_of(error)
    return STOPPED


def _config(options: argparse.Namespace) -> "ServingConfig":
    """Return the settings of the server. ValueError for one that is not valid."""
    from segue.serving import config

    types = options.history_events
    limits = options.rate, options.client_rate, options.client_items
    sessions = config.SessionsConfig(history_events=None if types is None else tuple(map(str.strip, types.split(","))))
    return config.ServingConfig(
        access=config.AccessConfig(*limits, tuple(options.trusted_proxy), tuple(options.origin)),
        logs=config.LoggingConfig(options.json_logs, options.log_requests),
        workers=options.workers,
        engine=config.EngineConfig(sessions=sessions),
        storage=config.StorageConfig(min_free_mb=options.min_free_mb, max_log_mb=options.max_log_mb),
        grace_s=config.ServingConfig.grace_s if options.grace is None else options.grace,
    )


def ready(url: str) -> bool:
    """Return whether a server at an address is ready for requests."""
    try:
        with Client(url, timeout_s=2) as client:
            return client.ready().status == "ready"
    except (OSError, Problem):
        return False


if __name__ == "__main__":
    for number in (signal.SIGTERM, signal.SIGINT):  # the first process of a container ignores them by default
        signal.signal(number, lambda *_: os._exit(STOPPED))
    sys.exit(main())
