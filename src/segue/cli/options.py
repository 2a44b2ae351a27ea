"""Options of the commands: shared single options, and groups of options that a command receives as one dataclass."""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segue.cli import reading as log_reading
from segue.cli.output import err, print_report
from segue.cli.tables import open_users
from segue.data.features.column_types import cast_column, describe_column
from segue.data.splits.split import split_log

if TYPE_CHECKING:
    from segue.data.evaluation_cases import Split
    from segue.data.event_log import EventLog
    from segue.data.item_table import ItemTable

LogOptions = log_reading.LogOptions
open_log = log_reading.open_log
later_description = log_reading.later_description
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
Ties = Annotated[
    str,
    typer.Option(help="Equal scores: expected (mean over their orders), half, conservative (GRU4Rec's), optimistic."),
]
Seed = Annotated[int, typer.Option(help="Random seed; equal seeds give equal models.")]
Refit = Annotated[
    bool, typer.Option("--refit/--no-refit", help="After the evaluation, train once more on every event.")
]
ItemTitles = Annotated[Path | None, typer.Option("--items", help="An items table: item_id and columns such as title.")]


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
    test_format: Annotated[
        str | None,
        typer.Option(help="Format of the test log, which is read as the log in all else."),
    ] = None
    unknown: Annotated[
        str, typer.Option(help="With --test, targets unknown to training: drop them, or count them as missed (miss).")
    ] = "drop"

    def split(self, log: "EventLog", reading: LogOptions, users: Path | None = None) -> "Split":
        """Split the log; a test log is read as the log was.

        Args:
            log: the log to train on.
            reading: options of the log.
            users: file of the users table, whose columns the log has; None: no table.

        Raises:
            ValueError: a test log with a protocol other than fixed.
        """
        if self.test is None:
            return split_log(log, self.protocol)
        if self.protocol not in ("fixed", "time"):
            raise ValueError(f"--test goes with --protocol fixed, not with {self.protocol}.")
        test = reading.read_test(self.test, log, self.test_format)
        test = with_tables(test, None, users, log.context, allow_loss=reading.allow_loss, quiet=True)
        return split_log(log, "fixed", test=test, unknown=self.unknown)


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
    log: "EventLog",
    items: "ItemTable | None",
    users: Path | str | None,
    contexts: Iterable[str] | None,
    *,
    allow_loss: bool = False,
    quiet: bool = False,
) -> "EventLog":
    """Return the log with item features, user columns and context columns.

    Args:
        log: the events.
        items: items table of the features; None: no item features.
        users: file of a users table; None: no user columns.
        contexts: names of the context columns; None: no context.
        allow_loss: read a users table that loses more than 20 % of its rows.
        quiet: print nothing about the users table.
    """
    if items is not None:
        log = log.with_items(items)
    if users is not None:
        log = log.with_users(open_users(users, log, allow_loss=allow_loss, quiet=quiet))
    if not contexts:
        return log
    log = log.with_context(contexts)
    if not quiet:
        columns = ((log.frame[name], type_) for name, type_ in log.context.items())
        print_report(describe_column(column, cast_column(column, type_), type_) for column, type_ in columns)
    return log
