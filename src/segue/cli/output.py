"""Output of the commands: aligned tables, progress with the time left, JSON documents."""

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from segue.cli.language import translated
from segue.data.read_report import WARNING

if TYPE_CHECKING:
    from segue.training.progress import Progress
    from segue.workflows.comparison.model_result import ModelResult
    from segue.workflows.job import ProgressCallback

WIDTH = None if sys.stdout.isatty() else 140
"""Width in columns; None: the terminal's. A pipe or a file has no width, and tables must not be squeezed there."""


class TranslatingConsole(Console):
    """Console that prints a sentence in the language of the command."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Print objects as ``Console.print`` does; a text is translated."""
        super().print(*[translated(one) if isinstance(one, str) else one for one in objects], **options)


out = TranslatingConsole(highlight=False, soft_wrap=True, width=WIDTH)
"""Standard output, for results."""
err = TranslatingConsole(stderr=True, highlight=False, soft_wrap=True)
"""Standard error, for progress and notes."""


def print_report(lines: Iterable[str]) -> None:
    """Print the sentences of a reading on standard error; those that warn stand out."""
    for line in lines:
        err.print(line, markup=False, style="bold yellow" if line.startswith(WARNING) else None)


def print_json(value: Any) -> None:
    """Write one JSON document to standard output. ValueError for an infinite number or NaN."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


@contextmanager
def confirm_json(as_json: bool) -> Iterator[None]:
    """Send the tables and notes of a command that prints JSON to standard error."""
    out.stderr = as_json
    try:
        yield
    finally:
        out.stderr = False


def table(title: str | None, columns: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> None:
    """Print a table; wide characters align.

    Args:
        title: line above the table, translated; None: no title.
        columns: names of the columns, translated.
        rows: cells, as text.
        left: number of text columns; the others are numbers, aligned right.
    """
    columns = [translated(name) for name in columns]
    title = None if title is None else translated(title)
    grid = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for i, name in enumerate(columns):
        grid.add_column(name, justify="left" if i < left else "right", no_wrap=left == 1 or i >= left, overflow="fold")
    for row in rows:
        grid.add_row(*[cell.replace("[", "\\[") for cell in row])
    out.print(grid)


BARS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float]) -> str:
    """Return a bar chart in one line of text: the largest value is the highest bar, 0 the lowest.

    >>> sparkline([0, 1, 2, 8])
    '▁▂▃█'
    """
    top = max([*values, 0]) or 1
    return "".join(BARS[min(len(BARS) - 1, int(max(value, 0) * len(BARS) / top))] for value in values)


def leaderboard(results: "Sequence[ModelResult]", by: str) -> None:
    """Print results, best first, with intervals, and the protocol beneath.

    Args:
        results: one row for each model and seed.
        by: metric that orders the rows, as ``ndcg@10``; the others shown have its cutoff.
    """
    from segue.workflows.compare_models import metric_difference

    k = by.split("@")[1]
    names = [by, f"recall@{k}", f"mrr@{k}"]
    ranked = sorted(results, key=lambda row: -row.metrics[by])
    rows = []
    for row in ranked:
        low, high = row.intervals[by]
        label = row.model if row.seed == 0 else f"{row.model} (seed {row.seed})"
        label += ", time-aware" if row.time_aware else ""
        metrics = [f"{row.metrics[name]:.4f}" for name in names]
        cost = [f"{row.fit_s:.1f}", f"{row.evaluate_s:.1f}", f"{row.peak_rss_mb:.0f}"]
        coverage = f"{row.metrics[f'coverage@{k}']:.0%}"
        rows.append([label, metrics[0], f"{low:.4f} .. {high:.4f}", *metrics[1:], coverage, *cost])
    table(None, ["model", names[0], "95 % interval", *names[1:], f"coverage@{k}", "fit s", "eval s", "peak MB"], rows)
    first = ranked[0]
    out.print()
    if len(ranked) > 1 and first.time_aware == ranked[1].time_aware:
        ahead, low, high = metric_difference(first, ranked[1], by)
        significance = "" if low > 0 else ", which could be chance"
        pair = f"{first.model} is ahead of {ranked[1].model} by {ahead:.4f} {by} on the same cases"
        out.print(f"{pair} (95 % interval {low:.4f} .. {high:.4f}){significance}.", markup=False)
    plain = next((row for row in ranked if not row.time_aware), first)
    out.print(f"Protocol: {plain.protocol}.", markup=False)
    if any(row.time_aware for row in ranked) and not plain.time_aware:
        out.print("Time-aware models receive the time of each target; the others do not: do not compare the two.")
    rules = f"Ties: {first.tie_rule}. Cases: {first.test_cases:,}. Trained on validation events too: "
    out.print(rules + ("yes, with settings chosen without them." if first.refit else "no."), markup=False)
    if first.dropped:
        reasons = ", ".join(f"{count:,} ({reason})" for reason, count in first.dropped.items())
        out.print(f"Filtered out: {reasons}.", markup=False)
    out.print(f"Data: {first.data[:16]}. Intervals: bootstrap over users or sessions, 1,000 resamples.", markup=False)


@contextmanager
def progress() -> "Iterator[ProgressCallback]":
    """Report progress on standard error: a bar with the time left on a terminal, else a line for each new stage."""
    if not err.is_terminal:
        yield _print_stage
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(24), TextColumn("{task.fields[state]}"), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task("", total=None, state="")

        def report(stage: str, state: Any) -> None:
            if state is None:
                bar.reset(task, description=stage, total=None, state="")
            elif isinstance(state, tuple):
                done, total = state
                bar.update(task, description=stage, completed=done, total=total, state=f"{done:,}/{total:,} cases")
            else:
                bar.update(task, description=stage, completed=state.step, total=state.steps, state=training_line(state))

        yield report


def _print_stage(stage: str, state: Any) -> None:
    if state is None:
        err.print(f"{stage} ...", markup=False)


def training_line(state: "Progress") -> str:
    """Return the state of a training in one line."""
    validation = "" if state.validation is None else f", validation {state.validation:.4f}"
    speed = f"{state.events_per_s:,.0f} events/s, {format_clock(state.left_s)} left at most"
    return f"epoch {state.epoch + 1}/{state.epochs}, loss {state.loss:.3f}{validation}, {speed}"


def format_clock(seconds: float) -> str:
    """Return a duration as minutes and seconds, with hours above 60 minutes.

    >>> format_clock(75), format_clock(3661)
    ('1:15', '1:01:01')
    """
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"
