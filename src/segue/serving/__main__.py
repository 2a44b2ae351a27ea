"""``python -m segue.serving``: the server without the libraries of the command line and of training."""

import argparse
import http.client
import sys
from pathlib import Path

from segue.serving.client.client import Client

REFUSED = 2
"""Exit code of an error that the operator has to correct."""


def main(arguments: list[str] | None = None) -> int:
    """Serve a model, or with --ready check a server's readiness; return the exit code.

    Args:
        arguments: command line; None: that of the process.

    Returns:
        0 after a stopped server or for a ready one, 1 for a server that is not ready, 2 for an error in a sentence.
    """
    parser = argparse.ArgumentParser(prog="python -m segue.serving", description="Serve a model over HTTP.")
    parser.add_argument("run", nargs="?", type=Path, help="a model's folder, or a registry of models")
    parser.add_argument("--data", type=Path, help="data directory; by default RUN-data beside RUN")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--rate", type=float, help="requests per second and key")
    parser.add_argument("--origin", action="append", default=[], help="a web site whose pages may send requests")
    parser.add_argument("--json-logs", action="store_true")
    parser.add_argument("--log-requests", action="store_true")
    parser.add_argument("--workers", type=int, default=1, help="processes that serve the port")
    parser.add_argument("--ready", metavar="URL", help="check whether a server is ready, and end")
    options = parser.parse_args(arguments)
    if options.ready is not None:
        return 0 if ready(options.ready) else 1
    if options.run is None:
        parser.error("name the model's folder")
    from segue.serving.config import ServingConfig
    from segue.serving.server import serve

    try:
        config = ServingConfig(
            requests_per_s=options.rate,
            cors_origins=tuple(options.origin),
            json_logs=options.json_logs,
            log_requests=options.log_requests,
            workers=options.workers,
        )
        data = options.data or options.run.with_name(options.run.name + "-data")
        serve(options.run, data_dir=data, host=options.host, port=options.port, config=config)
    except ValueError as error:
        sys.stderr.write(f"segue: {error}\n")
        return REFUSED
    return 0


def ready(url: str) -> bool:
    """Return whether a server at an address is ready for requests."""
    try:
        with Client(url, timeout_s=2) as client:
            return client.ready().status == "ready"
    except (OSError, http.client.HTTPException):
        return False


if __name__ == "__main__":
    sys.exit(main())
