"""A ranker for judging: of every item it knows what a log says of the very moment that is asked about.

Shape letters: B cases, C candidates.
"""

import numpy as np

from segue.data.catalog import PAD
from segue.data.impressions import ClickExamples
from segue.data.sequences import Sequences
from segue.models.rankers.item_histories import ItemHistories
from segue.models.rankers.ranker import NeuralRanker, log_odds

CANDIDATES_AT_ONCE = 4096


class PointInTimeRanker:
    """What the live ranker would have said at each moment, had it observed the log up to then (tested).

    The live one keeps the newest events of an item, so that of a moment long past it would know too little.
    """

    def __init__(self, ranker: NeuralRanker, past: ItemHistories) -> None:
        self.ranker = ranker
        self.item_histories = past

    @property
    def name(self) -> str:
        """The ranker's."""
        return self.ranker.name

    @property
    def size(self) -> int:
        """Return the catalog size with PAD, V."""
        return self.ranker.size

    @property
    def newest_us(self) -> int:
        """The time of the log's newest event; 0 where there is none."""
        return int(self.item_histories.unique_times[-1]) if len(self.item_histories.unique_times) else 0

    def log_odds(self, histories: Sequences, candidates_BC: np.ndarray, moments_B: np.ndarray) -> np.ndarray:
        """float64 [B, C]: calibrated, as ``NeuralRanker.log_odds``."""
        said_BC = np.zeros(candidates_BC.shape, dtype=np.float32)
        step = max(1, CANDIDATES_AT_ONCE // max(1, candidates_BC.shape[1]))
        for start in range(0, len(histories), step):
            rows = slice(start, start + step)
            asked_BC = candidates_BC[rows]
            nobody_B = np.zeros(len(asked_BC), dtype=np.int64)
            labels_BC = np.zeros(asked_BC.shape, dtype=bool)
            cases = ClickExamples(histories.take(rows), moments_B[rows], asked_BC, labels_BC, nobody_B)
            said_BC[rows] = log_odds(self.ranker.net, cases, self.item_histories)
        return self.ranker.calibration.log_odds(said_BC)

    def probability(self, history: Sequences, candidates_C: np.ndarray, now: int) -> np.ndarray:
        """See ``Ranker.probability``; the log's events before ``now`` count."""
        candidates_1C = np.asarray(candidates_C, dtype=np.int64)[None]
        log_odds_C = self.log_odds(history, candidates_1C, np.array([now]))[0]
        return np.where(candidates_1C[0] == PAD, 0.0, 1.0 / (1.0 + np.exp(-log_odds_C)))

    def observe(self, history: Sequences, item: int, time: int) -> None:
        """Tells the live ranker; the log stays as it is."""
        self.ranker.observe(history, item, time)

    def arrays(self) -> dict[str, np.ndarray]:
        """The live ranker's: it is what is saved."""
        return self.ranker.arrays()
