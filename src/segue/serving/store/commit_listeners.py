"""Commit listeners, called after a transaction is written and before its client gets the response.

The listeners of this process are the session caches, the item history feeds and the attribution recorder. With several
workers the worker supervisor listens too, and updates the caches of the worker processes.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from segue.serving.schemas.requests import HistoryKey
from segue.serving.store.event_reader import StoredEventRow


class CommitListener(Protocol):
    """Listener for the worker processes. Each call returns when every worker has processed it."""

    def on_commit(self, stored: Sequence[StoredEventRow]) -> None:
        """Add newly committed events to the histories of the workers."""

    def on_erase(self, keys: Sequence[HistoryKey]) -> None:
        """Drop erased users and sessions from the memory of the workers."""

    def on_reload(self) -> None:
        """Request that the workers check for another model version."""

    def on_catalog(self) -> None:
        """Have the workers apply the changes of the catalog; return when all have, or after a second."""


class CommitListeners:
    """Listeners of the event store: those of the current deployment, then the worker processes."""

    def __init__(self) -> None:
        self._listeners: tuple[Callable[[Sequence[StoredEventRow]], None], ...] = ()
        self.forget: Callable[[Sequence[HistoryKey]], None] = lambda keys: None
        """Drops users and sessions from the memory of this process."""
        self.worker_listener: CommitListener | None = None
        """Listener for the worker processes; None for a server of one process."""

    def set_listeners(self, listeners: Sequence[Callable[[Sequence[StoredEventRow]], None]]) -> None:
        """Replace the listeners of this process for another deployment, and request a reload from the workers."""
        self._listeners = tuple(listeners)
        if self.worker_listener is not None:
            self.worker_listener.on_reload()

    def on_commit(self, stored: Sequence[StoredEventRow]) -> None:
        """Notify every listener of newly committed events."""
        for listener in self._listeners:
            listener(stored)
        if self.worker_listener is not None and stored:
            self.worker_listener.on_commit(stored)

    def on_catalog(self) -> None:
        """Have the worker processes apply the changes of the catalog."""
        if self.worker_listener is not None:
            self.worker_listener.on_catalog()

    def on_erase(self, keys: Sequence[HistoryKey]) -> None:
        """Drop erased users and sessions from the memory of every process."""
        self.forget(keys)
        if self.worker_listener is not None:
            self.worker_listener.on_erase(keys)
