"""Replay test: `python benchmarks/replay.py [MODEL ...]` trains every model of the zoo briefly, serves each by a real
server, and compares the lists of 1,000 random histories with those of the evaluation's scorer and top-k, item by item.
Writes benchmarks/results/serving-replay.json.

Half of the histories are events in the store, in random order of arrival; the others are sent with the request. Besides
the zoo: networks with contexts, a network with time inputs, an ensemble, a pipeline, and catalogs that are large enough
for exact search. A list counts as equal up to rounding if scores agree to 2e-5 and only items within that are swapped:
products in float32 round their last bits by the size of the batch.
"""

import argparse
import random
import sys
import tempfile
import time
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import serving_world
from machine import about, save
from segue.data.event_log import EventLog
from segue.data.readers.events import read_events
from segue.data.sequences import Sequences
from segue.data.splits.split import split_log
from segue.models import artifact
from segue.models.top_k import top_k
from segue.models.zoo import ZOO, NeuralEntry
from segue.pipeline.config import decode_pipeline
from segue.pipeline.persistence import restore_saved_pipeline
from segue.serving.client.client import Client
from segue.serving.schemas.requests import EventIn, RecommendRequest
from segue.serving.sessions.event_context import EventContextReader
from segue.workflows.fit_model import fit_model
from segue.workflows.train_pipeline import fit_pipeline

USERS, ITEMS, K = 1000, 400, 20
ROUNDING = 2e-5
CONTEXTS = ("device", "age")
PIPELINE = """
[[source]]
model = "sasrec"
[source.settings]
epochs = 1
embedding_dim = 16

[[source]]
model = "covisit"

[[source]]
model = "again"
"""
MORE: dict[str, tuple[str, dict[str, Any]]] = {
    "sasrec with contexts": ("sasrec", {"contexts": CONTEXTS}),
    "gru4rec with contexts": ("gru4rec", {"contexts": CONTEXTS}),
    "hstu with time inputs": ("hstu", {"time_inputs": ("gap", "daypart", "weekday")}),
    "sasrec+vstan": ("sasrec+vstan", {"sasrec.epochs": 1}),
    "pipeline": ("pipeline", {}),
}
LARGE_CATALOGS = {"gru4rec by exact search": "gru4rec", "sasrec by exact search": "sasrec"}
LARGE_CATALOG_ITEMS = 25_000


def log() -> EventLog:
    """Return users who move through the catalog in steps that depend on their device, with jumps, at irregular
    times."""
    rng = np.random.default_rng(8)
    rows = []
    for user in range(USERS):
        item, phone, time_s = (
            int(rng.integers(ITEMS)),
            bool(rng.integers(2)),
            int(rng.integers(1_700_000_000, 1_710_000_000)),
        )
        for _ in range(int(rng.integers(3, 70 if user % 10 == 0 else 20))):
            item = int(rng.zipf(1.5)) % ITEMS if rng.random() < 0.2 else (item + (1 if phone else 7)) % ITEMS
            time_s += int(rng.exponential(40_000)) + 1
            device = None if rng.random() < 0.1 else ("phone" if phone else "desktop")
            age = None if rng.random() < 0.1 else float(rng.integers(16, 80))
            rows.append((f"u{user}", f"item-{item}", time_s, device, age))
    columns = ["user_id", "item_id", "timestamp", *CONTEXTS]
    return read_events(pl.DataFrame(rows, schema=columns, orient="row"))


def train(name: str, values: dict[str, Any], events: EventLog, folder: Path) -> Path:
    """Train a model and save its artifact as ``segue train`` does.

    Args:
        name: name of the model, or "pipeline".
        values: settings.
        events: the log.
        folder: folder of the artifact.
    """
    split = split_log((events.with_context(values["contexts"]) if "contexts" in values else events), "leave-last-out")
    if name == "pipeline":
        fitted = fit_pipeline(split, decode_pipeline(tomllib.loads(PIPELINE)))
    else:
        quick = {"epochs": 1, "embedding_dim": 16} if name in ZOO and isinstance(ZOO[name], NeuralEntry) else {}
        fitted = fit_model(name, split, {**quick, **values})
    saved = artifact.Artifact(name, fitted.settings, split.catalog, fitted.scorer.arrays(), {}, {"exclude_seen": True})
    artifact.save(saved, folder)
    return folder


@dataclass
class ListCounts:
    """Numbers of equal and different lists."""

    equal: int = 0
    equal_up_to_rounding: int = 0
    different: int = 0
    worst_score: float = 0.0

    def add(self, served: list[tuple[str, float]], expected: list[tuple[str, float]]) -> None:
        """Compare a served list with the evaluation's, both as (item, score) pairs."""
        errors = [abs(a[1] - b[1]) / max(1.0, abs(b[1])) for a, b in zip(served, expected, strict=False)]
        self.worst_score = max([self.worst_score, *errors])
        scores = dict(expected)
        lowest = expected[-1][1] if expected else 0.0
        if len(served) != len(expected) or max(errors, default=0.0) > ROUNDING:
            self.different += 1
        elif [item for item, _ in served] == [item for item, _ in expected]:
            self.equal += 1
        elif all(abs(scores.get(item, lowest) - score) <= 2 * ROUNDING * max(1, abs(score)) for item, score in served):
            self.equal_up_to_rounding += 1
        else:
            self.different += 1


def replay(run: Path, events: EventLog, data: Path) -> dict[str, Any]:
    """Serve an artifact and compare the lists of all users.

    Args:
        run: folder of the artifact.
        events: the log.
        data: data directory of the server.
    """
    saved = artifact.load(run)
    scorer = restore_saved_pipeline(saved)
    reader = EventContextReader.from_arrays(saved.arrays)
    rows, users = events.with_context({} if reader is None else reader.column_types).sequences(saved.catalog)
    # The history of a request has neither times nor contexts.
    bare = Sequences(rows.items, None, rows.starts, rows.stops)
    event_rows, counts = events.frame.to_dicts(), ListCounts()
    random.Random(1).shuffle(event_rows)
    with serving_world.serving(run, data) as server, Client(f"http://127.0.0.1:{server.port}") as client:
        for start in range(0, len(event_rows), 1000):
            chunk = event_rows[start : start + 1000]
            client.events([to_event(row) for row in chunk if int(row["user_id"][1:]) % 2 == 0])
        for b, user in enumerate(users):
            is_stored = int(user[1:]) % 2 == 0
            history = (rows if is_stored else bare).take(slice(b, b + 1))
            exclude_seen = bool(b % 3) or saved.model == "pipeline"
            items_BK, scores_BK = top_k(scorer.scores(history), K, exclude=history if exclude_seen else None)
            expected = list(zip(saved.catalog.to_ids(items_BK[0]), scores_BK[0].tolist(), strict=False))
            ids = saved.catalog.to_ids(history.to_lists()[0])
            owner: dict[str, Any] = {"user_id": user} if is_stored else {"history": ids}
            response = client.recommend(RecommendRequest(**owner, k=K, exclude_seen=exclude_seen))
            served = [(item.id, item.score) for item in response.items]
            if saved.model == "pipeline":  # its responses have probabilities, not scores: only the order is compared
                served = [(item, score) for (item, _), (_, score) in zip(served, expected, strict=False)]
            counts.add(served, expected)
    return {"histories": len(users), **vars(counts)}


def to_event(row: dict[str, Any]) -> EventIn:
    """Return a row of the log as an event."""
    context = {name: row[name] for name in CONTEXTS if row[name] is not None}
    time_s = row["timestamp"] / 1e6
    return EventIn(item_id=row["item_id"], user_id=row["user_id"], timestamp=time_s, context=context)


def in_large_catalog(events: EventLog) -> EventLog:
    """Return the same events in a larger catalog."""
    number = pl.col("item_id").str.strip_prefix("item-").cast(pl.Int64) * 61 % LARGE_CATALOG_ITEMS
    return replace(events, frame=events.frame.with_columns(item_id=pl.format("item-{}", number)))


def main() -> None:
    """Replay the named models, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [*ZOO, *MORE, *LARGE_CATALOGS]
    parser.add_argument("models", nargs="*", help=f"of {', '.join(names)}; default: all")
    options = parser.parse_args()
    events, results = log(), {}
    for name in options.models or names:
        began = time.perf_counter()
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            if name in LARGE_CATALOGS:
                run, served = (
                    serving_world.model(LARGE_CATALOGS[name], LARGE_CATALOG_ITEMS, folder, dim=16),
                    in_large_catalog(events),
                )
            else:
                model, values = MORE.get(name, (name, {}))
                run, served = train(model, values, events, folder / "run"), events
            results[name] = replay(run, served, folder / "data")
        results[name]["took_s"] = round(time.perf_counter() - began, 1)
        print(name, results[name], file=sys.stderr, flush=True)
    different = sum(counts["different"] for counts in results.values())
    if options.models:
        return
    save("serving-replay", {"about": about(), "k": K, "different_lists": different, "models": results})


if __name__ == "__main__":
    main()
