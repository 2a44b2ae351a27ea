"""docs/results/training.md and its plots from the result files: `python benchmarks/performance_page.py`."""

import plots
from machine import ROOT, found, made


def epoch() -> list[str]:
    result = found("speed-epoch")
    if result is None:
        return []
    lines = ["## One epoch of SASRec on Amazon Beauty (d64, 2 layers, 50 events, softmax over all items)", ""]
    lines += ["| library | seconds | times slower | recall@10 / ndcg@10 after it |", "|---|---|---|---|"]
    ours = result["segue"]
    lines.append(f"| Segue | {ours['seconds']:.1f} | | {ours['recall@10']:.4f} / {ours['ndcg@10']:.4f} |")
    for name in ("rectools", "recbole"):
        row = result.get(name, {})
        if "seconds" in row:
            times = row["seconds"] / ours["seconds"]
            quality = f"{row['recall@10']:.4f} / {row['ndcg@10']:.4f}"
            lines.append(f"| {name} | {row['seconds']:.0f} | {times:.0f} | {quality} |")
    notes = [f"- {note}" for note in result.get("notes", [])]
    return [*lines, "", *notes, made(result), ""]


def quality() -> list[str]:
    result = found("speed-quality")
    if result is None:
        return []
    lines = ["## From the raw file to the test metrics (leave-last-out, train only, seen items excluded)", ""]
    lines += ["![Test ndcg@10 against wall seconds](plots/quality.svg)", ""]
    lines += ["| log and settings | wall seconds | recall@10 / ndcg@10 | peak MB |", "|---|---|---|---|"]
    for name, row in result.items():
        if isinstance(row, dict) and "ndcg@10" in row:
            asked = ", ".join(f"{k}={v}" for k, v in row["settings"].items())
            asked += f" (mean of {len(row['runs'])} seeds)" if len(row.get("runs", [])) > 1 else ""
            numbers = f"{row['recall@10']:.4f} / {row['ndcg@10']:.4f}"
            lines.append(f"| {name}: {asked} | {row['seconds']:.0f} | {numbers} | {row['peak_mb']:.0f} |")
    return [*lines, "", made(result), ""]


def limits() -> list[str]:
    result = found("speed-limits")
    if result is None:
        return []
    machine, work = result["machine"], result["epoch"]
    rate = f"{machine['gemm_bf16_gflops']} GFLOP/s (float32: {machine['gemm_fp32_gflops']})"
    return [
        "## Where an epoch's seconds go, against the machine's limits",
        "",
        "![Seconds of one epoch by part, beside the least the machine could need](plots/limits.svg)",
        "",
        "| what | the machine | one epoch |",
        "|---|---|---|",
        f"| bfloat16 products | {rate} | softmax: {work['seconds_softmax']} s; its products at that rate: "
        f"{work['softmax_seconds_at_the_gemm_rate']} s |",
        f"| exp | {machine['exp_bf16_g_per_s']} G/s | {work['softmax_seconds_of_exp_alone']} s of the softmax |",
        f"| copying | {machine['copy_gb_per_s']} GB/s | |",
        f"| encoder, optimizers, the rest | | {work['seconds_encoder_optimizer_rest']} s |",
        f"| preparing batches (in a thread of its own) | | {work['seconds_preparing_batches']} s |",
        f"| **whole epoch** | | **{work['seconds']} s**, {work['targets']:,} targets, padding {work['padding']:.1%} |",
        "",
        made(result),
        "",
    ]


def growth() -> list[str]:
    result = found("speed-growth")
    if result is None:
        return []
    lines = ["## As a log and a catalog grow", "", "![Rate and memory against size](plots/growth.svg)", ""]
    lines += [
        "GRU4Rec d64, windows of 20, 1,024 drawn items, a log of Zipf's law on disk; each size in a process of its"
    ]
    lines += ["own, the rate over 15 seconds of training.", ""]
    lines += [
        "| grows | size | ready after s | events/s | s per epoch at that rate | peak MB |",
        "|---|---|---|---|---|---|",
    ]
    for kind, events in (("events", None), ("items", 2_000_000)):
        for size, row in result[kind].items():
            if "error" in row:
                lines.append(f"| {kind} | {size} | | failed | | |")
                continue
            seconds = (events or int(size.replace(",", ""))) * 0.9 / row["events_per_s"]
            numbers = f"{row['ready_s']} | {row['events_per_s']:,} | {seconds:,.0f} | {row['peak_mb']:,.0f}"
            lines.append(f"| {kind} | {size} | {numbers} |")
    return [*lines, "", made(result), ""]


def rates() -> list[str]:
    lines: list[str] = []
    gru = found("speed-gru")
    if gru is not None:
        lines += ["## GRU4Rec", "", "| log | items | training events a second | learned |", "|---|---|---|---|"]
        for name, row in gru.items():
            if not isinstance(row, dict) or "events_per_s" not in row:
                continue
            learned = f"recall@20 {row['recall@20']:.4f}, mrr@20 {row['mrr@20']:.4f}" if "recall@20" in row else ""
            lines.append(f"| {name} | {row['items']:,} | {row['events_per_s']:,} | {learned} |")
        lines += ["", made(gru), ""]
    evaluation = found("speed-evaluation")
    if evaluation is not None:
        many = evaluation["100,000 items"]
        lines += ["## Evaluation over the whole catalog", ""]
        lines += [f"- {name}: {value} s" for name, value in evaluation.items() if name.startswith("ml-1m")]
        lines.append(
            f"- 100,000 items, dot products of 64: {many['people_per_s']:,} people a second, "
            f"{many['times_faster']} times the rate of scoring and sorting everything "
            f"({many['score_then_sort_people_per_s']:,})."
        )
        lines += ["", made(evaluation), ""]
    resume = found("speed-resume")
    if resume is not None:
        lines += ["## Going on after kill -9", ""]
        lines.append(
            f"{resume['equal_sha256']} of {resume['trainings']} trainings, killed {resume['kills']} times at random"
        )
        lines += ["moments, ended with the SHA-256 of the one that was never stopped."]
        if points := resume.get("at_every_operation"):
            lines += ["", f"Killed at each of the {points['kill_points']} points before, in and behind the file"]
            lines += [f"operations of {points['saves']} saves: {points['equal_sha256']} equal."]
        lines += ["", made(resume), ""]
    reading = found("reading")
    if reading is not None:
        lines += [
            "## Reading a log of a million events",
            "",
            "| format | events/s | peak over raw columns |",
            "|---|---|---|",
        ]
        for name, row in reading["formats"].items():
            lines.append(f"| {name} | {row['events_per_s']:,} | {row['peak_over_raw']} |")
        lines += ["", made(reading), ""]
    return lines


def page() -> str:
    """The whole page."""
    lines = ["# Performance", "", "Made by `benchmarks/performance_page.py` from `benchmarks/results/`; measured by"]
    lines += [
        "`benchmarks/speed.py` and `benchmarks/reading.py`. Timings of a shared machine: read ratios, not seconds.",
        "",
    ]
    for part in (epoch, quality, limits, growth, rates):
        lines += part()
    return "\n".join(lines).rstrip() + "\n"


def main() -> None:
    (ROOT / "docs" / "results" / "training.md").write_text(page(), encoding="utf-8")
    folder = ROOT / "docs" / "results" / "plots"
    folder.mkdir(exist_ok=True)
    for name, draw in (("limits", plots.limits), ("growth", plots.growth), ("quality", plots.quality)):
        if (result := found(f"speed-{name}")) is not None:
            plots.write(draw(result), folder / f"{name}.svg")


if __name__ == "__main__":
    main()
