"""Ranker for evaluation: item histories are those of a log at each query time.

Shape letters: B examples, C candidates.
"""

import numpy as np

from segue.data.catalog import PAD
from segue.data.impressions import ClickExamples
from segue.data.sequences import Sequences
from segue.models.numpy_layers import sigmoid
from segue.models.rankers.item_histories import ItemHistories
from segue.models.rankers.ranker import NeuralRanker, log_odds

MAX_BATCH_CANDIDATES = 4096
"""Number of candidates that are scored at once."""


class PointInTimeRanker:
    """A ranker that equals the live one at every query time, had that observed the log up to then (tested).

    The live ranker keeps only the newest interactions of an item, which is too little for an earlier query time.
    """

    def __init__(self, ranker: NeuralRanker, item_histories: ItemHistories) -> None:
        self.ranker = ranker
        self.item_histories = item_histories

    @property
    def name(self) -> str:
        """See ``Ranker.name``."""
        return self.ranker.name

    @property
    def size(self) -> int:
        """V: catalog size with PAD."""
        return self.ranker.size

    @property
    def newest_us(self) -> int:
        """Timestamp of the log's newest event, UTC microseconds; 0 for an empty log."""
        return int(self.item_histories.unique_times[-1]) if len(self.item_histories.unique_times) else 0

    def log_odds(self, histories: Sequences, candidates_BC: np.ndarray, times_B: np.ndarray) -> np.ndarray:
        """See ``Ranker.log_odds``."""
        raw_BC = np.zeros(candidates_BC.shape, dtype=np.float32)
        step = max(1, MAX_BATCH_CANDIDATES // max(1, candidates_BC.shape[1]))
        for start in range(0, len(histories), step):
            rows = slice(start, start + step)
            batch_BC = candidates_BC[rows]
            users_B = np.zeros(len(batch_BC), dtype=np.int64)
            labels_BC = np.zeros(batch_BC.shape, dtype=bool)
            examples = ClickExamples(histories.take(rows), times_B[rows], batch_BC, labels_BC, users_B)
            raw_BC[rows] = log_odds(self.ranker.net, examples, self.item_histories)
        return self.ranker.calibration.log_odds(raw_BC)

    def probability(self, history: Sequences, candidates_C: np.ndarray, now: int) -> np.ndarray:
        """See ``Ranker.probability``; the log's events before ``now`` count."""
        candidates_1C = np.asarray(candidates_C, dtype=np.int64)[None]
        probability_C = sigmoid(self.log_odds(history, candidates_1C, np.array([now]))[0])
        return np.where(candidates_1C[0] == PAD, 0.0, probability_C)

    def observe(self, history: Sequences, item: int, time: int) -> None:
        """Update the live ranker; the log does not change. See ``Ranker.observe``."""
        self.ranker.observe(history, item, time)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the tensors of the live ranker, which is what an artifact holds."""
        return self.ranker.arrays()
