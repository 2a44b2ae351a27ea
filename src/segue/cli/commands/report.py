"""segue report: clicks and purchases that followed recommendations, and experiments, with intervals."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segue.cli import options as o
from segue.cli.output import out, print_json, table

if TYPE_CHECKING:
    from segue.serving.schemas.admin import ExperimentReport, RateEstimate

Data = Annotated[Path, typer.Argument(help="A server's data directory, as RUN-data.")]


def report(
    data: Data,
    days: Annotated[float, typer.Option(help="How far back.")] = 7.0,
    json: o.Json = False,
) -> None:
    """Say what came of the lists that were shown: by place, variant and version, and for each experiment.

    Works while the server runs. A click counts when its event names the list (recommendation_id); a purchase counts
    when it does, or for the person's last click on the item within a day.

    \b
    Example:
      segue report run-data --days 14
    """
    from msgspec import to_builtins

    from segue.serving.experiments.report import build_report as measured

    found = measured(data / "measurements.sqlite", days)
    if json:
        print_json(to_builtins(found))
        return
    rows = [
        [
            *(one.placement or "-", one.variant, one.version, f"{one.lists:,}", f"{one.users:,}"),
            *(shown(one.ctr), shown(one.purchase_rate), f"{one.value:,.2f}"),
        ]
        for one in found.cells
    ]
    heads = ["placement", "variant", "version", "lists", "people", "clicked, 95 %", "purchases a list, 95 %", "value"]
    table(None, heads, rows, left=3)
    for one in found.experiments:
        for line in lines(one):
            out.print(line, markup=False)


def shown(rate: "RateEstimate") -> str:
    """``12.0 % (10.0 .. 14.0)``."""
    if rate.value is None:
        return "-"
    if rate.low is None or rate.high is None:
        return f"{rate.value * 100:.2f} %"
    return f"{rate.value * 100:.2f} % ({rate.low * 100:.2f} .. {rate.high * 100:.2f})"


def lines(one: "ExperimentReport") -> list[str]:
    """An experiment in sentences."""
    people = ", ".join(f"{name} {count:,} (expected {one.expected[name]:.1%})" for name, count in one.users.items())
    told = [f"\nExperiment {one.name}. People: {people}."]
    if not one.sound:
        told.append(
            f"The split is NOT what it should be (p = {one.sample_ratio_p:.1e}): find out why before reading on."
        )
    told.append(f"Canary above live: clicked lists {shown(one.ctr_difference)}, "
                f"purchases a list {shown(one.purchase_difference)}.")  # fmt: skip
    if one.preference.value is not None:
        told.append(
            f"Interleaved: {one.preferred['canary']:,} people preferred the canary, {one.preferred['live']:,} the live "
            f"version, {one.preferred['tie']:,} neither: {shown(one.preference)}, p = {one.preference_p:.3g}."
        )
    return told
