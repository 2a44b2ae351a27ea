"""Command ``segue report``: clicks and purchases after recommendations, and experiments, with intervals."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segue.cli import options as o
from segue.cli.output import out, print_json, table

if TYPE_CHECKING:
    from segue.evaluation.off_policy import Estimate
    from segue.serving.schemas.admin import ExperimentReport, RateEstimate
    from segue.workflows.recommendation_logs.estimate_policy import OffPolicyReport

Data = Annotated[Path, typer.Argument(help="A server's data directory, as RUN-data.")]


def report(
    data: Data,
    days: Annotated[float, typer.Option(help="Number of days to look back.")] = 7.0,
    off_policy: Annotated[
        Path | None,
        typer.Option(help="A saved pipeline or model: estimate what its lists would have had, from the recorded ones."),
    ] = None,
    placement: Annotated[
        str | None, typer.Option(help="With --off-policy: only lists of this placement; else each one apart.")
    ] = None,
    json: o.Json = False,
) -> None:
    """Report clicks and purchases after recommendations, by placement, variant and version, and for each experiment.

    Works while the server runs. A click counts when its event names the list (recommendation_id). A purchase counts
    when it does, or for the user's last click on the item within a day.

    With --off-policy every list in which a pipeline drew an item is made again by another pipeline or model, and its
    clicks and purchases count by the ratio of the two probabilities (IPS, SNIPS, doubly robust; 95 % intervals over
    users). It needs a placement that explores, and refuses a log without propensities.

    \b
    Examples:
      segue report run-data --days 14
      segue report run-data --off-policy another-run
    """
    from msgspec import to_builtins

    from segue.serving.experiments.report import build_report

    if placement is not None and off_policy is None:
        raise ValueError("--placement belongs to --off-policy: the report has every placement.")
    if off_policy is not None:
        from segue.workflows.recommendation_logs.estimate_policy import estimate_policy

        show_off_policy(estimate_policy(data, off_policy, days=days, placement=placement), json)
        return
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


def show_off_policy(result: "OffPolicyReport", json: bool) -> None:
    """Print off-policy estimates.

    Args:
        result: the estimates.
        json: print one JSON document.
    """
    from segue.evaluation.off_policy import MIN_EFFECTIVE_SAMPLE_SIZE

    if json:
        print_json(result.to_dict())
        return
    rows = [
        [
            *(estimate.placement, estimate.reward, f"{estimate.lists:,}", f"{estimate.users:,}"),
            *map(format_estimate, (estimate.logged, estimate.inverse_propensity, estimate.self_normalized)),
            *(format_estimate(estimate.doubly_robust), f"{estimate.inverse_propensity.effective_sample_size:,.0f}"),
        ]
        for estimate in result.estimates
    ]
    heads = ["placement", "a list", "lists", "users", "recorded, 95 %", "IPS", "SNIPS", "doubly robust", "effective"]
    table(None, heads, rows, left=2)
    for reason, count in result.skipped.items():
        out.print(f"{count:,} lists {reason} are not used.", markup=False)
    for estimate in result.estimates:
        if not estimate.is_supported and estimate.reward == "clicks":
            out.print(
                f"Placement {estimate.placement}: the mean weight is {format_estimate(estimate.mean_weight)}, below 1. "
                "Some lists of this model are never drawn by the server, so nothing is known of their clicks: IPS is a "
                "lower bound, the others hold for the lists that are drawn.",
                markup=False,
            )
        if not estimate.is_reliable and estimate.reward == "clicks":
            effective = estimate.inverse_propensity.effective_sample_size
            out.print(
                f"Placement {estimate.placement}: the {estimate.lists:,} lists have the information of "
                f"{effective:,.0f} lists of this model. Below {MIN_EFFECTIVE_SAMPLE_SIZE:g} the intervals are too "
                "narrow: wait for more lists, explore fewer positions, or evaluate a model nearer to the served one.",
                markup=False,
            )


def format_estimate(estimate: "Estimate | None") -> str:
    """Return an estimate and its 95 % interval as ``0.312 (0.290 .. 0.334)``; "-" without one."""
    return "-" if estimate is None else f"{estimate.value:.3f} ({estimate.low:.3f} .. {estimate.high:.3f})"


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
