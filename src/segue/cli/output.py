"""What people and programs see: tables that align, progress with the time left, JSON that is only JSON."""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from segue.training.progress import Progress
    from segue.workflows.compare_models import ModelResult
    from segue.workflows.job import ProgressCallback

WIDTH = None if sys.stdout.isatty() else 140
"""A pipe or a file has no width of its own; tables must not be squeezed there."""
out = Console(highlight=False, soft_wrap=True, width=WIDTH)
"""Results: standard output."""
err = Console(stderr=True, highlight=False, soft_wrap=True)
"""Everything said on the way: standard error."""


def print_json(value: Any) -> None:
    """One JSON document on standard output, and nothing else there."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


@contextmanager
def confirm_json(as_json: bool) -> Iterator[None]:
    """Where a command prints JSON, what it says on the way goes to standard error."""
    if not as_json:
        yield
        return
    out.file = sys.stderr
    try:
        yield
    finally:
        out.file = sys.stdout


def table(title: str | None, columns: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> None:
    """A table whose first ``left`` columns are text and whose others are numbers; wide characters align."""
    grid = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for i, name in enumerate(columns):
        grid.add_column(name, justify="left" if i < left else "right", no_wrap=left == 1 or i >= left, overflow="fold")
    for row in rows:
        grid.add_row(*[cell.replace("[", "\\[") for cell in row])
    out.print(grid)


BARS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float]) -> str:
    """A little chart in a line of text, the largest value as high as a letter; nothing at all is the lowest bar.

    >>> spark([0, 1, 2, 8])
    '▁▁▂█'
    """
    top = max([*values, 0]) or 1
    return "".join(BARS[min(len(BARS) - 1, int(max(value, 0) * len(BARS) / top))] for value in values)


def leaderboard(results: "Sequence[ModelResult]", by: str) -> None:
    """Best first, each number with its interval, and beneath what must be known to read them."""
    from segue.workflows.compare_models import metric_difference

    k = by.split("@")[1]
    names = [by, f"recall@{k}", f"mrr@{k}"]
    ranked = sorted(results, key=lambda r: -r.metrics[by])
    rows = []
    for r in ranked:
        low, high = r.intervals[by]
        label = r.model if r.seed == 0 else f"{r.model} (seed {r.seed})"
        label += ", time-aware" if r.time_aware else ""
        numbers = [f"{r.metrics[n]:.4f}" for n in names]
        more = [f"{r.metrics[f'coverage@{k}']:.0%}", f"{r.fit_s:.1f}", f"{r.evaluate_s:.1f}", f"{r.peak_rss_mb:.0f}"]
        rows.append([label, numbers[0], f"{low:.4f} .. {high:.4f}", *numbers[1:], *more])
    table(None, ["model", names[0], "95 % interval", *names[1:], f"coverage@{k}", "fit s", "eval s", "peak MB"], rows)
    first = ranked[0]
    out.print()
    if len(ranked) > 1 and first.time_aware == ranked[1].time_aware:
        ahead, low, high = metric_difference(first, ranked[1], by)
        sure = "" if low > 0 else ", which could be chance"
        pair = f"{first.model} is ahead of {ranked[1].model} by {ahead:.4f} {by} on the same cases"
        out.print(f"{pair} (95 % interval {low:.4f} .. {high:.4f}){sure}.", markup=False)
    plain = next((r for r in ranked if not r.time_aware), first)
    out.print(f"Protocol: {plain.protocol}.", markup=False)
    if any(r.time_aware for r in ranked) and not plain.time_aware:
        out.print("Time-aware rows were told the moment of each target; the others were not: do not compare the two.")
    rules = f"Ties: {first.tie_rule}. Cases: {first.test_cases:,}. Trained on validation events too: "
    out.print(rules + ("yes, with settings chosen without them." if first.refit else "no."), markup=False)
    if first.dropped:
        out.print("Left out: " + ", ".join(f"{count:,} ({why})" for why, count in first.dropped.items()) + ".")
    out.print(f"Data: {first.data[:16]}. Intervals: bootstrap over people or sessions, 1,000 resamples.", markup=False)


@contextmanager
def progress() -> "Iterator[ProgressCallback]":
    """Says on standard error how far the work is: a bar with the time left where somebody watches, a line for each
    new piece of work where a file or a program listens."""
    if not err.is_terminal:
        yield _piece_by_piece
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(24), TextColumn("{task.fields[more]}"), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task("", total=None, more="")

        def told(what: str, how: Any) -> None:
            if how is None:
                bar.reset(task, description=what, total=None, more="")
            elif isinstance(how, tuple):
                bar.update(task, description=what, completed=how[0], total=how[1], more=f"{how[0]:,}/{how[1]:,} cases")
            else:
                bar.update(task, description=what, completed=how.step, total=how.steps, more=steps(how))

        yield told


def _piece_by_piece(what: str, how: Any) -> None:
    if how is None:
        err.print(f"{what} ...", markup=False)


def steps(how: "Progress") -> str:
    """Where a training stands, in a line."""
    best = "" if how.validation is None else f", validation {how.validation:.4f}"
    speed = f"{how.events_per_s:,.0f} events/s, {clock(how.left_s)} left at most"
    return f"epoch {how.epoch + 1}/{how.epochs}, loss {how.loss:.3f}{best}, {speed}"


def clock(seconds: float) -> str:
    """``75`` -> 1:15, ``3661`` -> 1:01:01."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"
