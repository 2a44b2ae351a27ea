"""Writer of docs/results/serving.md from the result files: `python benchmarks/serving_page.py`."""

from typing import Any

import plots
from machine import ROOT, load_result, provenance

LATENCIES = {
    "serving-latency": "One process, exact search.",
    "serving-latency-approximate": "One process, `--approximate`: large catalogs are searched by product quantization.",
    "serving-latency-2-workers": "Two processes, exact search.",
}


def latency() -> list[str]:
    """Return the section of rates and latencies."""
    results = {title: result for name, title in LATENCIES.items() if (result := load_result(name)) is not None}
    if not results:
        return []
    lines = ["## Responses per second", "", "![Latency of responses](plots/serving-latency.svg)", ""]
    if (baseline := load_result("serving-floor")) is not None:
        lines += ["Time outside the model: one popularity list of 1,000 items for all users, one process.", ""]
        lines += _rates(baseline)
    for title, result in results.items():
        lines += [f"{title} The load generator shares the two cores; the disk's fsync took"]
        lines += [f"{result['disk']['p50_ms']} ms (median).", "", *_rates(result)]
    return lines


def _rates(result: dict[str, Any]) -> list[str]:
    lines = ["| model and items | request | offered/s | responses/s | p50 ms | p99 ms | sustained |", "|---" * 7 + "|"]
    for name, requests in result.items():
        for request, row in requests.items() if isinstance(requests, dict) else ():
            for step in row["steps"] if isinstance(row, dict) and "steps" in row else ():
                times = f"{step['answered_per_s']:.0f} | {step['p50_ms']} | {step['p99_ms']}"
                sustained = "yes" if step["sustained"] else f"no (p99 above {row['limit_p99_ms']:.0f} ms, or refusals)"
                lines.append(f"| {name} | {request} | {step['offered_per_s']} | {times} | {sustained} |")
    return [*lines, "", provenance(result), ""]


def peer() -> list[str]:
    """Return the section of a plain FastAPI service on the same weights."""
    result = load_result("serving-peer")
    if result is None:
        return []
    rows = {name: row for name, row in result.items() if isinstance(row, dict) and "steps" in row}
    limit = next(iter(rows.values()))["limit_p99_ms"]
    lines = ["## Comparison with FastAPI, PyTorch and a full sort", ""]
    lines += [
        "The same GRU4Rec of 100,000 items in `benchmarks/peers/afternoon_service.py` and in Segue, one after the other"
    ]
    lines += [
        f"on one machine. Sustained: no failed request and a p99 of at most {limit:.0f} ms. Closed loop: 16 connections"
    ]
    lines += ["that send the next request at each response.", ""]
    lines += ["| service | sustained/s | ratio | p50 ms | p99 ms | closed loop/s | ratio |", "|---" * 7 + "|"]
    for name, row in rows.items():
        sustained = [step for step in row["steps"] if step["sustained"]]
        times = f"{sustained[-1]['p50_ms']} | {sustained[-1]['p99_ms']}" if sustained else "- | -"
        equal, closed = row.get("times_the_rate_at_equal_p99", 1), row.get("times_the_rate_at_any_latency", 1)
        per_s = f"{row['closed loop']['answered_per_s']:.0f}"
        lines.append(f"| {name} | {row['sustainable_per_s']} | {equal} | {times} | {per_s} | {closed} |")
    return [*lines, "", provenance(result), ""]


def ingest() -> list[str]:
    """Return the section of events without recommendations."""
    result = load_result("serving-ingest")
    if result is None:
        return []
    lines = ["## Events per second, each on disk before its response", "", "| requests | events/s | p99 ms |"]
    lines += ["|---|---|---|"]
    for name, row in result.items():
        if isinstance(row, dict) and "events_per_s" in row:
            lines.append(f"| {name} | {row['events_per_s']:,} | {row['p99_ms']} |")
    return [*lines, "", provenance(result), ""]


def memory() -> list[str]:
    """Return the section of memory, start time and size."""
    result = load_result("serving-memory")
    if result is None:
        return []
    installed = ", ".join(f"{name} {mb:.0f} MB" for name, mb in result.get("installed_mb", {}).items())
    return [
        "## Memory and start time",
        "",
        f"- 100,000 items of width 64: {result['rss_mb_empty']:.0f} MB; with {result['users']:,} cached histories "
        f"({result['events']:,} events): {result['rss_mb']:.0f} MB.",
        f"- From the start to the first response: {result['cold_start_s']} s; with those events in its store: "
        f"{result['restart_s']} s.",
        f"- Installed size: {installed}.",
        "",
        provenance(result),
        "",
    ]


def faults() -> list[str]:
    """Return the section of injected faults."""
    result: dict[str, Any] | None = load_result("serving-faults")
    if result is None:
        return []
    lines = ["## Faults", "", "| fault | result | measured |", "|---|---|---|"]
    texts = {
        "swaps": "{swaps} swaps under load, {failed_requests} requests failed, {compared_lists} lists compared, "
        "{mixed_versions} mixed",
        "sigterm": "{signals} signals under load, {failed_requests} requests failed",
        "kill": "{kills} kills, {acknowledged} events acknowledged, {lost} lost, {doubled} doubled",
        "slow": "{clients} slow clients, {closed_by_the_server} closed by the server, "
        "{failed_honest_requests} requests of other clients failed",
        "overload": "peak {peak_per_s}/s; of {offered_per_s}/s offered, {goodput_share_of_peak:.0%} of the peak "
        "scored within a second",
    }
    for name, text in texts.items():
        for key, row in result.items():
            if key.partition(",")[0] == name:
                lines.append(f"| {key} | {text.format_map(row)} | {provenance(row)} |")
    return [*lines, ""]


def equality() -> list[str]:
    """Return the sections of replay, fuzzing and the browser."""
    lines = []
    if (replay := load_result("serving-replay")) is not None:
        models = replay["models"].values()
        lists, equal = sum(row["histories"] for row in models), sum(row["equal"] for row in models)
        lines += ["## Equality with the evaluation", ""]
        worst = max(row["worst_score"] for row in models)
        lines += [f"{len(models)} models, {lists:,} lists over HTTP: {equal:,} equal item by item,"]
        lines += [f"{replay['different_lists']} different; the scores differ by at most {worst:.1e}."]
        lines += [provenance(replay), ""]
    if (fuzz := load_result("serving-schemathesis")) is not None:
        lines += ["## Fuzzing by the OpenAPI document", ""]
        lines += [f"{fuzz['cases']:,} cases, {fuzz['server_errors']} server errors, {fuzz['cases_with_failures']}"]
        lines += [f"undocumented responses. {provenance(fuzz)}", ""]
    if (browser := load_result("serving-browser")) is not None:
        lines += [
            "## In a browser",
            "",
            f"{len(browser['steps'])} clicks in Chromium, each changes the recommendations:",
        ]
        lines += [f"{str(browser['row_follows_every_click']).lower()}. {provenance(browser)}", ""]
    return lines


def page() -> str:
    """Return the page."""
    lines = ["# Serving, measured", "", "Made by `benchmarks/serving_page.py` from `benchmarks/results/`; measured by"]
    lines += ["`benchmarks/serving.py`, `replay.py`, `api_fuzz.py` and `demo_browser.py`. How to serve:"]
    lines += ["[HTTP API](../guide/serving.md), [running the server](../guide/deployment.md).", ""]
    for part in (latency, peer, ingest, memory, faults, equality):
        lines += part()
    return "\n".join(lines).rstrip() + "\n"


def main() -> None:
    """Write the page and its plot."""
    (ROOT / "docs" / "results" / "serving.md").write_text(page(), encoding="utf-8")
    if (result := load_result("serving-latency")) is not None:
        plots.write(plots.serving_latency(result), ROOT / "docs" / "results" / "plots" / "serving-latency.svg")


if __name__ == "__main__":
    main()
