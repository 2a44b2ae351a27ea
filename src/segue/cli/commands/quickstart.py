"""Command ``segue quickstart``: the bundled log from end to end, with a live server at the end."""

import queue
import re
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segue.cli import options as o
from segue.cli.commands.profile import show_profile
from segue.cli.output import confirm_json, err, leaderboard, out, print_json, progress, table
from segue.data.splits.split import split_log

if TYPE_CHECKING:
    from segue.serving.client.client import Client
    from segue.serving.schemas.requests import Recommendation

MODELS = ("popularity", "markov", "covisit", "session-knn", "gru4rec")
SERVED = "gru4rec"
"""The model of the server: the neural one of the leaderboard."""
FIRST, SECOND = "22386", "22423"
"""Items of the live session: a jumbo bag, then a cake stand, so that their lists differ at first sight."""
START_S = 60
"""Timeout of the server's start, in seconds."""


def quickstart(
    serve: Annotated[bool, typer.Option("--serve/--no-serve", help="Leave the server running at the end.")] = True,
    folder: Annotated[Path, typer.Option("--out", help="Folder of the model and the events.")] = Path(
        "runs/quickstart"
    ),
    port: Annotated[int, typer.Option(help="The server's port; 0: any free one.")] = 0,
    json: o.Json = False,
) -> None:
    """Run the bundled shop log from end to end: profile, compare, train, serve, and one event that changes the list.

    Takes about three minutes on two cores.

    \b
    Example:
      segue quickstart --no-serve
    """
    with confirm_json(json):
        _quickstart(serve, folder, port, json)


def _quickstart(serve: bool, folder: Path, port: int, json: bool) -> None:
    from segue.data.datasets.online_retail import load_online_retail
    from segue.data.readers.items import read_items
    from segue.workflows.compare_models import iter_results
    from segue.workflows.comparison.model_result import CompareOptions
    from segue.workflows.job import TrainJob
    from segue.workflows.train_model import refit_and_save

    started = time.perf_counter()
    _headline("1/4  A year of a real shop: UCI Online Retail (Chen 2015, CC BY 4.0)")
    log, items_path = load_online_retail()
    show_profile(log)

    _headline("2/4  Compare: train on earlier events, evaluate on later ones")
    with progress() as report:
        evaluated = list(iter_results(split_log(log, "time"), MODELS, {}, CompareOptions(refit=False), report))
    leaderboard([result for result, _ in evaluated], "ndcg@10")

    _headline(f"3/4  Train {SERVED} once more on every event, and save it")
    items = read_items(items_path)
    result, fitted = next(row for row in evaluated if row[0].model == SERVED)
    with progress() as report:
        version = refit_and_save(log, result, fitted, folder, TrainJob(items=items), report)
    out.print(f"Saved to {folder} (version {version}).", markup=False)

    _headline("4/4  Serve: one event changes the next list")
    known = items.for_catalog(log.catalog())
    server, url = start(folder, port)
    try:
        live = show_live(url, {item: str(known.get(item, {}).get("title", item)) for item in (FIRST, SECOND)})
        seconds = time.perf_counter() - started
        out.print(f"\nDone in {seconds:.0f} s.")
        if json:
            rows = [result.to_dict() for result, _ in evaluated]
            print_json({"results": rows, "out": str(folder), "version": version, "live": live, "seconds": seconds})
        if serve:
            out.print(f"The server is at {url} (Ctrl-C stops it). Try:", markup=False)
            body = f'{{"history": ["{FIRST}"], "k": 5}}'
            out.print(f"  curl -s {url}/v1/recommend -H 'Content-Type: application/json' -d '{body}'", markup=False)
            server.wait()
    finally:
        server.terminate()
        server.wait(timeout=30)


def _headline(text: str) -> None:
    out.print(f"\n[bold]{text}[/bold]")


def start(folder: Path, port: int) -> "tuple[subprocess.Popen[str], str]":
    """Start a server process and return it with its address once it is ready.

    Args:
        folder: a saved model, or a registry.
        port: port to listen on; 0: any free one.

    Raises:
        ValueError: the server is not ready within ``START_S`` seconds; its output is on standard error.
    """
    from segue.serving.client.client import Client

    command = [sys.executable, "-m", "segue.cli.main", "serve", str(folder), "--port", str(port)]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    addresses: queue.Queue[str | None] = queue.Queue()
    threading.Thread(target=_forward_output, args=(server, addresses), daemon=True).start()
    deadline = time.monotonic() + START_S
    try:
        url = addresses.get(timeout=START_S)
        while url is not None and time.monotonic() < deadline:
            with Client(url) as client:
                if _is_ready(client):
                    return server, url
            time.sleep(0.05)
    except queue.Empty:
        pass
    server.kill()
    raise ValueError(f"The server for {folder} did not start; see above.")


def _forward_output(server: "subprocess.Popen[str]", addresses: "queue.Queue[str | None]") -> None:
    """Forward the server's standard error, and queue its address (None at its end). A full pipe would stop it."""
    assert server.stderr is not None
    for line in server.stderr:
        err.print(line.rstrip(), markup=False)
        if address := re.search(r"http://[^\s;]+", line):
            addresses.put(address.group())
    addresses.put(None)


def _is_ready(client: "Client") -> bool:
    try:
        return client.ready().status == "ready"
    except OSError:
        return False


def show_live(url: str, titles: Mapping[str, str]) -> list[dict[str, Any]]:
    """Post one event for each item in a new session, print the recommendations after each, and return the responses.

    Args:
        url: address of a running server.
        titles: title of each item by its id, in the order of the events.
    """
    from msgspec import to_builtins

    from segue.serving.client.client import Client
    from segue.serving.schemas.requests import EventIn, RecommendRequest

    session = f"quickstart-visitor-{time.time_ns()}"
    responses = []
    with Client(url) as client:
        for item in titles:
            client.events([EventIn(item_id=item, session_id=session)])
            responses.append(client.recommend(RecommendRequest(session_id=session, k=5)))
    rows = [[_title(item) for item in row] for row in zip(*(r.items for r in responses), strict=False)]
    table(None, [f"after {title} ({item})" for item, title in titles.items()], rows, left=len(responses))
    out.print("Response times: " + " and ".join(f"{r.took_ms:.1f} ms" for r in responses) + ".", markup=False)
    return [{"after": item, **to_builtins(response)} for item, response in zip(titles, responses, strict=True)]


def _title(item: "Recommendation") -> str:
    return f"{item.title} ({item.id})" if item.title else item.id
