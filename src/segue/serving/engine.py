"""History and rules -> answer. Knows models, events and sessions; knows nothing of HTTP."""

import time
import uuid
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segue.data.catalog import PAD, Catalog
from segue.data.sequences import NO_TIME, Sequences
from segue.models import artifact
from segue.models.restore import restore
from segue.models.scorer import Scorer, top_k
from segue.serving.events import accept, moment
from segue.serving.problems import Problem
from segue.serving.schema import EventIn, RecommendAnswer, Recommendation, RecommendRequest, SimilarRequest
from segue.serving.sessions import Key, Sessions
from segue.serving.store import Receipt
from segue.serving.writer import Writer


@dataclass(frozen=True)
class Model:
    """What answers: a scorer and the catalogue it was trained with."""

    version: str
    scorer: Scorer
    catalog: Catalog
    titles: dict[str, str]
    exclude_seen: bool
    """What a request gets that does not say: the same as in the model's evaluation."""

    @classmethod
    def open(cls, run: Path) -> "Model":
        """Loads an artifact and lets it answer once. ValueError when it is not one, or cannot answer."""
        loaded = artifact.load(run)
        titles = {item: about.get("title") for item, about in loaded.items.items()}
        model = cls(
            version=loaded.version,
            scorer=restore(loaded),
            catalog=loaded.catalog,
            titles={item: title for item, title in titles.items() if isinstance(title, str)},
            exclude_seen=loaded.about.get("exclude_seen", True) is not False,
        )
        model.best([], 1)
        return model

    def best(
        self,
        history: Sequence[int],
        k: int,
        *,
        exclude: Sequence[int] = (),
        allowed_V: np.ndarray | None = None,
        times: Sequence[int] | None = None,
    ) -> list[Recommendation]:
        """The k best items after a history of indices: the scorer and the one ``top_k``, as in an evaluation.

        ``times``: when each event was, and behind them the moment of asking; UTC microseconds, NO_TIME where unknown.
        """
        rows = Sequences.from_lists([history], None if times is None else [times[:-1]])
        scores_BV = self.scorer.scores(rows if times is None else rows.at(np.array(times[-1:])))
        items_BK, best_BK = top_k(scores_BV, k, exclude=Sequences.from_lists([exclude]), allowed_V=allowed_V)
        found = zip(items_BK[0].tolist(), best_BK[0].tolist(), strict=True)
        named = ((self.catalog.ids[item - 1], score) for item, score in found if item != PAD)
        return [Recommendation(item, score, self.titles.get(item)) for item, score in named]


class Engine:
    """Stores events and answers questions. Asked from one thread at a time; the writer has a thread of its own."""

    def __init__(self, model: Model, sessions: Sessions, writer: Writer) -> None:
        self._model = model
        self._sessions = sessions
        self._writer = writer

    @property
    def writable(self) -> bool:
        """Whether the last write of events went well."""
        return self._writer.writable

    def store(self, sent: Sequence[EventIn]) -> tuple["Future[Receipt]", list[str]]:
        """Hands events to the writer: (what becomes of them, the id of each). Problem as ``accept`` and ``submit``."""
        now_us = time.time_ns() // 1000
        events = [accept(one, now_us) for one in sent]
        return self._writer.submit(events), [event.event_id for event in events]

    def recommend(self, request: RecommendRequest) -> RecommendAnswer:
        """What comes next for a request that ``check`` passed and whose event, if any, is stored."""
        started = time.perf_counter()
        model = self._model
        unknown: dict[str, None] = {}
        now_us = time.time_ns() // 1000
        if (key := _key(request)) is not None:
            history, times = self._sessions.timed(key)
        else:
            history = self._index(request.history or (), unknown)
            times = [NO_TIME] * len(history)
        if request.event is not None:
            seen = self._index([request.event.item_id], unknown)
            if key is None:
                history, times = history + seen, times + [moment(request.event, now_us)] * len(seen)
        exclude = self._index(request.exclude, unknown)
        if model.exclude_seen if request.exclude_seen is None else request.exclude_seen:
            exclude = exclude + history
        allowed_V = None
        if request.allow is not None:
            allowed_V = np.zeros(model.catalog.size, dtype=bool)
            allowed_V[self._index(request.allow, unknown)] = True
        items = model.best(history, request.k, exclude=exclude, allowed_V=allowed_V, times=[*times, now_us])
        return _answer(model, items, list(unknown), started)

    def similar(self, request: SimilarRequest) -> RecommendAnswer:
        """What goes with one item: what comes next for somebody who has seen only it. Problem (404) where it is
        unknown."""
        started = time.perf_counter()
        index = self._model.catalog.index([request.item_id]).tolist()
        if index == [PAD]:
            raise Problem(404, f"The catalogue does not know the item '{request.item_id}'.")
        items = self._model.best(index, request.k, exclude=index)
        return _answer(self._model, items, [], started)

    def _index(self, ids: Iterable[str], unknown: dict[str, None]) -> list[int]:
        """Indices of the ids that the catalogue knows; notes the others."""
        ids = list(ids)
        indices = self._model.catalog.index(ids).tolist()
        unknown.update((item, None) for item, index in zip(ids, indices, strict=True) if index == PAD)
        return [index for index in indices if index != PAD]


def check(request: RecommendRequest) -> None:
    """Problem (422) for a request that asks for more than one history; gives its event the request's person."""
    given = [name for name in ("user_id", "session_id", "history") if getattr(request, name) is not None]
    if len(given) > 1:
        raise Problem(422, f"{' and '.join(given)} name different histories: give one of them.")
    event, key = request.event, _key(request)
    if event is None or key is None:
        return
    name, value = key
    if getattr(event, name) not in (None, value):
        raise Problem(422, f"The event's {name} is not the request's: the answer would not have seen the event.")
    setattr(event, name, value)


def _key(request: RecommendRequest) -> Key | None:
    if request.user_id is not None:
        return "user_id", request.user_id
    return None if request.session_id is None else ("session_id", request.session_id)


def _answer(model: Model, items: list[Recommendation], unknown: list[str], started: float) -> RecommendAnswer:
    took_ms = round((time.perf_counter() - started) * 1e3, 3)
    return RecommendAnswer(uuid.uuid4().hex, model.version, items, unknown, took_ms)
