"""Trained model under the live state of a server's data directory: changed items, live rules and stored histories."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import apsw
import numpy as np

from segue.data.sequences import Sequences
from segue.estimators.batch_recommend import BatchHistories, recommend_users
from segue.estimators.ruled_lists import LiveRules, RuledLists
from segue.estimators.trained_model import TrainedModel
from segue.models import artifact
from segue.models.retrieval.retriever import RetrievalQuery, to_sequences
from segue.pipeline.config import PlacementConfig
from segue.serving.catalog.live_model import LiveModel
from segue.serving.catalog.live_updates import LiveUpdates
from segue.serving.config import SessionsConfig
from segue.serving.inference.served_model import ServedModel
from segue.serving.schemas.requests import HistoryKey
from segue.serving.sessions.session_cache import SessionCache
from segue.serving.store.event_reader import EventReader


class StoredHistory(NamedTuple):
    """History of a user in a data directory."""

    ids: list[str]
    """Item ids, oldest first, without unknown items."""
    rows: Sequences
    """One row with the times and contexts of its events."""
    seen: Sequences | None
    """The events of all types, see ``PlacementRequest.seen``; None: the history."""


class ModelWithData(TrainedModel):
    """Trained model whose lists are those of a server on a data directory, also while the server runs."""

    def __init__(self, run: Path, data: Path) -> None:
        """Load a model, and apply the changes of a data directory.

        Args:
            run: folder of the model.
            data: data directory of a server; it is only read.

        Raises:
            ValueError: the folder holds no model, there is no event store, or the model lacks a column of a live rule.
        """
        saved, served = artifact.load(run), ServedModel.open(run)
        try:
            self._store = EventReader(Path(data) / "events.sqlite")
            events = SessionsConfig().events_of(served.history_events)
            reader = served.event_contexts
            self._sessions = SessionCache(self._store, served.catalog, context_reader=reader, history_events=events)
            self._state, updates = LiveModel(served, self._sessions), LiveUpdates(self._store)
            try:
                updates.attach(self._state)
            finally:
                updates.close()
        except apsw.Error as error:
            raise ValueError(f"{data} has no readable event store of a server: {error}.") from None
        self._state.finish()
        changed = {item: self._state.row(item) for item in self._state.changed_items}
        self._served = served
        if served.pipeline_service is not None and served.pipeline_service.reads_event_types:
            self._sessions.keep_event_types()
        super().__init__(served.scorer, served.catalog, {**saved.items, **changed}, saved.about)

    def _ruled_lists(self, placements: Sequence[PlacementConfig] | None) -> RuledLists:
        service = self._served.pipeline_service
        live = LiveRules(None if service is None else service.placements, self._served.changes.hidden)
        seen = self.about.get("exclude_seen", True) is not False
        return RuledLists(self.scorer, self.catalog, self.items, excluded_in_evaluation=seen, live=live)

    def with_placements(self, placements: Sequence[PlacementConfig]) -> TrainedModel:
        """Refuse other placements: the data directory states their rules. ValueError."""
        raise ValueError("A data directory states the rules of the placements: leave it out, or the other placements.")

    @property
    def hidden_items(self) -> frozenset[str]:
        """Ids of deleted items and of those that are not available."""
        return frozenset(item for item in self._state.changed_items if self._state.hides(item))

    def stored_history(self, user: str) -> StoredHistory:
        """Return the history of a user as the server has it. ValueError for a user without stored events."""
        query, seen = self._query(("user_id", user))
        if not query.history and not self._store.newest("user_id", user, 1):
            raise ValueError(f"There is no user '{user}' in {self._store.path.parent}.")
        rows = None if seen is None else seen.as_sequences()
        return StoredHistory(self.catalog.to_ids(query.history), query.as_sequences(), rows)

    def recommend_stored(self, out: Path, **options: Any) -> int:
        """Write the k best next items of every user with stored events to a file; return the number of users.

        Args:
            out: see ``recommend_all``.
            options: those of ``recommend_users``.
        """
        users = sorted(self._store.user_ids())

        def read(rows: np.ndarray) -> BatchHistories:
            pairs = [self._query(("user_id", users[row])) for row in rows.tolist()]
            seen = [each for _, each in pairs if each is not None]
            histories = to_sequences([query for query, _ in pairs]).drop_unknown()
            return BatchHistories(histories, to_sequences(seen) if seen else None)

        return recommend_users(self, users, read, out, **options)

    def _query(self, key: HistoryKey) -> tuple[RetrievalQuery, RetrievalQuery | None]:
        view, now_us = self._sessions.view(key), time.time_ns() // 1000
        query = RetrievalQuery(view.items, (), None, view.times, now_us, view.contexts, view.types)
        seen = view.seen
        return query, None if seen is None else RetrievalQuery(seen.items, event_types=seen.types)
