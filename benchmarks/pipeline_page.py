"""docs/results/pipeline.md and its plots from the result files: `python benchmarks/pipeline_page.py`."""

from collections.abc import Callable
from typing import Any

import plots
from machine import ROOT, found, made

LOGS = ("online-retail", "beauty", "ml-1m-time", "ml-1m")


def within(interval: list[float]) -> str:
    """An interval in words."""
    return f"{interval[0]:+.4f} .. {interval[1]:+.4f}"


def rankers() -> list[str]:
    """Click probabilities, log by log."""
    lines = ["## Click probabilities", "", "`benchmarks/ranker.py` says how cases are made. Means over the seeds.", ""]
    lines += ["| log | ranker | seeds | AUC | logloss | ECE | ndcg@10 with the rule, less the rule alone |"]
    lines += ["|---" * 7 + "|"]
    for log in LOGS:
        result = found(f"ranker-{log}")
        for name, row in sorted((result or {}).get("mean over seeds", {}).items(), key=lambda pair: -pair[1]["auc"]):
            seeds = result["rankers"][name].values()  # type: ignore[index]
            gains = [one["ndcg@10 of the rule's first 200"]["both - rule, with 95 % interval"][0] for one in seeds]
            numbers = f"{row['seeds']} | {row['auc']:.4f} | {row['logloss']:.4f} | {row['ece']:.4f}"
            lines.append(f"| {log} | {name} | {numbers} | {min(gains):+.4f} to {max(gains):+.4f} |")
    return [*lines, "", "![Said and happened](plots/ranker-reliability.svg)", ""]


def whole() -> list[str]:
    """The pipeline against its best source."""
    result = found("pipeline-accuracy")
    if result is None:
        return []
    lines = ["## The whole pipeline against the best single model in it", "", "Time split, ndcg@10.", ""]
    lines += ["| log | who | cases | pipeline | best single | lead | 95 % of the lead |", "|---" * 7 + "|"]
    for row in result["results"]:
        groups = [("everybody, everything", row["ahead"])]
        groups += [(f"people with {span(one)} events", one) for one in row["by_person"]]
        groups += [(f"items with {span(one)} events", one) for one in row["by_item"]]
        for who, one in groups:
            if one["cases"] == 0:
                lines.append(f"| {row['log']} | {who} | 0 | | | | |")
                continue
            lead = "" if one["relative"] is None else f"{one['relative']:+.1%}"
            numbers = f"{one['cases']:,} | {one['pipeline']:.4f} | {one['single']:.4f} ({row['best_single']}) | {lead}"
            lines.append(f"| {row['log']} | {who} | {numbers} | {within(one['interval'])} |")
    return [*lines, "", made(result), ""]


def span(one: dict[str, Any]) -> str:
    """A cohort's edges."""
    low, high = one["from"], one["below"] - 1
    return f"{low:,} and more" if high >= 10**8 else str(low) if low == high else f"{low:,} to {high:,}"


def new_items() -> list[str]:
    """Items first seen behind the cut."""
    result = found("pipeline-new-items")
    if result is None:
        return []
    lines = ["## New items", "", f"{result['items']} items of the gift shop that were first bought behind the cut.", ""]
    lines += ["| events before | cases | pipeline | network alone | network with features alone | chance |"]
    lines += ["|---" * 6 + "|"]
    for row in result["results"]:
        alone = f"{row['network_alone']:.3f} | {row['network_with_features_alone']:.3f} | {row['chance']:.3f}"
        lines.append(f"| {row['events']} | {row['cases']} | {row['pipeline']:.3f} | {alone} |")
    return [*lines, "", "Recall@50 over the whole catalog, equal scores half and half. " + made(result), ""]


def emerging() -> list[str]:
    """Interest that has just turned."""
    result = found("pipeline-emerging")
    if result is None:
        return []
    lines = ["## Emerging interest", "", "Synthetic people, one event after they turned to another category:", ""]
    lines += ["| model | first item of the new category | share of the first ten |", "|---|---|---|"]
    for name, row in sorted(result["synthetic"].items(), key=lambda pair: -pair[1]["first"]):
        lines.append(f"| {name} | {row['first']:.1%} | {row['of_ten']:.1%} |")
    real = result["real"]
    lines += ["", f"MovieLens-1M, time split, {real['cases']:,} cases whose target's genre is new to the last ten:", ""]
    lines += ["| model | recall@10 | ndcg@10 |", "|---|---|---|"]
    for name, row in sorted(real["metrics"].items(), key=lambda pair: -pair[1]["ndcg@10"]):
        lines.append(f"| {name} | {row['recall@10']:.4f} | {row['ndcg@10']:.4f} |")
    ahead = real["ahead"]
    lines += ["", f"Ahead of {real['best_single']} by {ahead['difference']:+.4f} ({within(ahead['interval'])})."]
    return [*lines, "", made(result), ""]


def diversity() -> list[str]:
    """Variety against accuracy."""
    result = found("pipeline-diversity")
    if result is None:
        return []
    lines = ["## Variety against accuracy", "", "![Variety gained against accuracy lost](plots/diversity.svg)", ""]
    lines += ["Strengths and how many places are kept: the most variety for 2 % of ndcg@10 on validation.", ""]
    lines += ["| log | method | strength | kept | variety | ndcg@10 | 95 % of the difference |", "|---" * 7 + "|"]
    for log in ("ml-1m", "beauty"):
        for name, row in result[log]["test"].items():
            if name != "plain":
                numbers = f"{row['diversity gained']:+.1%} | {-row['ndcg lost']:+.1%}"
                ends = within(row["ndcg difference"][1:])
                lines.append(f"| {log} | {name} | {row['strength']} | {row.get('kept', 0)} | {numbers} | {ends} |")
    return [*lines, "", made(result), ""]


def rules() -> list[str]:
    """Filters, and what they cost."""
    result = found("pipeline-rules")
    if result is None:
        return []
    told, cost = result["property"], result["cost"]
    lines = ["## Rules", "", f"{told['filters']:,} random filters and histories: {len(told['mistakes'])} mistakes.", ""]
    lines += [f"{cost['items']:,} items, {cost['candidates']} candidates:", ""]
    lines += ["| stage | median ms | 99 % |", "|---|---|---|"]
    lines += [f"| {name} | {row['p50_ms']:.2f} | {row['p99_ms']:.2f} |" for name, row in cost["stages"].items()]
    return [*lines, "", made(result), ""]


def off_policy() -> list[str]:
    """Estimates of another pipeline."""
    result = found("pipeline-off-policy")
    if result is None:
        return []
    lines = [
        "## Another pipeline from this one's log",
        "",
        "100 runs of a simulator; truth within the 95 % interval:",
        "",
    ]
    lines += ["| lists drawn by | IPS | SNIPS | doubly robust |", "|---|---|---|---|"]
    for name, row in result.items():
        if isinstance(row, dict) and "estimates" in row:
            cells = " | ".join(str(row["estimates"][kind]["within"]) for kind in ("ips", "snips", "dr"))
            lines.append(f"| {name} | {cells} |")
    return [*lines, "", made(result), ""]


def latency() -> list[str]:
    """One request after the other."""
    result = found("pipeline-latency")
    if result is None:
        return []
    lines = ["## One request in process, one core", ""]
    lines += [f"{result['candidates']:.0f} candidates of 100,000 items: median {result['p50_ms']:.2f} ms, 95 %"]
    lines += [f"{result['p95_ms']:.2f} ms.", "", made(result), ""]
    return lines


PARTS: tuple[Callable[[], list[str]], ...] = (
    rankers, whole, new_items, emerging, diversity, rules, off_policy, latency,
)  # fmt: skip


def page() -> str:
    """The whole page."""
    lines = ["# Ranking and the pipeline", "", "Made by `benchmarks/pipeline_page.py` from `benchmarks/results/`.", ""]
    for part in PARTS:
        lines += part()
    return "\n".join(lines).rstrip() + "\n"


def main() -> None:
    """The page and its plots."""
    (ROOT / "docs" / "results" / "pipeline.md").write_text(page(), encoding="utf-8")
    folder = ROOT / "docs" / "results" / "plots"
    results = {log: result for log in LOGS if (result := found(f"ranker-{log}")) is not None}
    plots.write(plots.reliability(results), folder / "ranker-reliability.svg")
    if (result := found("pipeline-diversity")) is not None:
        plots.write(plots.diversity(result), folder / "diversity.svg")


if __name__ == "__main__":
    main()
