"""segue quickstart: the bundled log from end to end, with a live server at the end."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from segue.cli.output import err, leaderboard, out, progress, table

MODELS = ("popularity", "markov", "covisit", "session-knn", "gru4rec")
VISITOR = "quickstart-visitor"


def quickstart(
    serve: Annotated[bool, typer.Option("--serve/--no-serve", help="Leave the server running at the end.")] = True,
    folder: Annotated[Path, typer.Option("--out", help="Where the model and the events are kept.")] = Path("run"),
    port: Annotated[int, typer.Option(help="The server's port; 0: any free one.")] = 0,
) -> None:
    """The bundled shop log from end to end: look, compare, train, serve, and see one event change the answer.

    Takes about three minutes on two cores.

    Example:
      segue quickstart --no-serve
    """
    from segue.data.items import read_items
    from segue.data.profile import profile
    from segue.data.samples import online_retail
    from segue.experiment import Comparison, Job, compare, train

    started = time.perf_counter()
    log, items_path = online_retail()
    _headline("1/4  A year of a real shop: UCI Online Retail (Chen 2015, CC BY 4.0)")
    found = profile(log)
    table(None, ["", "value"], [[name, value] for name, value in found.lines()])
    for sentence in found.oddities:
        out.print(f"- {sentence}", markup=False)

    _headline("2/4  An honest comparison: trained on the past, judged on what came after")
    with progress(quiet=False) as told:
        results = compare(log.split("time"), MODELS, {}, Comparison(refit=False), told)
    leaderboard(results, "ndcg@10")
    learned = max((r for r in results if r.model == "gru4rec"), key=lambda r: r.metrics["ndcg@10"])

    _headline(f"3/4  Putting {learned.model} to work: trained once more on every event")
    with progress(quiet=False) as told:
        _, version = train(log, learned.model, folder, {}, Job(items=read_items(items_path)), told)
    out.print(f"Saved to {folder} (version {version}).", markup=False)

    _headline("4/4  Live: one event changes the next answer")
    server, url = _start(folder, port)
    try:
        _show_live(url, folder)
        out.print(f"\nDone in {time.perf_counter() - started:.0f} s.")
        if serve:
            out.print(f"The server is at {url} (Ctrl-C stops it). Try:", markup=False)
            body = '{"history": ["85123A"], "k": 5}'
            out.print(f"  curl -s {url}/v1/recommend -H 'Content-Type: application/json' -d '{body}'", markup=False)
            server.wait()
    finally:
        server.terminate()
        server.wait(timeout=30)


def _headline(text: str) -> None:
    out.print(f"\n[bold]{text}[/bold]")


def _start(folder: Path, port: int) -> "tuple[subprocess.Popen[str], str]":
    """The real server in a process of its own, and its address once it is ready."""
    import socket

    if port == 0:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
    command = [sys.executable, "-m", "segue.cli.main", "serve", str(folder), "--port", str(port)]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise ValueError(f"The server did not start: {server.stderr.read() if server.stderr else ''}")
        if _ready(url):
            return server, url
        time.sleep(0.1)
    server.kill()
    raise ValueError("The server was not ready within a minute.")


def _ready(url: str) -> bool:
    import urllib.error
    import urllib.request

    try:
        with urllib.request.urlopen(f"{url}/health/ready", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


def _show_live(url: str, folder: Path) -> None:
    """Asks, posts an event that changes the taste, asks again."""
    from segue.models.artifact import load
    from segue.serving.client import Client
    from segue.serving.schema import EventIn, RecommendRequest

    titles = {item: about.get("title", "") for item, about in load(folder).items.items()}
    first, second = "22386", "22423"
    visitor = f"{VISITOR}-{time.time_ns()}"
    with Client(url) as client:
        client.events([EventIn(item_id=first, session_id=visitor)])
        before = client.recommend(RecommendRequest(session_id=visitor, k=5))
        client.events([EventIn(item_id=second, session_id=visitor)])
        after = client.recommend(RecommendRequest(session_id=visitor, k=5))
    out.print(
        f"A visitor looks at {titles.get(first)} ({first}), then at {titles.get(second)} ({second}).", markup=False
    )
    rows: list[list[str]] = []
    for a, b in zip(before.items, after.items, strict=False):
        rows.append([_name(a), _name(b)])
    table(None, ["after the first event", "after the second event"], rows, left=2)
    err.print(f"Answered in {before.took_ms:.1f} ms and {after.took_ms:.1f} ms.", markup=False)


def _name(item: Any) -> str:
    return f"{item.title or ''} ({item.id})"
