"""segue quickstart: the bundled log from end to end, with a live server at the end."""

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
CHOSEN = "gru4rec"
"""What is served in the end: the sequence model of the table."""
FIRST, SECOND = "22386", "22423"
"""What the visitor looks at: a jumbo bag, then a cake stand, so that the answers can be told apart at a glance."""
START_S = 60
"""A server that is not ready after so long is given up."""


def quickstart(
    serve: Annotated[bool, typer.Option("--serve/--no-serve", help="Leave the server running at the end.")] = True,
    folder: Annotated[Path, typer.Option("--out", help="Where the model and the events are kept.")] = Path(
        "runs/quickstart"
    ),
    port: Annotated[int, typer.Option(help="The server's port; 0: any free one.")] = 0,
    json: o.Json = False,
) -> None:
    """The bundled shop log from end to end: look, compare, train, serve, and see one event change the answer.

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
    from segue.workflows.compare_models import CompareOptions, iter_results
    from segue.workflows.job import TrainJob
    from segue.workflows.train_model import refit_and_save

    started = time.perf_counter()
    _headline("1/4  A year of a real shop: UCI Online Retail (Chen 2015, CC BY 4.0)")
    log, items_path = load_online_retail()
    show_profile(log)

    _headline("2/4  An honest comparison: trained on the past, judged on what came after")
    with progress() as told:
        judged = list(iter_results(split_log(log, "time"), MODELS, {}, CompareOptions(refit=False), told))
    leaderboard([result for result, _ in judged], "ndcg@10")

    _headline(f"3/4  Putting {CHOSEN} to work: trained once more on every event")
    items = read_items(items_path)
    chosen = next(run for run in judged if run[0].model == CHOSEN)
    with progress() as told:
        version = refit_and_save(log, chosen, folder, TrainJob(items=items), told)
    out.print(f"Saved to {folder} (version {version}).", markup=False)

    _headline("4/4  Live: one event changes the next answer")
    shown = items.for_catalog(log.catalog())
    server, url = start(folder, port)
    try:
        live = show_live(url, {item: str(shown.get(item, {}).get("title", item)) for item in (FIRST, SECOND)})
        seconds = time.perf_counter() - started
        out.print(f"\nDone in {seconds:.0f} s.")
        if json:
            rows = [result.to_dict() for result, _ in judged]
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
    """The real server in a process of its own, and its address once it is ready. ValueError when it does not come up;
    what it said is on standard error by then."""
    from segue.serving.client.client import Client

    command = [sys.executable, "-m", "segue.cli.main", "serve", str(folder), "--port", str(port)]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    addresses: queue.Queue[str | None] = queue.Queue()
    threading.Thread(target=_listen, args=(server, addresses), daemon=True).start()
    deadline = time.monotonic() + START_S
    try:
        url = addresses.get(timeout=START_S)
        while url is not None and time.monotonic() < deadline:
            with Client(url) as client:
                if _ready(client):
                    return server, url
            time.sleep(0.05)
    except queue.Empty:
        pass
    server.kill()
    raise ValueError(f"The server for {folder} did not start; see above.")


def _listen(server: "subprocess.Popen[str]", addresses: "queue.Queue[str | None]") -> None:
    """Passes on what the server says, and its address (None when it ended). Read to the end: a full pipe would stop
    the server."""
    assert server.stderr is not None
    for line in server.stderr:
        err.print(line.rstrip(), markup=False)
        if address := re.search(r"http://[^\s;]+", line):
            addresses.put(address.group())
    addresses.put(None)


def _ready(client: "Client") -> bool:
    try:
        return client.ready().status == "ready"
    except OSError:
        return False


def show_live(url: str, looked_at: Mapping[str, str]) -> list[dict[str, Any]]:
    """Posts a new visitor's look at an item, asks, posts a look at the next, asks again; what was answered.
    ``looked_at``: id -> title."""
    from msgspec import to_builtins

    from segue.serving.client.client import Client
    from segue.serving.schemas.requests import EventIn, RecommendRequest

    visitor = f"quickstart-visitor-{time.time_ns()}"
    answers = []
    with Client(url) as client:
        for item in looked_at:
            client.events([EventIn(item_id=item, session_id=visitor)])
            answers.append(client.recommend(RecommendRequest(session_id=visitor, k=5)))
    rows = [[_name(item) for item in row] for row in zip(*(a.items for a in answers), strict=False)]
    table(None, [f"after {title} ({item})" for item, title in looked_at.items()], rows, left=len(answers))
    out.print("Answered in " + " and ".join(f"{a.took_ms:.1f} ms" for a in answers) + ".", markup=False)
    return [{"after": item, **to_builtins(answer)} for item, answer in zip(looked_at, answers, strict=True)]


def _name(item: "Recommendation") -> str:
    return f"{item.title} ({item.id})" if item.title else item.id
