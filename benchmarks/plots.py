"""The plots of the documentation, as SVG files that are the same each time they are drawn from the same results."""

from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
from matplotlib.figure import Figure

mpl.rcParams["svg.hashsalt"] = "segue"
mpl.rcParams["svg.fonttype"] = "none"
LEVELS = {"beauty": {"SASRec, sampled softmax, published": 0.0531, "SASRec, full softmax, published": 0.0588}}
LEVELS["ml-1m"] = {"GRU4Rec, published": 0.165, "SASRec, full softmax, published": 0.182}
"""ndcg@10 of careful sources under the same protocol."""


def write(figure: Figure, path: Path) -> None:
    """The figure as SVG, without the date."""
    figure.savefig(path, format="svg", metadata={"Date": None}, bbox_inches="tight")


def limits(result: dict[str, Any]) -> Figure:
    """One epoch's seconds by part, beside what the machine's limits would allow for the same work."""
    work = result["epoch"]
    products, exp = work["softmax_seconds_at_the_gemm_rate"], work["softmax_seconds_of_exp_alone"]
    bars = {
        "measured": {"softmax": work["seconds_softmax"], "encoder, optimizers": work["seconds_encoder_optimizer_rest"]},
        "softmax at the\nmachine's rates": {"its products": products, "its exponentials": exp},
    }
    figure = Figure(figsize=(6.4, 2.4))
    axes = figure.subplots()
    for row, parts in enumerate(bars.values()):
        left = 0.0
        for name, seconds in parts.items():
            axes.barh(row, seconds, left=left, label=name)
            axes.text(left + seconds / 2, row, f"{seconds:.1f}", ha="center", va="center", color="white")
            left += seconds
    axes.set_yticks(range(len(bars)), list(bars))
    axes.invert_yaxis()
    axes.set_xlabel("seconds of one epoch of SASRec on Amazon Beauty")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    return figure


def growth(result: dict[str, Any]) -> Figure:
    """Rate and memory against events and items, both axes logarithmic."""
    figure = Figure(figsize=(8.0, 3.0))
    for axes, kind in zip(figure.subplots(1, 2), ("events", "items"), strict=True):
        rows = {int(size.replace(",", "")): row for size, row in result[kind].items() if "error" not in row}
        axes.plot(list(rows), [row["events_per_s"] for row in rows.values()], "o-", label="training events a second")
        axes.plot(list(rows), [row["peak_mb"] for row in rows.values()], "s--", label="peak memory, MB")
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel(f"{kind} in the log" if kind == "events" else "items in the catalog")
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    figure.tight_layout()
    return figure


def quality(result: dict[str, Any]) -> Figure:
    """Test ndcg@10 against wall seconds from the raw file, with the published levels as lines."""
    figure = Figure(figsize=(8.0, 3.0))
    for axes, (log, levels) in zip(figure.subplots(1, 2), LEVELS.items(), strict=True):
        for n, (name, level) in enumerate(levels.items()):
            axes.axhline(level, linestyle="--", color=f"C{n + 3}", label=name)
        for name, row in result.items():
            if name.startswith(log) and isinstance(row, dict):
                axes.plot(row["seconds"], row["ndcg@10"], "o")
                axes.annotate(name, (row["seconds"], row["ndcg@10"]), textcoords="offset points", xytext=(6, -4))
        axes.set_xlim(left=0)
        axes.margins(x=0.3, y=0.2)
        axes.set_xlabel("seconds from the raw file to the test metrics, 2 cores")
        axes.set_ylabel("test ndcg@10")
        axes.set_title(log)
        axes.legend(frameon=False, fontsize=8)
    figure.tight_layout()
    return figure


def serving_latency(result: dict[str, Any]) -> Figure:
    """For each model and size, how long answers took at the largest rate that was sustained, one line for each kind of
    request; both axes logarithmic."""
    names = [name for name, found in result.items() if isinstance(found, dict) and "history" in found]
    columns = min(2, len(names))
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(4.4 * columns, 2.6 * rows))
    for axes, name in zip(figure.subplots(rows, columns, squeeze=False).ravel(), names, strict=False):
        for kind in ("history", "event fsync", "event memory"):
            steps = result[name][kind]["steps"]
            step = ([step for step in steps if step["sustained"]] or steps[:1])[-1]
            bins = sorted((float(edge), count) for edge, count in step["histogram_ms"].items())
            label = f"{kind}, {step['offered_per_s']}/s" + ("" if step["sustained"] else " (not sustained)")
            axes.step([edge for edge, _ in bins], [count for _, count in bins], where="pre", label=label)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_title(name)
        axes.set_xlabel("ms from when a request was due to its whole answer")
        axes.set_ylabel("requests")
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, fontsize=7)
    figure.tight_layout()
    return figure


def diversity(result: dict[str, Any]) -> Figure:
    """For each log and method, variety gained against ndcg@10 lost on validation, one point for each strength; the
    corner that is aimed at is shaded."""
    figure = Figure(figsize=(9.0, 3.6))
    for axes, log in zip(figure.subplots(1, 2), ("ml-1m", "beauty"), strict=True):
        plain = result[log]["validation"]["plain"]
        for n, (name, curve) in enumerate(result[log]["validation"]["curves"].items()):
            told = "diversity by vectors" if "vectors" in name else "diversity by kinds"
            gained = [100 * (row[told] / plain[told] - 1) for row in curve]
            lost = [100 * (1 - row["ndcg@10"] / plain["ndcg@10"]) for row in curve]
            style = "--" if "2 kept" in name else ":" if "4 kept" in name else "-"
            axes.plot(lost, gained, style, marker=".", markersize=3, linewidth=1, color=f"C{n % 10}", label=name)
        axes.axvspan(-10, 2, color="0.92")
        axes.set_xlim(-4, 20)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("% of ndcg@10 lost")
        axes.set_ylabel("% of intra-list diversity gained")
        axes.set_title(log)
        axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=6, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    figure.tight_layout()
    return figure


def reliability(results: dict[str, dict[str, Any]]) -> Figure:
    """For each log, what rankers said (first seed) against what happened, beside the diagonal of the truthful."""
    figure = Figure(figsize=(3.4 * max(1, len(results)), 3.2))
    for axes, (log, result) in zip(figure.subplots(1, max(1, len(results)), squeeze=False)[0], results.items()):  # noqa: B905
        axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
        for name, rows in result["rankers"].items():
            points = next(iter(rows.values()), {}).get("reliability", [])
            axes.plot([said for said, _ in points], [happened for _, happened in points], marker=".", label=name)
        axes.set_xlabel("probability said")
        axes.set_ylabel("share that happened")
        axes.set_title(log)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, fontsize=7)
    figure.tight_layout()
    return figure
