"""Writer of docs/results/training.md and its plots from the result files: `python benchmarks/performance_page.py`."""

import plots
from machine import ROOT, load_result, provenance


def epoch() -> list[str]:
    """Return the section of one epoch beside other libraries."""
    result = load_result("speed-epoch")
    if result is None:
        return []
    lines = ["## One epoch of SASRec on Amazon Beauty (d64, 2 layers, 50 events, softmax over all items)", ""]
    lines += ["| library | seconds | times slower | recall@10 / ndcg@10 after it |", "|---|---|---|---|"]
    segue = result["segue"]
    lines.append(f"| Segue | {segue['seconds']:.1f} | | {segue['recall@10']:.4f} / {segue['ndcg@10']:.4f} |")
    for name in ("rectools", "recbole"):
        row = result.get(name, {})
        if "seconds" in row:
            times = row["seconds"] / segue["seconds"]
            quality = f"{row['recall@10']:.4f} / {row['ndcg@10']:.4f}"
            lines.append(f"| {name} | {row['seconds']:.0f} | {times:.0f} | {quality} |")
    notes = [f"- {note}" for note in result.get("notes", [])]
    return [*lines, "", *notes, provenance(result), ""]


def quality() -> list[str]:
    """Return the section of accuracy against wall time."""
    result = load_result("speed-quality")
    if result is None:
        return []
    lines = ["## From the raw file to the test metrics (leave-last-out, train only, seen items excluded)", ""]
    lines += ["![Test ndcg@10 against wall seconds](plots/quality.svg)", ""]
    lines += ["| log and settings | wall seconds | recall@10 / ndcg@10 | peak MB |", "|---|---|---|---|"]
    for name, row in result.items():
        if isinstance(row, dict) and "ndcg@10" in row:
            settings = ", ".join(f"{k}={v}" for k, v in row["settings"].items())
            settings += f" (mean of {len(row['runs'])} seeds)" if len(row.get("runs", [])) > 1 else ""
            numbers = f"{row['recall@10']:.4f} / {row['ndcg@10']:.4f}"
            lines.append(f"| {name}: {settings} | {row['seconds']:.0f} | {numbers} | {row['peak_mb']:.0f} |")
    return [*lines, "", provenance(result), ""]


def limits() -> list[str]:
    """Return the section of an epoch's parts beside the limits of the machine."""
    result = load_result("speed-limits")
    if result is None:
        return []
    machine, parts = result["machine"], result["epoch"]
    rate = f"{machine['gemm_bf16_gflops']} GFLOP/s (float32: {machine['gemm_fp32_gflops']})"
    return [
        "## Parts of an epoch beside the limits of the machine",
        "",
        "![Seconds of one epoch by part, beside the minimum of the machine](plots/limits.svg)",
        "",
        "| work | rate of the machine | one epoch |",
        "|---|---|---|",
        f"| bfloat16 products | {rate} | softmax: {parts['seconds_softmax']} s; its products at that rate: "
        f"{parts['softmax_seconds_at_the_gemm_rate']} s |",
        f"| exp | {machine['exp_bf16_g_per_s']} G/s | {parts['softmax_seconds_of_exp_alone']} s of the softmax |",
        f"| copying | {machine['copy_gb_per_s']} GB/s | |",
        f"| encoder, optimizers, others | | {parts['seconds_encoder_optimizer_rest']} s |",
        f"| preparation of batches (in a thread) | | {parts['seconds_preparing_batches']} s |",
        f"| **epoch** | | **{parts['seconds']} s**, {parts['targets']:,} targets, padding {parts['padding']:.1%} |",
        "",
        provenance(result),
        "",
    ]


def growth() -> list[str]:
    """Return the section of speed and memory against the size of log and catalog."""
    result = load_result("speed-growth")
    if result is None:
        return []
    lines = ["## Growth of the log and the catalog", "", "![Rate and memory against size](plots/growth.svg)", ""]
    lines += ["GRU4Rec d64, windows of 20, 1,024 sampled negatives, a memory-mapped log of Zipf's law. Each size has"]
    lines += ["a process of its own; the rate is measured over 15 seconds of training.", ""]
    lines += [
        "| variable | size | ready after s | events/s | s per epoch at that rate | peak MB |",
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
    return [*lines, "", provenance(result), ""]


def rates() -> list[str]:
    """Return the sections of GRU4Rec, evaluation, resume and reading."""
    lines: list[str] = []
    gru = load_result("speed-gru")
    if gru is not None:
        lines += ["## GRU4Rec", "", "| log | items | training events per second | accuracy |", "|---|---|---|---|"]
        for name, row in gru.items():
            if not isinstance(row, dict) or "events_per_s" not in row:
                continue
            accuracy = f"recall@20 {row['recall@20']:.4f}, mrr@20 {row['mrr@20']:.4f}" if "recall@20" in row else ""
            lines.append(f"| {name} | {row['items']:,} | {row['events_per_s']:,} | {accuracy} |")
        lines += ["", provenance(gru), ""]
    evaluation = load_result("speed-evaluation")
    if evaluation is not None:
        large = evaluation["100,000 items"]
        lines += ["## Evaluation over the whole catalog", ""]
        lines += [f"- {name}: {value} s" for name, value in evaluation.items() if name.startswith("ml-1m")]
        lines.append(
            f"- 100,000 items, dot products of 64: {large['users_per_s']:,} users per second, "
            f"{large['times_faster']} times the rate of scoring and sorting all items "
            f"({large['score_then_sort_users_per_s']:,})."
        )
        lines += ["", provenance(evaluation), ""]
    resume = load_result("speed-resume")
    if resume is not None:
        lines += ["## Resume after kill -9", ""]
        lines.append(
            f"{resume['equal_sha256']} of {resume['trainings']} trainings, killed {resume['kills']} times at random"
        )
        lines += ["times, ended with the SHA-256 of the uninterrupted one."]
        if points := resume.get("at_every_operation"):
            lines += ["", f"Killed at each of the {points['kill_points']} points before, in and after the file"]
            lines += [f"operations of {points['saves']} saves: {points['equal_sha256']} equal."]
        lines += ["", provenance(resume), ""]
    reading = load_result("reading")
    if reading is not None:
        lines += [
            "## Reading a log of a million events",
            "",
            "| format | events/s | peak memory over raw columns |",
            "|---|---|---|",
        ]
        for name, row in reading["formats"].items():
            lines.append(f"| {name} | {row['events_per_s']:,} | {row['peak_over_raw']} |")
        lines += ["", provenance(reading), ""]
    return lines


def page() -> str:
    """Return the page."""
    lines = [
        "# Training, measured",
        "",
        "Made by `benchmarks/performance_page.py` from `benchmarks/results/`; measured by",
    ]
    lines += [
        "`benchmarks/speed.py` and `benchmarks/reading.py`. The machine is shared: compare ratios, not seconds. How to",
        "train: [guide](../guide/training.md).",
        "",
    ]
    for part in (epoch, quality, limits, growth, rates):
        lines += part()
    return "\n".join(lines).rstrip() + "\n"


def main() -> None:
    """Write the page and its plots."""
    (ROOT / "docs" / "results" / "training.md").write_text(page(), encoding="utf-8")
    folder = ROOT / "docs" / "results" / "plots"
    folder.mkdir(exist_ok=True)
    for name, draw in (("limits", plots.limits), ("growth", plots.growth), ("quality", plots.quality)):
        if (result := load_result(f"speed-{name}")) is not None:
            plots.write(draw(result), folder / f"{name}.svg")


if __name__ == "__main__":
    main()
