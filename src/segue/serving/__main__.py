"""python -m segue.serving: the server where neither the command line's libraries nor training's are installed."""

import argparse
import http.client
import sys
from pathlib import Path

from segue.serving.client.client import Client

REFUSED = 2
"""The exit code of what somebody has to mend."""


def main(arguments: list[str] | None = None) -> int:
    """Serves, or with --ready asks a server whether it is ready (exit code 0) or not (1)."""
    parser = argparse.ArgumentParser(prog="python -m segue.serving", description="Serve a model over HTTP.")
    parser.add_argument("run", nargs="?", type=Path, help="a model's folder, or a registry of models")
    parser.add_argument("--data", type=Path, help="where events are kept; by default RUN-data beside RUN")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--rate", type=float, help="requests a second for each key")
    parser.add_argument("--origin", action="append", default=[], help="a web site whose pages may ask")
    parser.add_argument("--json-logs", action="store_true")
    parser.add_argument("--log-requests", action="store_true")
    parser.add_argument("--workers", type=int, default=1, help="processes that answer on the port")
    parser.add_argument("--ready", metavar="URL", help="ask a server whether it is ready, and end")
    asked = parser.parse_args(arguments)
    if asked.ready is not None:
        return 0 if ready(asked.ready) else 1
    if asked.run is None:
        parser.error("name the model's folder")
    from segue.serving.config import ServingConfig
    from segue.serving.server import serve

    try:
        config = ServingConfig(
            requests_per_s=asked.rate,
            cors_origins=tuple(asked.origin),
            json_logs=asked.json_logs,
            log_requests=asked.log_requests,
            workers=asked.workers,
        )
        data = asked.data or asked.run.with_name(asked.run.name + "-data")
        serve(asked.run, data_dir=data, host=asked.host, port=asked.port, config=config)
    except ValueError as error:
        sys.stderr.write(f"segue: {error}\n")
        return REFUSED
    return 0


def ready(url: str) -> bool:
    """Whether a server is there and takes requests."""
    try:
        with Client(url, timeout_s=2) as client:
            return client.ready().status == "ready"
    except (OSError, http.client.HTTPException):
        return False


if __name__ == "__main__":
    sys.exit(main())
