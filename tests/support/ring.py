"""Users who walk round a ring of items: a log of a rule that a pipeline must learn, and settings of a pipeline."""

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
"""Items 1 to 30 lie in a ring: after i mostly comes i + 1; item 31 has no events."""
SIZE = ITEMS + 2
MINUTE_US = 60_000_000


def walks(users: int, seed: int, length: int = 8) -> Sequences:
    """Users who go round the ring, a step a minute, and jump with probability .2."""
    rng = np.random.default_rng(seed)
    rows, times = [], []
    for user in range(users):
        place, row = int(rng.integers(ITEMS)), []
        for _ in range(length):
            place = (place + 1) % ITEMS if rng.random() > 0.2 else int(rng.integers(ITEMS))
            row.append(place + 1)
        rows.append(row)
        times.append([(user * 5 + step) * MINUTE_US for step in range(length)])
    return Sequences.from_lists(rows, times)


def last_event_cases(rows: Sequences) -> EvaluationCases:
    """Cases with the last event of each row as target; the first users have shorter histories, down to none."""
    keep = np.minimum(np.arange(len(rows)) % 8, rows.lengths - 1)
    histories = rows.prefixes(keep)
    targets = rows.items[rows.starts + keep]
    return EvaluationCases(histories, targets, np.arange(len(rows)), rows.times[rows.starts + keep], {})


def saved(fitted_pipeline: FitResult, catalog: Catalog, folder: Path) -> Scorer:
    """Save and restore a pipeline."""
    kept = artifact.Artifact("pipeline", fitted_pipeline.settings, catalog, fitted_pipeline.scorer.arrays(), {}, {})
    artifact.save(kept, folder)
    return restore_saved_pipeline(artifact.load(folder))


def split_of(users: int = 400) -> Split:
    """Three logs of different users with one rule."""
    train, validation, test = walks(users, 1), walks(users, 2), walks(users, 3)
    catalog = Catalog(f"item {i}" for i in range(1, SIZE))
    return Split("none", catalog, train, last_event_cases(validation), train, last_event_cases(test), False, "", "")


CONFIG = {
    "source": [
        {"model": "markov", "num_candidates": 10},
        {"model": "covisit", "num_candidates": 20},
        {"model": "again", "num_candidates": 5},
        {"model": "popularity", "num_candidates": 10, "max_events": 1},
    ],
    "rank": {"max_trees": 10, "min_leaf_size": 20},
}
