"""Writer of docs/results/pipeline.md and its plots from the result files: `python benchmarks/pipeline_page.py`."""

from collections.abc import Callable
from typing import Any

import plots
from machine import ROOT, load_result, provenance

LOGS = ("online-retail", "beauty", "ml-1m-time", "ml-1m")


def interval_text(interval: list[float]) -> str:
    """Return an interval as text."""
    return f"{interval[0]:+.4f} .. {interval[1]:+.4f}"


def rankers() -> list[str]:
    """Return the section of click rankers."""
    lines = [
        "## Click rankers",
        "",
        "Each next event against one item sampled by popularity and one retrieved item (`benchmarks/ranker.py`); means",
        "over the seeds.",
        "",
    ]
    lines += ["| log | ranker | seeds | AUC | logloss | ECE | ndcg@10 with co-visitation - co-visitation alone |"]
    lines += ["|---" * 7 + "|"]
    for log in LOGS:
        result = load_result(f"ranker-{log}")
        for name, row in sorted((result or {}).get("mean over seeds", {}).items(), key=lambda pair: -pair[1]["auc"]):
            runs = result["rankers"][name].values()  # type: ignore[index]
            lists = [run["ndcg@10 of the first 200 of co-visitation"] for run in runs]
            gains = [row["both - co-visitation, with 95 % interval"][0] for row in lists]
            numbers = f"{row['seeds']} | {row['auc']:.4f} | {row['logloss']:.4f} | {row['ece']:.4f}"
            lines.append(f"| {log} | {name} | {numbers} | {min(gains):+.4f} to {max(gains):+.4f} |")
    return [*lines, "", "![Predicted probability and observed share](plots/ranker-reliability.svg)", ""]


def accuracy() -> list[str]:
    """Return the section of the pipeline against its best source."""
    result = load_result("pipeline-accuracy")
    if result is None:
        return []
    lines = ["## Pipeline against its best single model", "", "Time split, ndcg@10.", ""]
    lines += [
        "| log | cases of | cases | pipeline | best single model | difference | 95 % interval of the difference |",
        "|---" * 7 + "|",
    ]
    for row in result["results"]:
        cohorts = [("all users and items", row["ahead"])]
        cohorts += [(f"users with {span(cohort)} events", cohort) for cohort in row["by_user"]]
        cohorts += [(f"items with {span(cohort)} events", cohort) for cohort in row["by_item"]]
        for title, cohort in cohorts:
            if cohort["cases"] == 0:
                lines.append(f"| {row['log']} | {title} | 0 | | | | |")
                continue
            difference = "" if cohort["relative"] is None else f"{cohort['relative']:+.1%}"
            single = f"{cohort['single']:.4f} ({row['best_single']})"
            numbers = f"{cohort['cases']:,} | {cohort['pipeline']:.4f} | {single} | {difference}"
            lines.append(f"| {row['log']} | {title} | {numbers} | {interval_text(cohort['interval'])} |")
    return [*lines, "", provenance(result), ""]


def span(cohort: dict[str, Any]) -> str:
    """Return the range of a cohort as text."""
    low, high = cohort["from"], cohort["below"] - 1
    return f"{low:,} and more" if high >= 10**8 else str(low) if low == high else f"{low:,} to {high:,}"


def new_items() -> list[str]:
    """Return the section of items that are new after the cutoff."""
    result = load_result("pipeline-new-items")
    if result is None:
        return []
    lines = [
        "## New items",
        "",
        f"{result['items']} items of the gift shop that were first bought after the cutoff.",
        "",
    ]
    lines += ["| events before | cases | pipeline | network alone | network with features alone | random order |"]
    lines += ["|---" * 6 + "|"]
    for row in result["results"]:
        alone = f"{row['network_alone']:.3f} | {row['network_with_features_alone']:.3f} | {row['chance']:.3f}"
        lines.append(f"| {row['events']} | {row['cases']} | {row['pipeline']:.3f} | {alone} |")
    return [*lines, "", "Recall@50 over the whole catalog, ties half. " + provenance(result), ""]


def emerging() -> list[str]:
    """Return the section of users whose category has just changed."""
    result = load_result("pipeline-emerging")
    if result is None:
        return []
    lines = ["## Emerging interest", "", "Synthetic users, one event after they switched to another category:", ""]
    lines += ["| model | first item of the new category | share of the first 10 |", "|---|---|---|"]
    for name, row in sorted(result["synthetic"].items(), key=lambda pair: -pair[1]["first"]):
        lines.append(f"| {name} | {row['first']:.1%} | {row['of_ten']:.1%} |")
    real = result["real"]
    lines += [
        "",
        f"MovieLens-1M, time split, {real['cases']:,} cases whose target's genre is not among the last 10 events:",
        "",
    ]
    lines += ["| model | recall@10 | ndcg@10 |", "|---|---|---|"]
    for name, row in sorted(real["metrics"].items(), key=lambda pair: -pair[1]["ndcg@10"]):
        lines.append(f"| {name} | {row['recall@10']:.4f} | {row['ndcg@10']:.4f} |")
    ahead = real["ahead"]
    lines += [
        "",
        f"Difference to {real['best_single']}: {ahead['difference']:+.4f} ({interval_text(ahead['interval'])}).",
    ]
    return [*lines, "", provenance(result), ""]


def diversity() -> list[str]:
    """Return the section of diversity against accuracy."""
    result = load_result("pipeline-diversity")
    if result is None:
        return []
    lines = ["## Diversity against accuracy", "", "![Diversity gained against accuracy lost](plots/diversity.svg)", ""]
    lines += [
        "Strength and number of fixed positions: the most diversity for at most 2 % of ndcg@10 on validation.",
        "",
    ]
    lines += [
        "| log | method | strength | fixed | diversity | ndcg@10 | 95 % interval of the difference |",
        "|---" * 7 + "|",
    ]
    for log in ("ml-1m", "beauty"):
        for name, row in result[log]["test"].items():
            if name != "plain":
                numbers = f"{row['diversity gained']:+.1%} | {-row['ndcg lost']:+.1%}"
                ends = interval_text(row["ndcg difference"][1:])
                lines.append(f"| {log} | {name} | {row['strength']} | {row.get('num_fixed', 0)} | {numbers} | {ends} |")
    return [*lines, "", provenance(result), ""]


def rules() -> list[str]:
    """Return the section of rules and their cost."""
    result = load_result("pipeline-rules")
    if result is None:
        return []
    checks, cost = result["property"], result["cost"]
    lines = [
        "## Rules",
        "",
        f"{checks['filters']:,} random filters and histories: {len(checks['mistakes'])} errors.",
        "",
    ]
    lines += [f"{cost['items']:,} items, {cost['candidates']} candidates:", ""]
    lines += ["| stage | median ms | 99 % |", "|---|---|---|"]
    lines += [f"| {name} | {row['p50_ms']:.2f} | {row['p99_ms']:.2f} |" for name, row in cost["stages"].items()]
    return [*lines, "", provenance(result), ""]


def off_policy() -> list[str]:
    """Return the section of off-policy estimates."""
    result = load_result("pipeline-off-policy")
    if result is None:
        return []
    lines = [
        "## Off-policy evaluation",
        "",
        "Runs of 100 in which the 95 % interval contains the true value, in a click simulator:",
        "",
    ]
    lines += ["| logging policy | IPS | SNIPS | doubly robust |", "|---|---|---|---|"]
    for policy, row in result.items():
        if isinstance(row, dict) and "estimates" in row:
            cells = " | ".join(str(row["estimates"][name]["within"]) for name in ("ips", "snips", "dr"))
            lines.append(f"| {policy} | {cells} |")
    return [*lines, "", provenance(result), ""]


def latency() -> list[str]:
    """Return the section of the latency of one request."""
    result = load_result("pipeline-latency")
    if result is None:
        return []
    lines = ["## Latency of one request in process, one core", ""]
    lines += [f"{result['candidates']:.0f} candidates of 100,000 items: median {result['p50_ms']:.2f} ms, 95 %"]
    lines += [f"{result['p95_ms']:.2f} ms.", "", provenance(result), ""]
    return lines


PARTS: tuple[Callable[[], list[str]], ...] = (
    rankers, accuracy, new_items, emerging, diversity, rules, off_policy, latency,
)  # fmt: skip


def page() -> str:
    """Return the page."""
    lines = [
        "# Pipeline, measured",
        "",
        "Made by `benchmarks/pipeline_page.py` from `benchmarks/results/`; measured by",
    ]
    lines += ["`benchmarks/ranker.py`, `pipeline.py` and `pipeline_accuracy.py`. How to make a pipeline:"]
    lines += ["[guide](../guide/pipeline.md).", ""]
    for part in PARTS:
        lines += part()
    return "\n".join(lines).rstrip() + "\n"


def main() -> None:
    """Write the page and its plots."""
    (ROOT / "docs" / "results" / "pipeline.md").write_text(page(), encoding="utf-8")
    folder = ROOT / "docs" / "results" / "plots"
    results = {log: result for log in LOGS if (result := load_result(f"ranker-{log}")) is not None}
    plots.write(plots.reliability(results), folder / "ranker-reliability.svg")
    if (result := load_result("pipeline-diversity")) is not None:
        plots.write(plots.diversity(result), folder / "diversity.svg")


if __name__ == "__main__":
    main()
