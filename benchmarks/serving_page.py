"""docs/results/serving.md from the result files: `python benchmarks/serving_page.py`."""

from typing import Any

import plots
from machine import ROOT, found, made

LATENCIES = {
    "serving-latency": "One process, exact search.",
    "serving-latency-approximate": "One process, `--approximate`: large catalogs are searched through codes.",
    "serving-latency-2-workers": "Two processes, exact search.",
}


def latency() -> list[str]:
    """Rates and times."""
    results = {said: result for name, said in LATENCIES.items() if (result := found(name)) is not None}
    if not results:
        return []
    lines = ["## Answers a second", "", "![Times of answers](plots/serving-latency.svg)", ""]
    if (rest := found("serving-floor")) is not None:
        lines += ["What is not the model's: the same popular list of 1,000 items for everybody, one process.", ""]
        lines += _rates(rest)
    for said, result in results.items():
        lines += [f"{said} The load generator shares the two cores; the disk's fsync took"]
        lines += [f"{result['disk']['p50_ms']} ms (median).", "", *_rates(result)]
    return lines


def _rates(result: dict[str, Any]) -> list[str]:
    lines = ["| model and items | request | offered/s | answered/s | p50 ms | p99 ms | sustained |", "|---" * 7 + "|"]
    for name, kinds in result.items():
        for kind, row in kinds.items() if isinstance(kinds, dict) else ():
            for step in row["steps"] if isinstance(row, dict) and "steps" in row else ():
                times = f"{step['answered_per_s']:.0f} | {step['p50_ms']} | {step['p99_ms']}"
                sustained = "yes" if step["sustained"] else f"no (p99 above {row['limit_p99_ms']:.0f} ms, or refusals)"
                lines.append(f"| {name} | {kind} | {step['offered_per_s']} | {times} | {sustained} |")
    return [*lines, "", made(result), ""]


def peer() -> list[str]:
    """Beside the service that one writes in an afternoon."""
    result = found("serving-peer")
    if result is None:
        return []
    rows = {name: row for name, row in result.items() if isinstance(row, dict) and "steps" in row}
    limit = next(iter(rows.values()))["limit_p99_ms"]
    lines = ["## Beside FastAPI, PyTorch and a full sort", ""]
    lines += [
        "The same GRU4Rec of 100,000 items in `benchmarks/peers/afternoon_service.py` and here, one after the other"
    ]
    lines += [
        f"on one machine; sustained: every answer there, p99 at most {limit:.0f} ms; closed: 16 connections that never"
    ]
    lines += ["rest.", ""]
    lines += ["| service | sustained/s | times | p50 ms there | p99 ms there | closed/s | times |", "|---" * 7 + "|"]
    for name, row in rows.items():
        kept = [step for step in row["steps"] if step["sustained"]]
        times = f"{kept[-1]['p50_ms']} | {kept[-1]['p99_ms']}" if kept else "- | -"
        equal, closed = row.get("times_the_rate_at_equal_p99", 1), row.get("times_the_rate_at_any_latency", 1)
        per_s = f"{row['closed loop']['answered_per_s']:.0f}"
        lines.append(f"| {name} | {row['sustainable_per_s']} | {equal} | {times} | {per_s} | {closed} |")
    return [*lines, "", made(result), ""]


def ingest() -> list[str]:
    """Events alone."""
    result = found("serving-ingest")
    if result is None:
        return []
    lines = ["## Events a second, each on disk before its acknowledgement", "", "| how | events/s | p99 ms |"]
    lines += ["|---|---|---|"]
    for name, row in result.items():
        if isinstance(row, dict) and "events_per_s" in row:
            lines.append(f"| {name} | {row['events_per_s']:,} | {row['p99_ms']} |")
    return [*lines, "", made(result), ""]


def memory() -> list[str]:
    """What it takes."""
    result = found("serving-memory")
    if result is None:
        return []
    installed = ", ".join(f"{name} {mb:.0f} MB" for name, mb in result.get("installed_mb", {}).items())
    return [
        "## Memory and starts",
        "",
        f"- 100,000 items of width 64: {result['rss_mb_empty']:.0f} MB; with {result['people']:,} live histories "
        f"({result['events']:,} events): {result['rss_mb']:.0f} MB.",
        f"- From its start to the first answer: {result['cold_start_s']} s; with those events in its store: "
        f"{result['restart_s']} s.",
        f"- Installed: {installed}.",
        "",
        made(result),
        "",
    ]


def faults() -> list[str]:
    """What went wrong on purpose."""
    result: dict[str, Any] | None = found("serving-faults")
    if result is None:
        return []
    lines = ["## Faults", "", "| fault | what was seen | measured |", "|---|---|---|"]
    said = {
        "swaps": "{swaps} swaps under load, {failed_requests} requests failed, {compared_lists} lists compared, "
        "{mixed_versions} mixed",
        "sigterm": "{signals} signals under load, {failed_requests} requests failed",
        "kill": "{kills} kills, {acknowledged} events acknowledged, {lost} lost, {doubled} doubled",
        "slow": "{clients} slow clients, {closed_by_the_server} closed by the server, "
        "{failed_honest_requests} honest requests failed",
        "overload": "peak {peak_per_s}/s; of {offered_per_s}/s offered, {goodput_share_of_peak:.0%} of the peak "
        "answered within a second",
    }
    for name, text in said.items():
        for key, row in result.items():
            if key.partition(",")[0] == name:
                lines.append(f"| {key} | {text.format_map(row)} | {made(row)} |")
    return [*lines, ""]


def sameness() -> list[str]:
    """Replay and fuzzing."""
    lines = []
    if (replay := found("serving-replay")) is not None:
        models = replay["models"].values()
        asked, equal = sum(one["histories"] for one in models), sum(one["equal"] for one in models)
        lines += ["## The same lists as the evaluation", ""]
        worst = max(one["worst_score"] for one in models)
        lines += [f"{len(models)} models, {asked:,} lists over HTTP: {equal:,} equal item by item,"]
        lines += [f"{replay['different_lists']} different; the scores beside them differ by at most {worst:.1e}."]
        lines += [made(replay), ""]
    if (fuzz := found("serving-schemathesis")) is not None:
        lines += ["## Fuzzed by its own description", ""]
        lines += [f"{fuzz['cases']:,} cases, {fuzz['server_errors']} server errors, {fuzz['cases_with_failures']}"]
        lines += [f"undocumented answers. {made(fuzz)}", ""]
    if (browser := found("serving-browser")) is not None:
        lines += ["## In a browser", "", f"{len(browser['steps'])} clicks in Chromium, the row follows every one:"]
        lines += [f"{str(browser['row_follows_every_click']).lower()}. {made(browser)}", ""]
    return lines


def page() -> str:
    """The whole page."""
    lines = ["# Serving, measured", "", "Made by `benchmarks/serving_page.py` from `benchmarks/results/`; measured by"]
    lines += ["`benchmarks/serving.py`, `replay.py`, `api_fuzz.py` and `demo_browser.py`.", ""]
    for part in (latency, peer, ingest, memory, faults, sameness):
        lines += part()
    return "\n".join(lines).rstrip() + "\n"


def main() -> None:
    """The page and its plot."""
    (ROOT / "docs" / "results" / "serving.md").write_text(page(), encoding="utf-8")
    if (result := found("serving-latency")) is not None:
        plots.write(plots.serving_latency(result), ROOT / "docs" / "results" / "plots" / "serving-latency.svg")


if __name__ == "__main__":
    main()
