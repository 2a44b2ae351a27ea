"""Rankers: how likely a person takes each of some candidates now. The contract, the table of names, the served form.

Shape letters: B cases, C candidates, V catalog size with PAD.
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
from segue.models.rankers.calibration import Calibration
from segue.models.rankers.dien import DIENConfig, NumpyDIEN
from segue.models.rankers.din import DINConfig, NumpyDIN
from segue.models.rankers.dual_gru import DualGRUConfig, NumpyDualGRU
from segue.models.rankers.item_histories import ItemHistories
from segue.models.rankers.item_state_cache import ItemStateCache
from segue.models.rankers.layers_numpy import Weights
from segue.models.rankers.live_item_histories import LiveItemHistories
from segue.models.rankers.pooled import NumpyPooled, PooledRankerConfig
from segue.models.rankers.ranker_input import RankerInput, encode_examples, encode_histories

CASES_AT_ONCE = 256


class Ranker(Protocol):
    """The probability that the person of a history takes each candidate at a moment.

    A candidate's probability does not depend on the other candidates. Nothing that is observed at or after the moment
    matters. ``arrays`` and ``restore_ranker`` are the way to disk and back.
    """

    @property
    def name(self) -> str:
        """Its name in RANKERS."""
        ...

    @property
    def size(self) -> int:
        """V."""
        ...

    def probability(self, history: Sequences, candidates_C: np.ndarray, now: int) -> np.ndarray: ...

    def log_odds(self, histories: Sequences, candidates_BC: np.ndarray, moments_B: np.ndarray) -> np.ndarray: ...

    @property
    def newest_us(self) -> int:
        """The time of the newest event that it has seen, UTC microseconds; 0 where it remembers none."""
        ...

    def observe(self, history: Sequences, item: int, time: int) -> None: ...

    def arrays(self) -> dict[str, np.ndarray]: ...


class ClickNet(Protocol):
    """What differs between rankers: log-odds [B, C] of what was viewed. ``width``: the interactions of a candidate that
    are read, 0 for none."""

    weights: Weights
    length: int
    width: int

    def log_odds(self, seen: RankerInput) -> np.ndarray: ...


@dataclass(frozen=True)
class RankerEntry:
    """A ranker's settings, and its served form."""

    config: type
    net: Callable[[Weights, Any], ClickNet]


RANKERS: dict[str, RankerEntry] = {
    "pooled": RankerEntry(PooledRankerConfig, NumpyPooled),
    "din": RankerEntry(DINConfig, NumpyDIN),
    "dien": RankerEntry(DIENConfig, NumpyDIEN),
    "dual-gru": RankerEntry(DualGRUConfig, NumpyDualGRU),
}


def find_ranker(name: str) -> RankerEntry:
    """The entry of a name, '_' and '-' alike. ValueError that lists the names for any other."""
    plain = normalize_name(name)
    if plain not in RANKERS:
        raise ValueError(f"There is no ranker '{name}'. Known rankers: {', '.join(RANKERS)}.")
    return RANKERS[plain]


class NeuralRanker:
    """A trained net, what it knows of the items' latest events, and the curve that makes its word a probability."""

    def __init__(self, name: str, net: ClickNet, memory: LiveItemHistories | None, calibration: Calibration) -> None:
        self.name = name
        self.net = net
        self.calibration = calibration
        self._states = ItemStateCache(net, memory) if isinstance(net, NumpyDualGRU) and memory is not None else None

    @property
    def size(self) -> int:
        """V."""
        return len(self.net.weights["reader.table"])

    def probability(self, history: Sequences, candidates_C: np.ndarray, now: int) -> np.ndarray:
        """float64 [C]; 0 for PAD. ``history``: one row, the person's events before ``now`` (UTC microseconds)."""
        if len(history) != 1:
            raise ValueError(f"A request ranks for one history, got {len(history)}.")
        candidates = np.asarray(candidates_C, dtype=np.int64)
        if len(candidates) == 0:
            return np.zeros(0)
        if candidates.min() < PAD or candidates.max() >= self.size:
            wrong = int(candidates[(candidates < PAD) | (candidates >= self.size)][0])
            raise ValueError(f"Candidate {wrong} is not in the catalog of {self.size - 1} items.")
        said_C = self._said(history, candidates[None], np.array([now]))[0]
        return np.where(candidates == PAD, 0.0, self.calibration(said_C))

    def log_odds(self, histories: Sequences, candidates_BC: np.ndarray, moments_B: np.ndarray) -> np.ndarray:
        """float64 [B, C]: of each history's own candidates at its moment, calibrated; what stands at PAD means nothing.
        Of items it knows what is newest: for moments long past see ``AsOf``."""
        return self.calibration.log_odds(self._said(histories, candidates_BC, moments_B))

    def _said(self, histories: Sequences, candidates_BC: np.ndarray, moments_B: np.ndarray) -> np.ndarray:
        """What the net itself says, float32 [B, C]."""
        if self._states is None:
            return self.net.log_odds(encode_histories(histories, moments_B, candidates_BC, self.net.length))
        out_BC = np.zeros(candidates_BC.shape, dtype=np.float32)
        for b, now in enumerate(moments_B.tolist()):
            seen = encode_histories(
                histories.take(slice(b, b + 1)), moments_B[b : b + 1], candidates_BC[b : b + 1], self.net.length
            )
            out_BC[b] = self._states.log_odds(seen, now)[0]
        return out_BC

    @property
    def newest_us(self) -> int:
        """The time of the newest event of any item, UTC microseconds; 0 for a ranker that remembers none."""
        return 0 if self._states is None else int(self._states.live_histories.times_VM.max(initial=0))

    def to_catalog(self, row_V: np.ndarray, past: ItemHistories) -> "NeuralRanker":
        """The same net in another catalog, knowing of its items what ``past`` ends with. ``row_V``: each item's index
        in the old one, PAD for a new item: that has no vector, and speaks by its own sequence alone."""
        net = copy.copy(self.net)
        net.weights = {**self.net.weights, "reader.table": self.net.weights["reader.table"][row_V]}
        memory = LiveItemHistories.from_item_histories(past, net.width) if net.width else None
        return NeuralRanker(self.name, net, memory, self.calibration)

    def observe(self, history: Sequences, item: int, time: int) -> None:
        """Takes one event in: the person whose earlier events are ``history`` (one row) came to the item at ``time``.
        A ranker that reads no item's sequence has nothing to remember."""
        if self._states is not None:
            self._states.observe(history, item, time)

    def arrays(self) -> dict[str, np.ndarray]:
        """Weights, calibration, and the items' latest events, by name."""
        memory = {} if self._states is None else self._states.live_histories.arrays()
        weights = {f"net.{name}": value for name, value in self.net.weights.items()}
        return {**weights, **self.calibration.arrays(), **memory}


def restore_ranker(name: str, arrays: Mapping[str, np.ndarray], config: Any) -> NeuralRanker:
    """What ``NeuralRanker.arrays`` saved."""
    weights = {key.removeprefix("net."): value for key, value in arrays.items() if key.startswith("net.")}
    memory = LiveItemHistories.restore(arrays) if "memory.before" in arrays else None
    return NeuralRanker(name, find_ranker(name).net(weights, config), memory, Calibration.restore(arrays))


def log_odds(net: ClickNet, cases: ClickExamples, interactions: ItemHistories | None) -> np.ndarray:
    """float32 [B, C] of many cases at their own moments; cases with histories of like length go through together."""
    out_BC = np.zeros(cases.candidates_BC.shape, dtype=np.float32)
    order = np.argsort(np.minimum(cases.histories.lengths, net.length), kind="stable")
    for start in range(0, len(order), CASES_AT_ONCE):
        rows = order[start : start + CASES_AT_ONCE]
        part = cases.take(rows)
        out_BC[rows] = net.log_odds(encode_examples(part, net.length, interactions if net.width else None, net.width))
    return out_BC
