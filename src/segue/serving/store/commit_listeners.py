"""Who hears of every commit before anybody is told of it: this process's histories, and other processes'."""

from collections.abc import Callable, Sequence
from typing import Protocol

from segue.serving.schemas.requests import HistoryKey
from segue.serving.store.event_reader import StoredEventRow


class CommitListener(Protocol):
    """Other processes that answer from histories of their own; each call returns when they have taken it up."""

    def on_commit(self, stored: Sequence[StoredEventRow]) -> None: ...

    def on_erase(self, keys: Sequence[HistoryKey]) -> None: ...

    def on_reload(self) -> None: ...


class CommitListeners:
    """The writer tells it of every commit."""

    def __init__(self) -> None:
        self._listening: tuple[Callable[[Sequence[StoredEventRow]], None], ...] = ()
        self.worker_listener: CommitListener | None = None
        """Other processes, where there are any."""

    def set_listeners(self, listeners: Sequence[Callable[[Sequence[StoredEventRow]], None]]) -> None:
        """Replaces everybody who hears in this process: another lineup is at work, and other processes may look."""
        self._listening = tuple(listeners)
        if self.worker_listener is not None:
            self.worker_listener.on_reload()

    def on_commit(self, stored: Sequence[StoredEventRow]) -> None:
        """Tells them all."""
        for listener in self._listening:
            listener(stored)
        if self.worker_listener is not None and stored:
            self.worker_listener.on_commit(stored)

    def on_erase(self, keys: Sequence[HistoryKey]) -> None:
        """Tells other processes that people were erased."""
        if self.worker_listener is not None:
            self.worker_listener.on_erase(keys)
