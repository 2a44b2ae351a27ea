"""Options of an event log, taken by every command that reads one: single options, a TOML file, or as at training."""

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segue.cli.output import print_report
from segue.cli.setting_options import parse_names

if TYPE_CHECKING:
    from segue.data.event_log import EventLog
    from segue.data.log_description import LogDescription

OPTIONAL = ("where", "events", "time_format")
"""Options whose text 'none' means that there is none, in place of the one of the training."""


@dataclass(frozen=True)
class LogOptions:
    """Format, columns, condition, times and preprocessing of an event log. None: not given."""

    log_config: Annotated[
        Path | None,
        typer.Option(
            help="How the log is read: a TOML file with a table [log], or a model's folder (as its log was read). "
            "The options below come before it."
        ),
    ] = None
    format: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="auto csv tsv jsonl parquet arrow recbole sequences sessions pairs prefixes.",
        ),
    ] = None
    column: Annotated[
        list[str] | None,
        typer.Option(
            "--column",
            help="Role of a column, as item_id=StockCode; session_id=none: no column has it. May be repeated.",
        ),
    ] = None
    encoding: Annotated[
        str | None, typer.Option(help="Encoding of a text file, as gb18030 or latin-1; auto (default): detected.")
    ] = None
    header: Annotated[
        str | None, typer.Option(help="none: a csv without a header; its columns are column_1, column_2 ...")
    ] = None
    where: Annotated[str | None, typer.Option(help='Keep only rows that meet this filter, as "Quantity > 0".')] = None
    events: Annotated[
        str | None, typer.Option(help="Keep only rows of these event types, comma-separated: click,purchase.")
    ] = None
    trim: Annotated[
        list[str] | None,
        typer.Option(
            "--trim",
            help="min_user_events=N, min_item_events=N, max_user_item_events=N, session_gap_s=N or drop_repeats=true.",
        ),
    ] = None
    time_unit: Annotated[
        str | None, typer.Option(help="Unit of numeric timestamps: s, ms, us, ns; auto (default): by their size.")
    ] = None
    time_format: Annotated[
        str | None, typer.Option(help="Form of timestamps that do not begin with the year, as %d/%m/%Y %H:%M.")
    ] = None
    time_zone: Annotated[
        str | None, typer.Option(help="Zone of times that name none, as Asia/Shanghai; UTC by default.")
    ] = None
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse a log with an invalid row instead of rejecting the row.")
    ] = False
    allow_loss: Annotated[
        bool, typer.Option("--allow-loss", help="Read a log or table that loses more than 20 % of its rows.")
    ] = False
    rejected: Annotated[
        Path | None, typer.Option(help="Write the rejected rows, with number and reason, to this CSV.")
    ] = None

    def read(self, path: Path, like: "LogDescription | None" = None, **more: Any) -> "EventLog":
        """Read a log with these options, and report on it on standard error.

        Args:
            path: file of the log.
            like: description of a model's log, which holds where no option is given; None: no such model.
            more: further options of ``open_log``.
        """
        return open_log(path, **{"rejected": self.rejected, **self.resolve(like), **more})

    def with_table_of(self, file: Path) -> "LogOptions":
        """Return these options with the table [log] of a TOML file, if it has one and no other file is given.

        Args:
            file: a readable TOML file.
        """
        if self.log_config is not None or "log" not in tomllib.loads(file.read_text(encoding="utf-8-sig")):
            return self
        return dataclasses.replace(self, log_config=file)

    def read_test(self, path: Path, log: "EventLog", format: str | None) -> "EventLog":
        """Read a test log as the log was read.

        Args:
            path: file of the test log.
            log: the log to train on.
            format: format of the test log, in place of that of the log; None: as for the log.
        """
        own: dict[str, Any] = {} if format is None else {"format": format}
        like = log.report.description.for_later_logs()
        return open_log(path, like=like, basis="the log is", strict=self.strict, allow_loss=self.allow_loss, **own)

    def resolve(self, like: "LogDescription | None" = None) -> dict[str, Any]:
        """Return the keyword arguments of ``open_log`` as plain values but for the file of the rejected rows.

        Args:
            like: as in ``read``.

        Raises:
            ValueError: an option or the file ``log_config`` is not valid.
        """
        from segue.data.readers.log_options import read_log_config

        options: dict[str, Any] = {}
        if self.log_config is not None and self.log_config.is_dir():
            like = trained_description(self.log_config)
            if like is None:
                raise ValueError(f"{self.log_config} does not state how its log was read: give the options.")
        elif self.log_config is not None:
            like, options = None, read_log_config(self.log_config)
        given = self._given()
        columns = {**options.get("columns", {}), **given.pop("columns", {})}
        options |= {**given, **({"columns": columns} if columns else {})}
        return {**options, "like": None if like is None else like.to_dict()}

    def _given(self) -> dict[str, Any]:
        """Return the given options, by their names in ``read_events``."""
        from segue.config.decode import parse_assignments

        names = ("format", "encoding", "header", "where", "time_unit", "time_format", "time_zone")
        values = {name: getattr(self, name) for name in names}
        given = {name: value for name, value in values.items() if value is not None}
        if self.events is not None:
            given["events"] = parse_names(self.events)
        given |= {name: None for name in OPTIONAL if given.get(name) in ("none", ["none"])}
        flags = {name: True for name in ("strict", "allow_loss") if getattr(self, name)}
        columns = {"columns": parse_columns(self.column)} if self.column else {}
        return given | flags | columns | parse_assignments(self.trim or [])

    def to_arguments(self) -> list[str]:
        """Return the options as arguments of another command that takes them."""
        arguments: list[str] = []
        for field in dataclasses.fields(self):
            option, value = f"--{field.name.replace('_', '-')}", getattr(self, field.name)
            if value is True:
                arguments.append(option)
            elif isinstance(value, list):
                arguments += [f"{option}={part}" for part in value]
            elif value is not None and value is not False:
                arguments.append(f"{option}={value}")
        return arguments

    def refuse_without(self, option: str, log: Path | None) -> None:
        """Raise a ValueError if options of a log are given, but no log.

        Args:
            option: name of the option that gives the log.
            log: the log.
        """
        if log is None and self != LogOptions():
            raise ValueError(f"{self.to_arguments()[0]} states how a log is read, and there is none: give {option}.")


def parse_columns(assignments: list[str]) -> dict[str, str]:
    """Parse ``["item_id=StockCode"]`` into role -> column.

    Raises:
        ValueError: a text has no "=".
    """
    pairs = [entry.partition("=") for entry in assignments]
    for name, equals, _ in pairs:
        if not equals:
            raise ValueError(f"'{name}' does not name a role and a column: write for example item_id=StockCode.")
    return {name: column for name, _, column in pairs}


def open_log(
    path: Path,
    *,
    like: "LogDescription | Mapping[str, Any] | None" = None,
    basis: str = "at training",
    quiet: bool = False,
    **options: Any,
) -> "EventLog":
    """Read a log, and report on standard error which columns and times were guessed and which rows were rejected.

    Args:
        path: file to read.
        like: description of an earlier log, also as plain values; None: no such log.
        basis: words for that log in the report.
        quiet: no report.
        options: those of ``read_events``.

    Raises:
        ValueError: an option or the file cannot be used.
    """
    from segue.data.log_description import LogDescription
    from segue.data.readers.events import read_events

    if isinstance(like, Mapping):
        like = LogDescription.from_dict(like)
    log = read_events(path, like=like, **options)
    lines = log.report.lines()
    if like is not None and (spelled := like.spell(options)):
        lines = [f"{path} is read as {basis}: {spelled}", *lines]
    if not quiet:
        print_report(lines)
    return log


def trained_description(run: Path) -> "LogDescription | None":
    """Return the description of the log that a model was trained on; None for a model that does not state it.

    Args:
        run: folder of the model, or a registry: then its live version.

    Raises:
        ValueError: the folder is neither, or the description is not valid.
    """
    from segue.data.readers.log_options import decode_description
    from segue.models import artifact

    folder = run
    if run.is_dir() and not (run / artifact.MANIFEST).exists():
        from segue.serving.deployment.model_registry import ModelRegistry

        if (registry := ModelRegistry.at(run)) is not None:
            folder = registry.path(registry.pointer().current.live)
    values = artifact.read_about(folder).get("log")
    return None if values is None else decode_description(values, str(run))


def later_description(run: Path) -> "LogDescription | None":
    """Return the description for a later log of a model, without the options that choose training data.

    Args:
        run: folder of the model, or a registry.
    """
    description = trained_description(run)
    return None if description is None else description.for_later_logs()
