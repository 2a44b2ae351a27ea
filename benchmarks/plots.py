"""Plots of the documentation as SVG files; equal results give equal files."""

from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
from matplotlib.figure import Figure

mpl.rcParams["svg.hashsalt"] = "segue"
mpl.rcParams["svg.fonttype"] = "none"
LEVELS = {"beauty": {"SASRec, sampled softmax, published": 0.0531, "SASRec, full softmax, published": 0.0588}}
LEVELS["ml-1m"] = {"GRU4Rec, published": 0.165, "SASRec, full softmax, published": 0.182}
"""Published ndcg@10 under the same protocol."""


def write(figure: Figure, path: Path) -> None:
    """Write a figure as SVG without a date.

    Args:
        figure: the figure.
        path: file to write.
    """
    figure.savefig(path, format="svg", metadata={"Date": None}, bbox_inches="tight")


def limits(result: dict[str, Any]) -> Figure:
    """Plot one epoch's seconds by part, beside the minimum of the machine for the same work."""
    parts_of_epoch = result["epoch"]
    products, exp = parts_of_epoch["softmax_seconds_at_the_gemm_rate"], parts_of_epoch["softmax_seconds_of_exp_alone"]
    bars = {
        "measured": {
            "softmax": parts_of_epoch["seconds_softmax"],
            "encoder, optimizers": parts_of_epoch["seconds_encoder_optimizer_rest"],
        },
        "softmax at the\nmachine's rates": {"products": products, "exponentials": exp},
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
    """Plot rate and memory against events and items, on logarithmic axes."""
    figure = Figure(figsize=(8.0, 3.0))
    for axes, variable in zip(figure.subplots(1, 2), ("events", "items"), strict=True):
        rows = {int(size.replace(",", "")): row for size, row in result[variable].items() if "error" not in row}
        axes.plot(list(rows), [row["events_per_s"] for row in rows.values()], "o-", label="training events per second")
        axes.plot(list(rows), [row["peak_mb"] for row in rows.values()], "s--", label="peak memory, MB")
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("events in the log" if variable == "events" else "items in the catalog")
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    figure.tight_layout()
    return figure


def quality(result: dict[str, Any]) -> Figure:
    """Plot test ndcg@10 against wall seconds from the raw file, with the published levels as lines."""
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
    """Plot the latencies of each model and size at the largest sustained rate, one line per type of request, on
    logarithmic axes."""
    names = [name for name, rows in result.items() if isinstance(rows, dict) and "history" in rows]
    columns = min(2, len(names))
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(4.4 * columns, 2.6 * rows))
    for axes, name in zip(figure.subplots(rows, columns, squeeze=False).ravel(), names, strict=False):
        for request in ("history", "event fsync", "event memory"):
            steps = result[name][request]["steps"]
            step = ([step for step in steps if step["sustained"]] or steps[:1])[-1]
            bins = sorted((float(edge), count) for edge, count in step["histogram_ms"].items())
            label = f"{request}, {step['offered_per_s']}/s" + ("" if step["sustained"] else " (not sustained)")
            axes.step([edge for edge, _ in bins], [count for _, count in bins], where="pre", label=label)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_title(name)
        axes.set_xlabel("ms from the due time of a request to its complete response")
        axes.set_ylabel("requests")
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, fontsize=7)
    figure.tight_layout()
    return figure


def diversity(result: dict[str, Any]) -> Figure:
    """Plot the diversity gained against the ndcg@10 lost on validation of each log and method, one point per strength.
    The allowed loss is shaded."""
    figure = Figure(figsize=(9.0, 3.6))
    for axes, log in zip(figure.subplots(1, 2), ("ml-1m", "beauty"), strict=True):
        plain = result[log]["validation"]["plain"]
        for n, (name, curve) in enumerate(result[log]["validation"]["curves"].items()):
            metric = "diversity by embeddings" if "embeddings" in name else "diversity by categories"
            gained = [100 * (row[metric] / plain[metric] - 1) for row in curve]
            lost = [100 * (1 - row["ndcg@10"] / plain["ndcg@10"]) for row in curve]
            style = "--" if "2 fixed" in name else ":" if "4 fixed" in name else "-"
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
    """Plot the predicted probabilities of each log's rankers (first seed) against observed shares."""
    figure = Figure(figsize=(3.4 * max(1, len(results)), 3.2))
    for axes, (log, result) in zip(
        figure.subplots(1, max(1, len(results)), squeeze=False)[0], results.items(), strict=False
    ):
        axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
        for name, rows in result["rankers"].items():
            points = next(iter(rows.values()), {}).get("reliability", [])
            axes.plot(
                [predicted for predicted, _ in points], [observed for _, observed in points], marker=".", label=name
            )
        axes.set_xlabel("predicted probability")
        axes.set_ylabel("observed share")
        axes.set_title(log)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, fontsize=7)
    figure.tight_layout()
    return figure
