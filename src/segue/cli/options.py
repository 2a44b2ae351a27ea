"""Options that several commands share, spelled and explained once."""

from collections.abc import Iterable
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

Log = Annotated[Path, typer.Argument(help="The event log: CSV, TSV, JSONL, Parquet, Arrow, .inter or a paper's text.")]
Run = Annotated[Path, typer.Argument(help="A folder that 'segue train' wrote.")]
Format = Annotated[
    str,
    typer.Option("--format", help="csv tsv jsonl parquet arrow recbole sequences sessions pairs prefixes."),
]
Columns = Annotated[
    list[str] | None,
    typer.Option("--column", help="Which column is what, for example --column item_id=StockCode. May be repeated."),
]
Where = Annotated[str | None, typer.Option(help='Keep only rows that meet this SQL condition, as "Quantity > 0".')]
TimeUnit = Annotated[str, typer.Option(help="Unit of numeric times: s, ms, us, ns; auto guesses from their size.")]
TimeFormat = Annotated[str | None, typer.Option(help="Form of times that are not ISO 8601, as %d/%m/%Y %H:%M.")]
Strict = Annotated[bool, typer.Option("--strict", help="Refuse a log with a bad row instead of setting it aside.")]
Rejected = Annotated[Path | None, typer.Option(help="Write the rows set aside, with number and reason, to this CSV.")]
Trims = Annotated[
    list[str] | None,
    typer.Option("--trim", help="min_user_events=N, min_item_events=N, session_gap_s=N or drop_repeats=true."),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON, and nothing else, on standard output.")]
Erased = Annotated[
    Path | None,
    typer.Option(help="A server's data directory: who was erased there is left out of the log, up to that moment."),
]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", help="A setting, name=value or model.name=value. May be repeated."),
]
Protocol = Annotated[
    str, typer.Option(help="How the log is cut: time, leave-last-out, leave-last-n-out, sessions, fixed.")
]
Test = Annotated[Path | None, typer.Option(help="A fixed test log, for --protocol fixed.")]
TestFormat = Annotated[str, typer.Option(help="The test log's format; auto: by its ending.")]
K = Annotated[str, typer.Option("--k", help="List lengths, comma-separated.")]
Ties = Annotated[str, typer.Option(help="How equal scores count: half, conservative (GRU4Rec's rule), optimistic.")]
Unknown = Annotated[
    str, typer.Option(help="With --test: targets unknown to training are left out (drop) or missed (miss).")
]

Items = Annotated[Path | None, typer.Option(help="An items table: item_id and columns such as title.")]
Features = Annotated[
    str | None, typer.Option(help="Columns of --items that networks learn from, comma-separated: category,price,title.")
]

Users = Annotated[Path | None, typer.Option(help="A users table: user_id and columns such as region.")]
Context = Annotated[
    str | None, typer.Option(help="Columns of the log or of --users that networks learn from: region,device.")
]


def open_log(path: Path, *, quiet: bool = False, **options: Any) -> "EventLog":
    """Reads a log and says on standard error (unless ``quiet``) what was guessed and set aside. ``columns`` come as
    name=value."""
    from segue.config.decode import parse_assignments
    from segue.data.readers.events import read_events

    options |= parse_assignments(options.pop("trim", None) or [])
    pairs = [entry.partition("=") for entry in options.pop("columns", None) or []]
    for name, equals, _ in pairs:
        if not equals:
            raise ValueError(f"'{name}' does not say which column is what: write for example item_id=StockCode.")
    log = read_events(path, columns={name: column for name, _, column in pairs}, **options)
    for line in [] if quiet else log.report.lines():
        err.print(line, markup=False)
    return log


def without_erased(log: "EventLog", erased: Path | None) -> "EventLog":
    """The log without the people who were erased in a data directory; it is said how many events that were."""
    if erased is None:
        return log
    from segue.data.erasure_list import ErasureList

    kept = ErasureList.read(erased).filter_log(log)
    err.print(f"{len(log) - len(kept):,} events of erased people are left out.", markup=False)
    return kept


def split_from_options(log: "EventLog", protocol: str, test: Path | None, test_format: str, unknown: str) -> "Split":
    """The split that the options ask for."""
    if test is None:
        return split_log(log, protocol)
    if protocol not in ("fixed", "time"):
        raise ValueError(f"--test goes with --protocol fixed, not with {protocol}.")
    return split_log(log, "fixed", test=open_log(test, format=test_format), unknown=unknown)


def parse_settings(assignments: list[str] | None, models: list[str]) -> dict[str, dict[str, Any]]:
    """``["gru4rec.dim=64", "epochs=3"]`` -> settings for each model; a plain name goes to every model that has it.

    For models that answer together ("sasrec+vstan") names stay as they are: fitting hands them to the members.
    ValueError for a name that none of the models has.
    """
    from segue.config.decode import parse_assignments

    accepted = {model: _accepted(model) for model in models}
    out: dict[str, dict[str, Any]] = {model: {} for model in models}
    for path, value in parse_assignments(assignments or []).items():
        owners = [model for model in models if path in accepted[model]]
        owner, _, name = path.rpartition(".")
        if not owners and owner in out:
            out[owner][name] = value  # no such setting: the model itself says so, and which it may mean
            continue
        if owner and not any(name.startswith(f"{owner}.") for names in accepted.values() for name in names):
            raise ValueError(f"'{path}' sets model '{owner}', which is not among those to run: {', '.join(models)}.")
        if not owners:
            known = sorted({name for names in accepted.values() for name in names if "." not in name})
            raise ValueError(
                f"Unknown setting '{path}'. Settings of {', '.join(models)}: {', '.join(known) or 'none'}."
            )
        for model in owners:
            out[model][accepted[model][path]] = value
    return out


def _accepted(model: str) -> dict[str, str]:
    """What a setting of this model may be called -> what fitting calls it."""
    from segue.workflows.fit_model import setting_names

    if "+" not in model:
        return {path: name for name in setting_names(model) for path in (name, f"{model}.{name}")}
    return {
        path: path
        for place, part in enumerate(model.split("+"), 1)
        for name in setting_names(part)
        for path in (name, f"{part}.{name}", f"{place}.{name}")
    }


def with_features(
    values: dict[str, dict[str, Any]], features: str | None, items: Path | str | None, context: str | None = None
) -> dict[str, dict[str, Any]]:
    """The settings of each model, networks with ``features`` and ``context`` (comma-separated columns) in them.

    ValueError for features without a table, and where no model learns from any.
    """
    from segue.models.zoo import is_neural

    if features is None and context is None:
        return values
    if features is not None and items is None:
        raise ValueError("--features names columns of an items table: name the table with --items.")
    networks = [name for name in values if is_neural(name)]
    if not networks:
        what = "features" if context is None else "context"
        raise ValueError(f"Only networks learn from {what}, and {', '.join(values)} only counts.")
    asked = {"features": features, "contexts": context}
    more = {name: parse_names(text) for name, text in asked.items() if text is not None}
    return {name: {**more, **own} if name in networks else own for name, own in values.items()}


def parse_names(text: str) -> list[str]:
    """Names that are separated by commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def with_tables(
    read: "EventLog", items: "ItemTable | None", users: Path | str | None, contexts: Iterable[str] | None
) -> "EventLog":
    """The log with what models learn from besides events."""
    if items is not None:
        read = read.with_items(items)
    if users is not None:
        read = read.with_users(read_users(users))
    return read.with_context(contexts) if contexts else read


def parse_lengths(text: str) -> list[int]:
    """``"5,10"`` -> [5, 10]."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"List lengths are whole numbers with commas between, as 5,10,20; got '{text}'.") from None
