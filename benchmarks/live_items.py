"""New items on a running server: `python benchmarks/live_items.py [--validate]`.

A pipeline is trained on the events before a cutoff and served. Each item whose first event lies after the cutoff is PUT
over HTTP with its title. Measured are

visible   seconds from the PUT to the first list that holds the item
first     recall@50 at event 1, 2, 4 and 11 of an item: the cases and known events of pipeline-new-items.json,
          whose pipeline was trained again for each of these numbers
stream    the same while every event after the cutoff is sent in time order, and recall of all other items with the new
          items in the lists and without them

``--validate`` moves the cutoff and the end of the log forward, for the choice of constants; it saves nothing. Results
are written to benchmarks/results/live-items.json.
"""

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from machine import RESULTS, about, save
from pipeline_accuracy import LOGS, NEW_ITEMS_NETWORK, cases_after, print_err, sources
from segue.data.catalog import PAD, Catalog
from segue.data.evaluation_cases import EvaluationCases, Split
from segue.data.event_log import EventLog
from segue.models import artifact
from segue.pipeline.config import decode_pipeline
from segue.pipeline.item_statistics import NEVER, ItemStatistics
from segue.serving.client.client import Client
from segue.serving.schemas.requests import EventIn, RecommendRequest
from segue.workflows.event_transfer import import_log
from segue.workflows.train_pipeline import fit_pipeline
from serving_world import serving

EVENTS = (0, 1, 3, 10)
"""Numbers of earlier events of an item at which it is looked for."""
K = 50
SETTLED_S = 1.5
"""Time after which every event is in the lists, in seconds; the server promises one."""
OTHER_CASES = 2_000
"""Number of cases of other items in the stream."""
CUTOFF, END = 0.9, 1.0
"""Quantiles of the timestamps at which training and log end."""
EARLY_CUTOFF, EARLY_END = 0.8, 0.9
"""The same for the choice of constants."""


class Shop:
    """Log of a shop with a cutoff: the items before it, and those that join after it."""

    def __init__(self, log: EventLog, cutoff_us: int) -> None:
        self.log = log
        self.cutoff_us = cutoff_us
        self.catalog = log.catalog()
        self.rows, self.users = log.sequences(self.catalog)
        first_V = ItemStatistics.fit(self.rows, self.catalog).first_us_V
        self.new_V = (first_V >= cutoff_us) & (first_V < NEVER) & (np.arange(self.catalog.size) != PAD)
        assert log.items is not None
        self.titles = {item: row.get("title", "") for item, row in log.items.by_id().items()}

    @property
    def new_ids(self) -> list[str]:
        """Ids of the items that join after the cutoff."""
        return self.catalog.to_ids(np.flatnonzero(self.new_V))

    def ids_of(self, indices: np.ndarray) -> list[str]:
        """Return the ids of item indices."""
        return self.catalog.to_ids(indices)

    def events_after(self) -> list[tuple[int, int, int]]:
        """Return (time, user row, position) of each event after the cutoff, in time order."""
        assert self.rows.times is not None
        row_N, position_N = self.rows.positions()
        times_N = self.rows.times[position_N]
        late = np.flatnonzero(times_N >= self.cutoff_us)
        late = late[np.lexsort((position_N[late], times_N[late]))]
        return [(int(times_N[n]), int(row_N[n]), int(position_N[n])) for n in late]


def train(shop: Shop, folder: Path, seed: int) -> Path:
    """Train the pipeline of pipeline-new-items.json on the events before the cutoff, and save it."""
    frame = shop.log.frame
    earlier = shop.log.with_frame(frame.filter(frame["timestamp"] < shop.cutoff_us))
    catalog = Catalog(sorted(set(earlier.frame["item_id"].to_list())))  # the table holds the new items too
    rows, _ = earlier.sequences(catalog)
    assert earlier.items is not None
    network = {**NEW_ITEMS_NETWORK, "features": ["title"], "feature_use": "placing"}
    extra = {"source": [{"model": "new", "num_candidates": 300, "settings": {"max_age_days": 20.0}}]}
    config = sources(network, "title")
    config = replace(config, source=(*config.source, *decode_pipeline(extra).source))
    config = replace(config, rank=replace(config.rank, method="none"))
    has_case = rows.lengths > 1
    training = rows.prefixes(np.where(has_case, rows.lengths - 1, rows.lengths))
    histories = training.take(has_case)
    cases = EvaluationCases(histories, rows.items[histories.stops], np.flatnonzero(has_case), None, {})
    features = earlier.items.item_features(catalog)
    split = Split("new items", catalog, training, cases, rows, cases, False, "", "", features)
    fitted = fit_pipeline(split, config, refit=True, seed=seed, report=print_err)
    items = earlier.items.for_catalog(catalog)
    run = folder / "run"
    made = artifact.Artifact(
        "pipeline", fitted.settings, catalog, fitted.scorer.arrays(), items, {"exclude_seen": False}
    )
    artifact.save(made, run)
    import_log(earlier, folder / "data", time.time_ns() // 1000)
    return run


@contextmanager
def served(run: Path, data: Path) -> Iterator[Client]:
    """Serve a run on a copy of a data directory, and yield a client."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(shutil.copytree(data, Path(folder) / "data"))
        with serving(run, copy) as server, Client(f"http://127.0.0.1:{server.port}", timeout_s=60) as client:
            yield client


def ranked(client: Client, history: list[str], k: int = K) -> list[str]:
    """Return the list after a history, seen items included as in pipeline-new-items.json."""
    request = RecommendRequest(history=history[-10_000:], k=k, exclude_seen=False)
    return [item.id for item in client.recommend(request).items]


def visible(client: Client, shop: Shop, cases: EvaluationCases) -> dict[str, float]:
    """PUT each new item; return the seconds until a list holds it: the longest one that a request may have."""
    histories = {
        shop.catalog.ids[int(target) - 1]: shop.ids_of(history)
        for target, history in zip(cases.targets, cases.histories, strict=True)
    }
    seconds = []
    for item in shop.new_ids:
        started_s = time.perf_counter()
        client.put_item(item, {"title": shop.titles[item]})
        while item not in ranked(client, histories.get(item, []), 1000):
            assert time.perf_counter() - started_s < 30, f"{item} is in no list."
        seconds.append(time.perf_counter() - started_s)
    return {"items": len(seconds), "median_s": round(float(np.median(seconds)), 4), "max_s": round(max(seconds), 4)}


def first_events(shop: Shop, run: Path, data: Path) -> dict[str, Any]:
    """Measure the recall of new items after their first events alone."""
    results: list[dict[str, Any]] = []
    with served(run, data) as client:
        cases, _ = cases_after(shop.rows, shop.new_V, 0, shop.cutoff_us)
        shown = visible(client, shop, cases)
        number_of: dict[int, int] = {}
        numbered = []
        for time_us, row, position in shop.events_after():
            item = int(shop.rows.items[position])
            if shop.new_V[item]:
                numbered.append((number_of.get(item, 0), time_us, row, item))
                number_of[item] = number_of.get(item, 0) + 1
        sent = 0
        for events in EVENTS:
            batch = [
                EventIn(item_id=shop.catalog.ids[item - 1], user_id=shop.users[row], timestamp=time_us / 1e6)
                for number, time_us, row, item in numbered
                if sent <= number < events
            ]
            if batch:
                client.events(batch)
                time.sleep(SETTLED_S)
            sent = events
            cases, _ = cases_after(shop.rows, shop.new_V, events, shop.cutoff_us)
            hits = [
                shop.catalog.ids[int(target) - 1] in ranked(client, shop.ids_of(history))
                for target, history in zip(cases.targets, cases.histories, strict=True)
            ]
            results.append({"events": events, "cases": len(hits), "live": float(np.mean(hits)) if hits else None})
            print_err(f"first events: {results[-1]}")
    return {"visible": shown, "first": results}


def stream(shop: Shop, run: Path, data: Path, seed: int) -> dict[str, Any]:
    """Send every event after the cutoff in time order, and measure new items and all others on the way."""
    events = shop.events_after()
    others = [n for n, (_, _, position) in enumerate(events) if not shop.new_V[shop.rows.items[position]]]
    sample = set(np.random.default_rng((seed, 5)).permutation(others)[:OTHER_CASES].tolist())
    hits: dict[int, list[bool]] = {number: [] for number in EVENTS}
    with_new, without_new = [], []
    count_of: dict[str, int] = {}
    new_ids, waiting = set(shop.new_ids), []
    with served(run, data) as client:
        for n, (time_us, row, position) in enumerate(events):
            item = shop.catalog.ids[int(shop.rows.items[position]) - 1]
            is_new = item in new_ids
            number = count_of.get(item, 0)
            is_first = position == shop.rows.starts[row]
            if is_new and number == 0:
                client.put_item(item, {"title": shop.titles[item]})
            if (is_new and number in EVENTS and not is_first) or n in sample:
                if waiting:
                    client.events(waiting)
                    waiting = []
                if is_new:
                    time.sleep(SETTLED_S)
                history = shop.ids_of(shop.rows.items[shop.rows.starts[row] : position])
                listed = ranked(client, history, K + len(new_ids))
                if is_new:
                    hits[number].append(item in listed[:K])
                else:
                    with_new.append([item in listed[:10], item in listed[:K]])
                    kept = [one for one in listed if one not in new_ids]
                    without_new.append([item in kept[:10], item in kept[:K]])
            if is_new:
                count_of[item] = number + 1
            waiting.append(EventIn(item_id=item, user_id=shop.users[row], timestamp=time_us / 1e6))
            if len(waiting) >= 500:
                client.events(waiting)
                waiting = []
    means = [np.mean(rows, axis=0).round(4).tolist() for rows in (with_new, without_new)]
    return {
        "events": len(events),
        "new_items": [
            {"events": number, "cases": len(found), "live": float(np.mean(found)) if found else None}
            for number, found in hits.items()
        ],
        "others": {
            "cases": len(with_new),
            "recall@10_recall@50_with_new_items": means[0],
            "recall@10_recall@50_without_new_items": means[1],
        },
    }


def main() -> None:
    """Measure and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--validate", action="store_true", help="use an earlier cutoff, and save nothing")
    parser.add_argument("--keep", type=Path, help="folder of the trained run, reused where it exists")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    log = LOGS["online-retail"][0]()
    times_us = log.frame["timestamp"].to_numpy()
    cutoff, end = (EARLY_CUTOFF, EARLY_END) if options.validate else (CUTOFF, END)
    if options.validate:
        log = log.with_frame(log.frame.filter(log.frame["timestamp"] < int(np.quantile(times_us, end))))
    shop = Shop(log, int(np.quantile(times_us, cutoff)))
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        run = folder / "run"
        if not run.exists():
            folder.mkdir(parents=True, exist_ok=True)
            train(shop, folder, options.seed)
        result: dict[str, Any] = first_events(shop, run, folder / "data")
        result["stream"] = stream(shop, run, folder / "data", options.seed)
    print_err(json.dumps(result, indent=1))
    if options.validate:
        return
    trained = json.loads((RESULTS / "pipeline-new-items.json").read_text(encoding="utf-8"))["results"]
    for row, again in zip(result["first"], trained, strict=True):
        row["trained_again"] = again["pipeline"]
    save("live-items", {"about": about(options.seed), "log": "online-retail", "task": __doc__, **result})


if __name__ == "__main__":
    main()
