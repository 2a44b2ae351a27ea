"""Who hears of every commit before anybody is told of it: this process's histories, and other processes'."""

from collections.abc import Callable, Sequence
from typing import Protocol

from segue.serving.schemas.requests import Key
from segue.serving.store.event_reader import Stored


class Follower(Protocol):
    """Other processes that answer from histories of their own; each call returns when they have taken it up."""

    def hear(self, stored: Sequence[Stored]) -> None: ...

    def forget(self, keys: Sequence[Key]) -> None: ...

    def look(self) -> None: ...


class Audience:
    """The writer tells it of every commit."""

    def __init__(self) -> None:
        self._listening: tuple[Callable[[Sequence[Stored]], None], ...] = ()
        self.follower: Follower | None = None
        """Other processes, where there are any."""

    def invite(self, listeners: Sequence[Callable[[Sequence[Stored]], None]]) -> None:
        """Replaces everybody who hears in this process: another lineup is at work, and other processes may look."""
        self._listening = tuple(listeners)
        if self.follower is not None:
            self.follower.look()

    def hear(self, stored: Sequence[Stored]) -> None:
        """Tells them all."""
        for listener in self._listening:
            listener(stored)
        if self.follower is not None and stored:
            self.follower.hear(stored)

    def forget(self, keys: Sequence[Key]) -> None:
        """Tells other processes that people were erased."""
        if self.follower is not None:
            self.follower.forget(keys)
