"""Options that several commands share, spelled and explained once."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segue.cli.output import err

if TYPE_CHECKING:
    from segue.data.cases import Split
    from segue.data.events import EventLog

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


def open_log(path: Path, *, quiet: bool = False, **options: Any) -> "EventLog":
    """Reads a log and says on standard error (unless ``quiet``) what was guessed and set aside. ``columns`` come as
    name=value."""
    from segue.data.events import read_events
    from segue.settings import parse

    options |= parse(options.pop("trim", None) or [])
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
    from segue.data.erasures import Erasures

    kept = Erasures.read(erased).without(log)
    err.print(f"{len(log) - len(kept):,} events of erased people are left out.", markup=False)
    return kept


def cut(log: "EventLog", protocol: str, test: Path | None, test_format: str, unknown: str) -> "Split":
    """The split that the options ask for."""
    if test is None:
        return log.split(protocol)
    if protocol not in ("fixed", "time"):
        raise ValueError(f"--test goes with --protocol fixed, not with {protocol}.")
    return log.split("fixed", test=open_log(test, format=test_format), unknown=unknown)


def values_of(assignments: list[str] | None, models: list[str]) -> dict[str, dict[str, Any]]:
    """``["gru4rec.dim=64", "epochs=3"]`` -> settings for each model; a plain name goes to every model that has it.

    ValueError for a name that none of the models has.
    """
    import dataclasses

    from segue.models.zoo import Learned, find
    from segue.settings import parse

    fields: dict[str, set[str]] = {}
    for model in models:
        entry = find(model)
        fields[model] = {f.name for f in dataclasses.fields(entry.config)}
        if isinstance(entry, Learned):
            fields[model] |= set(training_names())
    out: dict[str, dict[str, Any]] = {model: {} for model in models}
    for path, value in parse(assignments or []).items():
        model, dot, name = path.rpartition(".")
        owners = [model] if dot else [m for m in models if path in fields[m]]
        if dot and model not in out:
            raise ValueError(f"'{path}' sets model '{model}', which is not among those to run: {', '.join(models)}.")
        if not owners:
            known = sorted(set().union(*fields.values()))
            raise ValueError(
                f"Unknown setting '{path}'. Settings of {', '.join(models)}: {', '.join(known) or 'none'}."
            )
        for owner in owners:
            out[owner][name] = value
    return out


def training_names() -> list[str]:
    """The trainer's settings."""
    import dataclasses

    from segue.training.config import TrainingConfig

    return [f.name for f in dataclasses.fields(TrainingConfig)]


def lengths(text: str) -> list[int]:
    """``"5,10"`` -> [5, 10]."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"List lengths are whole numbers with commas between, as 5,10,20; got '{text}'.") from None
