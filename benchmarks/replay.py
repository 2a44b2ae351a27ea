"""Golden replay: `python benchmarks/replay.py [MODEL ...]` trains every model of the zoo for a moment, serves each by a
real server over HTTP, and compares 1,000 random histories' lists with what an evaluation's scorer and top-k give, item
by item. Writes benchmarks/results/serving-replay.json.

Half of the histories are events in the store, in random order of arrival; the others come with the request. Besides the
zoo: a network that learned from contexts, one that looks at times, models that answer together, a pipeline, and a
catalog that is large enough to be searched by blocks. A list counts as equal up to rounding where scores agree to
2e-5 and items only changed places within that: products in float32 round their last bits by the size of the batch.
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

PEOPLE, ITEMS, K = 1000, 400, 20
ROUNDING = 2e-5
CONTEXTS = ("device", "age")
PIPELINE = """
[[source]]
model = "sasrec"
[source.settings]
epochs = 1
dim = 16

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
BLOCKS = {"gru4rec by blocks": "gru4rec", "sasrec by blocks": "sasrec"}
BLOCK_ITEMS = 25_000


def log() -> EventLog:
    """People who walk through the catalog in steps that their device tells, with leaps, in irregular time."""
    rng = np.random.default_rng(8)
    rows = []
    for person in range(PEOPLE):
        item, phone, now = (
            int(rng.integers(ITEMS)),
            bool(rng.integers(2)),
            int(rng.integers(1_700_000_000, 1_710_000_000)),
        )
        for _ in range(int(rng.integers(3, 70 if person % 10 == 0 else 20))):
            item = int(rng.zipf(1.5)) % ITEMS if rng.random() < 0.2 else (item + (1 if phone else 7)) % ITEMS
            now += int(rng.exponential(40_000)) + 1
            device = None if rng.random() < 0.1 else ("phone" if phone else "desktop")
            age = None if rng.random() < 0.1 else float(rng.integers(16, 80))
            rows.append((f"u{person}", f"item-{item}", now, device, age))
    columns = ["user_id", "item_id", "timestamp", *CONTEXTS]
    return read_events(pl.DataFrame(rows, schema=columns, orient="row"))


def trained(name: str, values: dict[str, Any], read: EventLog, folder: Path) -> Path:
    """The model's artifact, as ``segue train`` would write it."""
    split = split_log((read.with_context(values["contexts"]) if "contexts" in values else read), "leave-last-out")
    if name == "pipeline":
        fitted = fit_pipeline(split, decode_pipeline(tomllib.loads(PIPELINE)))
    else:
        quick = {"epochs": 1, "embedding_dim": 16} if name in ZOO and isinstance(ZOO[name], NeuralEntry) else {}
        fitted = fit_model(name, split, {**quick, **values})
    saved = artifact.Artifact(name, fitted.settings, split.catalog, fitted.scorer.arrays(), {}, {"exclude_seen": True})
    artifact.save(saved, folder)
    return folder


@dataclass
class Count:
    """Lists, by how they agree."""

    equal: int = 0
    equal_up_to_rounding: int = 0
    different: int = 0
    worst_score: float = 0.0

    def add(self, found: list[tuple[str, float]], wanted: list[tuple[str, float]]) -> None:
        """Compares one list with the evaluation's."""
        far = [abs(one[1] - other[1]) / max(1.0, abs(other[1])) for one, other in zip(found, wanted, strict=False)]
        self.worst_score = max([self.worst_score, *far])
        scores = dict(wanted)
        lowest = wanted[-1][1] if wanted else 0.0
        if len(found) != len(wanted) or max(far, default=0.0) > ROUNDING:
            self.different += 1
        elif [item for item, _ in found] == [item for item, _ in wanted]:
            self.equal += 1
        elif all(abs(scores.get(item, lowest) - score) <= 2 * ROUNDING * max(1, abs(score)) for item, score in found):
            self.equal_up_to_rounding += 1
        else:
            self.different += 1


def replay(run: Path, read: EventLog, data: Path) -> dict[str, Any]:
    """Serves an artifact and asks it for everybody's list."""
    saved = artifact.load(run)
    scorer = restore_saved_pipeline(saved)
    around = EventContextReader.from_arrays(saved.arrays)
    rows, people = read.with_context({} if around is None else around.column_types).sequences(saved.catalog)
    # Nobody says when the events of a bare history were, nor under which circumstances.
    bare = Sequences(rows.items, None, rows.starts, rows.stops)
    frame, count = read.frame.to_dicts(), Count()
    random.Random(1).shuffle(frame)
    with serving_world.serving(run, data) as server, Client(f"http://127.0.0.1:{server.port}") as client:
        for start in range(0, len(frame), 1000):
            client.events([event(row) for row in frame[start : start + 1000] if int(row["user_id"][1:]) % 2 == 0])
        for b, person in enumerate(people):
            known = int(person[1:]) % 2 == 0
            alone = (rows if known else bare).take(slice(b, b + 1))
            seen = bool(b % 3) or saved.model == "pipeline"
            items_BK, scores_BK = top_k(scorer.scores(alone), K, exclude=alone if seen else None)
            wanted = list(zip(saved.catalog.to_ids(items_BK[0]), scores_BK[0].tolist(), strict=False))
            who = {"user_id": person} if known else {"history": saved.catalog.to_ids(alone.to_lists()[0])}
            answer = client.recommend(RecommendRequest(**who, k=K, exclude_seen=seen))
            found = [(one.id, one.score) for one in answer.items]
            if saved.model == "pipeline":  # shown with probabilities, judged by places: the order is what both say
                found = [(item, score) for (item, _), (_, score) in zip(found, wanted, strict=False)]
            count.add(found, wanted)
    return {"histories": len(people), **vars(count)}


def event(row: dict[str, Any]) -> EventIn:
    context = {name: row[name] for name in CONTEXTS if row[name] is not None}
    when = row["timestamp"] / 1e6
    return EventIn(item_id=row["item_id"], user_id=row["user_id"], timestamp=when, context=context)


def in_blocks(read: EventLog) -> EventLog:
    """The same events in a catalog of many more items."""
    place = pl.col("item_id").str.strip_prefix("item-").cast(pl.Int64) * 61 % BLOCK_ITEMS
    return replace(read, frame=read.frame.with_columns(item_id=pl.format("item-{}", place)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    every = [*ZOO, *MORE, *BLOCKS]
    parser.add_argument("models", nargs="*", help=f"of {', '.join(every)}; none: all of them")
    options = parser.parse_args()
    read, results = log(), {}
    for name in options.models or every:
        began = time.perf_counter()
        with tempfile.TemporaryDirectory() as made:
            folder = Path(made)
            if name in BLOCKS:
                run, asked = serving_world.model(BLOCKS[name], BLOCK_ITEMS, folder, dim=16), in_blocks(read)
            else:
                model, values = MORE.get(name, (name, {}))
                run, asked = trained(model, values, read, folder / "run"), read
            results[name] = replay(run, asked, folder / "data")
        results[name]["took_s"] = round(time.perf_counter() - began, 1)
        print(name, results[name], file=sys.stderr, flush=True)
    different = sum(one["different"] for one in results.values())
    if options.models:
        return
    save("serving-replay", {"about": about(), "k": K, "different_lists": different, "models": results})


if __name__ == "__main__":
    main()
