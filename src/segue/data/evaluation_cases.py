"""What is asked in an evaluation: a history, and the item that really came next."""

from dataclasses import dataclass, replace

import numpy as np

from segue.data.catalog import Catalog
from segue.data.features.encoding import ItemFeatures
from segue.data.sequences import Sequences


@dataclass(frozen=True)
class EvaluationCases:
    """N questions: after ``histories`` row n, which item comes? ``targets[n]`` did.

    ``targets`` int32 [N], never PAD; ``groups`` int64 [N]: the person or session a case belongs to, which is the unit
    that confidence intervals resample; ``times`` int64 [N] of the targets, or None where the log has no times;
    ``dropped``: targets left out, by reason, so that no number hides them; ``missed``: targets outside the catalog
    that the protocol counts as misses instead; ``futures``: under a protocol that holds out several events, N rows of
    all of them in order, the target first; None elsewhere.
    """

    histories: Sequences
    targets: np.ndarray
    groups: np.ndarray
    times: np.ndarray | None
    dropped: dict[str, int]
    missed: int = 0
    futures: Sequences | None = None

    def __len__(self) -> int:
        return len(self.targets)

    def take(self, rows: np.ndarray | slice) -> "EvaluationCases":
        """Some of the cases, by index, slice or mask."""
        times = None if self.times is None else self.times[rows]
        futures = None if self.futures is None else self.futures.take(rows)
        return EvaluationCases(
            self.histories.take(rows), self.targets[rows], self.groups[rows], times, self.dropped, self.missed, futures
        )

    def with_target_times(self) -> "EvaluationCases":
        """The same cases, each asked at its target's own time: how a time-aware model is asked. Its numbers must be
        reported apart, since the others did not know the moment. ValueError where the log has no times."""
        if self.times is None:
            raise ValueError(
                "This log has an order but no times, so no model can be told when it is asked: leave target_time out."
            )
        return replace(self, histories=self.histories.as_of(self.times))


@dataclass(frozen=True)
class Split:
    """A log cut in time: what a model may learn from, what chooses its settings, what judges it.

    ``train`` ends before the first validation target, ``refit`` before the first test target: nothing in ``train``
    saw ``validation``, and nothing in ``refit`` saw ``test``.
    """

    protocol: str
    """In one sentence: the cut, the cases, the seen-item filter; printed beside every number."""
    catalog: Catalog
    train: Sequences
    validation: EvaluationCases
    refit: Sequences
    test: EvaluationCases
    exclude_seen: bool
    """Whether items of the history are taken out of the ranking, as the protocol's published numbers do."""
    picture: str
    """The cut drawn with characters, for people."""
    fingerprint: str
    """SHA-256 over the events and the cut: equal data and equal split have equal fingerprints."""
    item_features: ItemFeatures | None = None
    """What is known of the catalog's items, where the log has a table of them."""
