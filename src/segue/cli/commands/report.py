"""Command ``segue report``: clicks and purchases after recommendations, and experiments, with intervals."""

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
    days: Annotated[float, typer.Option(help="Number of days to look back.")] = 7.0,
    json: o.Json = False,
) -> None:
    """Report clicks and purchases after recommendations, by placement, variant and version, and for each experiment.

    Works while the server runs. A click counts when its event names the list (recommendation_id). A purchase counts
    when it does, or for the user's last click on the item within a day.

    \b
    Example:
      segue report run-data --days 14
    """
    from msgspec import to_builtins

    from segue.serving.experiments.report import build_report

    result = build_report(data / "attribution.sqlite", days)
    if json:
        print_json(to_builtins(result))
        return
    rows = [
        [
            *(cell.placement or "-", cell.variant, cell.version, f"{cell.lists:,}", f"{cell.users:,}"),
            *(format_rate(cell.ctr), format_rate(cell.purchase_rate), f"{cell.value:,.2f}"),
        ]
        for cell in result.cells
    ]
    heads = ["placement", "variant", "version", "lists", "users", "clicked, 95 %", "purchases a list, 95 %", "value"]
    table(None, heads, rows, left=3)
    for experiment in result.experiments:
        for line in experiment_lines(experiment):
            out.print(line, markup=False)


def format_rate(rate: "RateEstimate") -> str:
    """Return a rate and its 95 % interval as ``12.00 % (10.00 .. 14.00)``; "-" without a value."""
    if rate.value is None:
        return "-"
    if rate.low is None or rate.high is None:
        return f"{rate.value * 100:.2f} %"
    return f"{rate.value * 100:.2f} % ({rate.low * 100:.2f} .. {rate.high * 100:.2f})"


def experiment_lines(experiment: "ExperimentReport") -> list[str]:
    """Return the results of an experiment as sentences."""
    users = ", ".join(
        f"{name} {count:,} (expected {experiment.expected[name]:.1%})" for name, count in experiment.users.items()
    )
    lines = [f"\nExperiment {experiment.name}. Users: {users}."]
    if not experiment.sample_ratio_ok:
        lines.append(
            f"The split differs from the expected one (p = {experiment.sample_ratio_p:.1e}): find the cause before "
            "reading on."
        )
    lines.append(
        f"Canary minus live: clicked lists {format_rate(experiment.ctr_difference)}, "
        f"purchases a list {format_rate(experiment.purchase_difference)}."
    )
    if experiment.preference.value is not None:
        lines.append(
            f"Interleaved: {experiment.preferred['canary']:,} users preferred the canary, "
            f"{experiment.preferred['live']:,} the live version, {experiment.preferred['tie']:,} neither: "
            f"{format_rate(experiment.preference)}, p = {experiment.preference_p:.3g}."
        )
    return lines
