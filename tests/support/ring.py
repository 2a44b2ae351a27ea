"""People who walk round a ring of items: a log whose rule a pipeline must learn, and a pipeline's settings for it."""

from pathlib import Path

import numpy as np

from segue.data.catalog import Catalog
from segue.data.evaluation_cases import EvaluationCases, Split
from segue.data.sequences import Sequences
from segue.models import artifact
from segue.models.scorer import Scorer
from segue.pipeline.persistence import restore_saved_pipeline
from segue.workflows.fit_result import FitResult

ITEMS = 30
"""Items 1 to 30 lie in a ring: after i mostly comes i + 1; item 31 is never taken."""
SIZE = ITEMS + 2
MINUTE_US = 60_000_000


def walks(people: int, seed: int, length: int = 8) -> Sequences:
    """People who go round the ring, a step a minute, and jump with probability .2."""
    rng = np.random.default_rng(seed)
    rows, times = [], []
    for person in range(people):
        place, row = int(rng.integers(ITEMS)), []
        for _ in range(length):
            place = (place + 1) % ITEMS if rng.random() > 0.2 else int(rng.integers(ITEMS))
            row.append(place + 1)
        rows.append(row)
        times.append([(person * 5 + step) * MINUTE_US for step in range(length)])
    return Sequences.from_lists(rows, times)


def asked(rows: Sequences) -> EvaluationCases:
    """The last event of each row is what came next; the first people have shorter histories, down to none."""
    keep = np.minimum(np.arange(len(rows)) % 8, rows.lengths - 1)
    histories = rows.prefixes(keep)
    targets = rows.items[rows.starts + keep]
    return EvaluationCases(histories, targets, np.arange(len(rows)), rows.times[rows.starts + keep], {})


def saved(composed: FitResult, catalog: Catalog, folder: Path) -> Scorer:
    """What comes back from the disk."""
    kept = artifact.Artifact("pipeline", composed.settings, catalog, composed.scorer.arrays(), {}, {})
    artifact.save(kept, folder)
    return restore_saved_pipeline(artifact.load(folder))


def split_of(people: int = 400) -> Split:
    """Three logs of different people with one rule."""
    train, validation, test = walks(people, 1), walks(people, 2), walks(people, 3)
    catalog = Catalog(f"item {i}" for i in range(1, SIZE))
    return Split("none", catalog, train, asked(validation), train, asked(test), False, "", "")


CONFIG = {
    "source": [
        {"model": "markov", "num_candidates": 10},
        {"model": "covisit", "num_candidates": 20},
        {"model": "again", "num_candidates": 5},
        {"model": "popularity", "num_candidates": 10, "max_events": 1},
    ],
    "rank": {"max_trees": 10, "min_leaf_size": 20},
}
