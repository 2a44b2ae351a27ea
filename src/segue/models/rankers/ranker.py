"""Click rankers: protocol, table of rankers, and the ranker of a trained network.

Shape letters: B examples, C candidates, V catalog size with PAD.
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from segue.config.names import normalize_name
from segue.data.catalog import PAD
from segue.data.impressions import ClickExamples
from segue.data.sequences import Sequences
from segue.models.numpy_layers import Weights, check_biases
from segue.models.rankers.calibration import Calibration
from segue.models.rankers.dien import DIENConfig, NumpyDIEN
from segue.models.rankers.din import DINConfig, NumpyDIN
from segue.models.rankers.dual_gru import DualGRUConfig, NumpyDualGRU
from segue.models.rankers.item_histories import BUCKETS, ItemHistories
from segue.models.rankers.item_state_cache import ItemStateCache
from segue.models.rankers.live_item_histories import LiveItemHistories
from segue.models.rankers.pooled import NumpyPooled, PooledRankerConfig
from segue.models.rankers.ranker_config import RankerConfig
from segue.models.rankers.ranker_input import RankerInput, encode_examples, encode_histories

BATCH_SIZE = 256
"""Number of examples that are scored at once."""


class Ranker(Protocol):
    """A model of click probability: the user of a history, each of some candidates, a time.

    The probability of a candidate does not depend on the other candidates, nor on events at or after the query time.
    ``arrays`` and ``restore_ranker`` write and read the artifact.
    """

    @property
    def name(self) -> str:
        """Name in ``RANKERS``."""
        ...

    @property
    def size(self) -> int:
        """V: catalog size with PAD."""
        ...

    def probability(self, history: Sequences, candidates_C: np.ndarray, now: int) -> np.ndarray:
        """Return the click probability of each candidate of one request.

        Args:
            history: one row, the user's events before ``now``.
            candidates_C: int [C], candidates; PAD is allowed.
            now: time of the request, UTC microseconds.

        Returns:
            float64 [C]; 0 for PAD.

        Raises:
            ValueError: there is more than one history, or the catalog does not contain a candidate.
        """
        ...

    def log_odds(self, histories: Sequences, candidates_BC: np.ndarray, times_B: np.ndarray) -> np.ndarray:
        """Return the calibrated log odds of a click.

        Args:
            histories: B histories.
            candidates_BC: int [B, C], each history's own candidates.
            times_B: int64 [B], query times, UTC microseconds.

        Returns:
            float64 [B, C]; meaningless at PAD.
        """
        ...

    @property
    def newest_us(self) -> int:
        """Timestamp of the newest observed event, UTC microseconds; 0 for a ranker without item histories."""
        ...

    def observe(self, history: Sequences, item: int, time: int) -> None:
        """Update the item histories by one interaction.

        Args:
            history: one row, the user's events before this one.
            item: the item.
            time: timestamp of the event, UTC microseconds.
        """
        ...

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the tensors of the artifact."""
        ...


class ClickNet(Protocol):
    """The part of a ranker that differs between models."""

    weights: Weights
    max_length: int
    """Number of newest events of a history that are read."""
    item_history_length: int
    """Number of newest interactions of a candidate that are read; 0: none."""

    def log_odds(self, features: RankerInput) -> np.ndarray:
        """Return the log odds of a click before calibration, float32 [B, C]."""
        ...


@dataclass(frozen=True)
class RankerEntry:
    """Settings class and numpy network of a ranker."""

    config: type[RankerConfig]
    net: Callable[[Weights, Any], ClickNet]


RANKERS: dict[str, RankerEntry] = {
    "pooled": RankerEntry(PooledRankerConfig, NumpyPooled),
    "din": RankerEntry(DINConfig, NumpyDIN),
    "dien": RankerEntry(DIENConfig, NumpyDIEN),
    "dual-gru": RankerEntry(DualGRUConfig, NumpyDualGRU),
}
"""Rankers by name."""
_WITHOUT_BIAS = ("match", "relevance")
"""Layers without a bias."""
_BUCKET_TABLES = {
    **dict.fromkeys(("reader.gap", "reader.age", "user_age", "item_age"), 0),
    **dict.fromkeys(("reader.features", "event_features", "item_features"), 1),
}
"""Axis of the buckets in each table of bucket embeddings."""


def find_ranker(name: str) -> RankerEntry:
    """Return the entry of a ranker; '_' and '-' are alike.

    Raises:
        ValueError: there is no such ranker; the message lists the names.
    """
    plain = normalize_name(name)
    if plain not in RANKERS:
        raise ValueError(f"There is no ranker '{name}'. Known rankers: {', '.join(RANKERS)}.")
    return RANKERS[plain]


class NeuralRanker:
    """Trained network with live item histories and the calibration of its log odds."""

    def __init__(
        self, name: str, net: ClickNet, live_histories: LiveItemHistories | None, calibration: Calibration
    ) -> None:
        self.name = name
        self.net = net
        self.calibration = calibration
        self._states: ItemStateCache | None = None
        if isinstance(net, NumpyDualGRU) and live_histories is not None:
            self._states = ItemStateCache(net, live_histories)

    @property
    def size(self) -> int:
        """V: catalog size with PAD."""
        return len(self.net.weights["reader.table"])

    def probability(self, history: Sequences, candidates_C: np.ndarray, now: int) -> np.ndarray:
        """See ``Ranker.probability``."""
        if len(history) != 1:
            raise ValueError(f"A request ranks for one history, got {len(history)}.")
        candidates = np.asarray(candidates_C, dtype=np.int64)
        if len(candidates) == 0:
            return np.zeros(0)
        if candidates.min() < PAD or candidates.max() >= self.size:
            wrong = int(candidates[(candidates < PAD) | (candidates >= self.size)][0])
            raise ValueError(f"Candidate {wrong} is not in the catalog of {self.size - 1} items.")
        raw_C = self._raw_log_odds(history, candidates[None], np.array([now]))[0]
        return np.where(candidates == PAD, 0.0, self.calibration(raw_C))

    def log_odds(self, histories: Sequences, candidates_BC: np.ndarray, times_B: np.ndarray) -> np.ndarray:
        """See ``Ranker.log_odds``. Live item histories hold the newest events only; see ``PointInTimeRanker``."""
        return self.calibration.log_odds(self._raw_log_odds(histories, candidates_BC, times_B))

    def _raw_log_odds(self, histories: Sequences, candidates_BC: np.ndarray, times_B: np.ndarray) -> np.ndarray:
        """Return the log odds before calibration, float32 [B, C]."""
        if self._states is None:
            return self.net.log_odds(encode_histories(histories, times_B, candidates_BC, self.net.max_length))
        out_BC = np.zeros(candidates_BC.shape, dtype=np.float32)
        for b, now in enumerate(times_B.tolist()):
            row = slice(b, b + 1)
            features = encode_histories(histories.take(row), times_B[row], candidates_BC[row], self.net.max_length)
            out_BC[b] = self._states.log_odds(features, now)[0]
        return out_BC

    @property
    def newest_us(self) -> int:
        """Timestamp of the newest observed event, UTC microseconds; 0 for a ranker without item histories."""
        return 0 if self._states is None else int(self._states.live_histories.times_VM.max(initial=0))

    def to_catalog(self, row_V: np.ndarray, item_histories: ItemHistories) -> "NeuralRanker":
        """Return the ranker for another catalog.

        Args:
            row_V: int [V], each item's index in the old catalog; PAD for a new item, which has no embedding and is
                scored by its item history alone.
            item_histories: item histories in the new catalog; their last state is kept.
        """
        net = copy.copy(self.net)
        net.weights = {**self.net.weights, "reader.table": self.net.weights["reader.table"][row_V]}
        width = net.item_history_length
        live_histories = LiveItemHistories.from_item_histories(item_histories, width) if width else None
        return NeuralRanker(self.name, net, live_histories, self.calibration)

    def observe(self, history: Sequences, item: int, time: int) -> None:
        """See ``Ranker.observe``; no effect on a ranker without item histories."""
        if self._states is not None:
            self._states.observe(history, item, time)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the tensors of the artifact: ``net.*``, ``calibration.*`` and, if any, ``item_histories.*``."""
        histories = {} if self._states is None else self._states.live_histories.arrays()
        weights = {f"net.{name}": value for name, value in self.net.weights.items()}
        return {**weights, **self.calibration.arrays(), **histories}


def restore_ranker(name: str, arrays: Mapping[str, np.ndarray], config: RankerConfig) -> NeuralRanker:
    """Restore the ranker of an artifact.

    Args:
        name: name in ``RANKERS``.
        arrays: tensors of the artifact.
        config: settings of the ranker.

    Raises:
        ValueError: a table of embeddings has fewer rows than its index has values.
    """
    weights = {key.removeprefix("net."): value for key, value in arrays.items() if key.startswith("net.")}
    for table, axis in _BUCKET_TABLES.items():
        if table in weights and (weights[table].ndim <= axis or weights[table].shape[axis] < BUCKETS):
            raise ValueError(f"The tensor 'net.{table}' has fewer than {BUCKETS} rows.")
    check_biases(weights, _WITHOUT_BIAS)
    live_histories = LiveItemHistories.restore(arrays) if "item_histories.previous_items" in arrays else None
    ranker = NeuralRanker(name, find_ranker(name).net(weights, config), live_histories, Calibration.restore(arrays))
    if ranker.size > 1:  # a tensor may be missing, or have another shape than its neighbor
        history = Sequences.from_lists([[1, 1]], [[0, 1_000_000]])
        if not np.isfinite(ranker.probability(history, np.array([1]), 2_000_000)).all():
            raise ValueError("The ranker returns a probability that is not a number.")
    return ranker


def log_odds(net: ClickNet, examples: ClickExamples, item_histories: ItemHistories | None) -> np.ndarray:
    """Return the log odds of click examples at their own times, before calibration.

    Examples with histories of similar length share a batch.

    Args:
        net: network of the ranker.
        examples: B histories with candidates and times.
        item_histories: item histories of the log; None for a network that reads none.

    Returns:
        float32 [B, C].
    """
    out_BC = np.zeros(examples.candidates_BC.shape, dtype=np.float32)
    order = np.argsort(np.minimum(examples.histories.lengths, net.max_length), kind="stable")
    width = net.item_history_length
    for start in range(0, len(order), BATCH_SIZE):
        rows = order[start : start + BATCH_SIZE]
        features = encode_examples(examples.take(rows), net.max_length, item_histories if width else None, width)
        out_BC[rows] = net.log_odds(features)
    return out_BC
