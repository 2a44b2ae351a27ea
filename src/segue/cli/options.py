"""Options of the commands: shared single options, and groups of options that a command receives as one dataclass."""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segue.cli.output import err
from segue.data.readers.items import read_users
from segue.data.splits.split import split_log

if TYPE_CHECKING:
    from segue.data.evaluation_cases import Split
    from segue.data.event_log import EventLog
    from segue.data.item_table import ItemTable

Log = Annotated[
    Path, typer.Argument(help="The event log: CSV, TSV, JSONL, Parquet, Arrow, .inter or a benchmark's text.")
]
Run = Annotated[Path, typer.Argument(help="A model folder that 'segue train' wrote.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON document on standard output.")]
Erased = Annotated[
    Path | None,
    typer.Option(help="A server's data directory: events of users erased there are filtered out of the log."),
]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", help="A setting, name=value or model.name=value. May be repeated."),
]
Protocol = Annotated[
    str, typer.Option(help="How the log is split: time, leave-last-out, leave-last-n-out, sessions, fixed.")
]
K = Annotated[str, typer.Option("--k", help="Cutoffs of the metrics, comma-separated.")]
Ties = Annotated[str, typer.Option(help="Rank of equal scores: half, conservative (GRU4Rec's rule), optimistic.")]
Seed = Annotated[int, typer.Option(help="Random seed; equal seeds give equal models.")]
Refit = Annotated[
    bool, typer.Option("--refit/--no-refit", help="After the evaluation, train once more on every event.")
]
ItemTitles = Annotated[Path | None, typer.Option("--items", help="An items table: item_id and columns such as title.")]


@dataclass(frozen=True)
class FormatOptions:
    """Format and columns of an event log."""

    format: Annotated[
        str, typer.Option("--format", help="csv tsv jsonl parquet arrow recbole sequences sessions pairs prefixes.")
    ] = "auto"
    column: Annotated[
        list[str] | None,
        typer.Option("--column", help="Role of a column, for example --column item_id=StockCode. May be repeated."),
    ] = None

    encoding: Annotated[str, typer.Option(help="Encoding of a text file, as gb18030 or latin-1.")] = "auto"
    header: Annotated[
        str, typer.Option(help="none: a csv without a header; its columns are column_1, column_2 ...")
    ] = "first-line"

    def read(self, path: Path, *, quiet: bool = False, **more: Any) -> "EventLog":
        """Read a log with these options, and report on it on standard error.

        Args:
            path: file of the log.
            quiet: no report.
            more: further options of ``read_events``.
        """
        return open_log(path, quiet=quiet, **self.to_dict(), **more)

    def to_dict(self) -> dict[str, Any]:
        """Return the options as plain values, by the names that ``open_log`` takes."""
        values = dataclasses.asdict(self)
        return {"columns": values.pop("column"), **values}


@dataclass(frozen=True)
class LogOptions(FormatOptions):
    """Format, columns, condition, times and preprocessing of an event log."""

    where: Annotated[str | None, typer.Option(help='Keep only rows that meet this filter, as "Quantity > 0".')] = None
    trim: Annotated[
        list[str] | None,
        typer.Option(
            "--trim",
            help="min_user_events=N, min_item_events=N, max_user_item_events=N, session_gap_s=N or drop_repeats=true.",
        ),
    ] = None
    time_unit: Annotated[
        str, typer.Option(help="Unit of numeric timestamps: s, ms, us, ns; auto guesses from their size.")
    ] = "auto"
    time_format: Annotated[
        str | None, typer.Option(help="Form of timestamps that do not begin with the year, as %d/%m/%Y %H:%M.")
    ] = None
    time_zone: Annotated[str, typer.Option(help="Zone of times that name none, as Asia/Shanghai.")] = "UTC"
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse a log with an invalid row instead of rejecting the row.")
    ] = False
    rejected: Annotated[
        Path | None, typer.Option(help="Write the rejected rows, with number and reason, to this CSV.")
    ] = None


@dataclass(frozen=True)
class SideOptions:
    """Tables and columns that neural models are trained on besides events."""

    items: ItemTitles = None
    features: Annotated[
        str | None,
        typer.Option(help="Columns of --items as features of neural models, comma-separated: category,price,title."),
    ] = None
    users: Annotated[Path | None, typer.Option(help="A users table: user_id and columns such as region.")] = None
    context: Annotated[
        str | None,
        typer.Option(help="Columns of the log or of --users as context of neural models: region,device."),
    ] = None


@dataclass(frozen=True)
class SplitOptions:
    """Protocol of the split and a fixed test log."""

    protocol: Protocol = "time"
    test: Annotated[Path | None, typer.Option(help="A fixed test log, for --protocol fixed.")] = None
    test_format: Annotated[str, typer.Option(help="The test log's format; auto: by its ending.")] = "auto"
    unknown: Annotated[
        str, typer.Option(help="With --test, targets unknown to training: drop them, or count them as missed (miss).")
    ] = "drop"

    def split(self, log: "EventLog") -> "Split":
        """Split the log. ValueError for a test log with a protocol other than fixed."""
        if self.test is None:
            return split_log(log, self.protocol)
        if self.protocol not in ("fixed", "time"):
            raise ValueError(f"--test goes with --protocol fixed, not with {self.protocol}.")
        return split_log(log, "fixed", test=open_log(self.test, format=self.test_format), unknown=self.unknown)


@dataclass(frozen=True)
class TrainOptions:
    """Split, seed and device of a training, and the second training on every event."""

    protocol: Protocol = "time"
    refit: Refit = True
    seed: Seed = 0
    device: Annotated[str, typer.Option(help="Where a neural model is trained: cpu, cuda, or auto.")] = "auto"


def expand_groups(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the single options of each parameter whose type is one of the option groups.

    Typer knows single options only. The returned function takes those, makes the groups of them and calls ``command``.
    """
    groups: dict[str, type] = {}
    expanded: list[inspect.Parameter] = []
    for parameter in inspect.signature(command).parameters.values():
        kind = parameter.annotation
        if not (isinstance(kind, type) and dataclasses.is_dataclass(kind)):
            expanded.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
            continue
        groups[parameter.name] = kind
        expanded += [
            inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=field.type)
            for field in dataclasses.fields(kind)
        ]

    @functools.wraps(command)
    def run(**values: Any) -> None:
        made = {
            name: kind(**{field.name: values.pop(field.name) for field in dataclasses.fields(kind)})
            for name, kind in groups.items()
        }
        command(**values, **made)

    run.__signature__ = inspect.Signature(expanded)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in expanded}
    return run


def open_log(path: Path, *, quiet: bool = False, **options: Any) -> "EventLog":
    """Read a log, and report on standard error which columns and times were guessed and which rows were rejected.

    Args:
        path: file to read.
        quiet: no report.
        options: those of ``read_events``; ``columns`` and ``trim`` as lists of name=value.

    Raises:
        ValueError: an option or the file cannot be used.
    """
    from segue.config.decode import parse_assignments
    from segue.data.readers.events import read_events

    options |= parse_assignments(options.pop("trim", None) or [])
    pairs = [entry.partition("=") for entry in options.pop("columns", None) or []]
    for name, equals, _ in pairs:
        if not equals:
            raise ValueError(f"'{name}' does not name a role and a column: write for example item_id=StockCode.")
    log = read_events(path, columns={name: column for name, _, column in pairs}, **options)
    for line in [] if quiet else log.report.lines():
        err.print(line, markup=False)
    return log


def without_erased(log: "EventLog", erased: Path | None) -> "EventLog":
    """Filter events of erased users out of the log, and report their number on standard error.

    Args:
        log: the log to filter.
        erased: data directory of a server with its list of erased users; None: nothing is filtered out.
    """
    if erased is None:
        return log
    from segue.data.erasure_list import ErasureList

    kept = ErasureList.read(erased).filter_log(log)
    err.print(f"{len(log) - len(kept):,} events of erased users are filtered out.", markup=False)
    return kept


def with_tables(
    log: "EventLog", items: "ItemTable | None", users: Path | str | None, contexts: Iterable[str] | None
) -> "EventLog":
    """Return the log with item features, user columns and context columns.

    Args:
        log: the events.
        items: items table of the features; None: no item features.
        users: file of a users table; None: no user columns.
        contexts: names of the context columns; None: no context.
    """
    if items is not None:
        log = log.with_items(items)
    if users is not None:
        log = log.with_users(read_users(users))
    return log.with_context(contexts) if contexts else log
