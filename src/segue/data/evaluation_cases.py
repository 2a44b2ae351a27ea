"""Evaluation cases (a history and its target), and the split of a log into train, validation and test."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from segue.data.catalog import Catalog
from segue.data.features.encoding import ItemFeatures
from segue.data.sequences import Sequences


@dataclass(frozen=True)
class EvaluationCases:
    """N cases: ``targets[n]`` is the item that followed ``histories`` row n."""

    histories: Sequences
    """N rows: the events before each target."""
    targets: np.ndarray
    """int32 [N], never PAD."""
    groups: np.ndarray
    """int64 [N]: index of the case's user or session, the unit that confidence intervals resample."""
    times: np.ndarray | None
    """int64 [N], UTC microseconds of the targets; None for a log without times."""
    dropped: dict[str, int]
    """Number of targets that are not evaluated, by reason."""
    missed: int = 0
    """Number of targets outside the catalog that the protocol counts as misses."""
    futures: Sequences | None = None
    """N rows of all held-out events in order, the target first; None unless the protocol holds out several events."""

    def __len__(self) -> int:
        return len(self.targets)

    def take(self, rows: np.ndarray | slice) -> "EvaluationCases":
        """Return some of the cases, by index, slice or mask."""
        times = None if self.times is None else self.times[rows]
        futures = None if self.futures is None else self.futures.take(rows)
        return EvaluationCases(
            self.histories.take(rows), self.targets[rows], self.groups[rows], times, self.dropped, self.missed, futures
        )

    def sample(self, count: int, seed: int | Sequence[int]) -> "EvaluationCases":
        """Return at most ``count`` of the cases, drawn without replacement, in their order.

        Args:
            count: number of cases; with as many or fewer cases all are returned, and nothing is drawn.
            seed: seed of ``numpy.random.default_rng``. A tuple (seed, stream) keeps draws of one seed independent.
        """
        if len(self) <= count:
            return self
        return self.take(np.sort(np.random.default_rng(seed).choice(len(self), count, replace=False)))

    def with_target_times(self) -> "EvaluationCases":
        """Return the same cases with each target's timestamp as query time, as time-aware models are evaluated.

        Report such results apart: the other models do not know the query time.

        Raises:
            ValueError: the log has no times.
        """
        if self.times is None:
            raise ValueError(
                "This log has an order but no times, so targets have no query time: leave target_time out."
            )
        return replace(self, histories=self.histories.as_of(self.times))


@dataclass(frozen=True)
class Split:
    """Log cut in time: sequences to train on, validation cases to choose settings, test cases to evaluate.

    ``train`` ends before the first validation target, and ``refit`` (train plus validation) before the first test
    target. Leave-last-out and leave-last-n-out ensure that only per user.
    """

    protocol: str
    """Sentence that states the cut, the cases and the filter of seen items; printed beside every result."""
    catalog: Catalog
    train: Sequences
    validation: EvaluationCases
    refit: Sequences
    test: EvaluationCases
    exclude_seen: bool
    """Exclude items of the history from the ranking, as the protocol's published results do."""
    picture: str
    """Timeline of the cut, drawn with characters."""
    fingerprint: str
    """SHA-256 over the events and the cut: equal data and equal splits have equal fingerprints."""
    item_features: ItemFeatures | None = None
    """Features of the catalog's items; None for a log without an item table."""
