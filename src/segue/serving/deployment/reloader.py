"""Keeps what is served equal to what the pointer says: loads, examines, swaps, and takes back what fails."""

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from segue.models import artifact
from segue.serving.deployment import golden_requests
from segue.serving.deployment.model_registry import Choice, Pointer, Registry
from segue.serving.deployment.variant_router import Fleet, Lineup, Member
from segue.serving.inference.served_model import Model
from segue.serving.observability.logs import said

_log = logging.getLogger("segue.serving")


class Source(Protocol):
    """Where models come from."""

    def pointer(self) -> Pointer:
        """What should be at work."""

    def open(self, version: str) -> Model:
        """A version, examined; ValueError where it is not sound."""

    def rollback(self, note: str = "", *, turn: int | None = None) -> Pointer:
        """Takes the last change back, where that is still ``turn``."""


class PlainFolder:
    """One model in a folder of its own: whatever is saved there next is at work from then on."""

    def __init__(self, folder: Path) -> None:
        self._folder = Path(folder)

    def pointer(self) -> Pointer:
        """The folder's version. ValueError while there is none."""
        version = artifact.version(self._folder)
        return Pointer(1, int(version, 16), Choice(version))

    def open(self, version: str) -> Model:
        """What is there, examined as far as can be without golden answers."""
        model = Model.open(self._folder)
        golden_requests.record(model)
        return model

    def rollback(self, note: str = "", *, turn: int | None = None) -> Pointer:
        """There is nothing to go back to: what is loaded stays."""
        return self.pointer()


def source(folder: Path) -> Source:
    """A registry, or a plain model folder."""
    return Registry.at(folder) or PlainFolder(folder)


def first_lineup(models: Source, member: Callable[[Model], Member], say: Callable[[str], None]) -> tuple[Lineup, int]:
    """What a server begins with, and its turn: what the pointer says or, where that fails, what was there before.

    ValueError where nothing is left.
    """
    while True:
        pointer = models.pointer()
        try:
            return _lineup(pointer.now, {}, lambda version: member(models.open(version))), pointer.turn
        except ValueError as error:
            try:
                if models.rollback(f"Rolled back at the start: {error}", turn=pointer.turn).turn == pointer.turn:
                    raise error
            except ValueError:
                raise error from None
            say(f"{error} What was at work before is served in its place.")


class Watch:
    """Looks at the pointer now and then, in a thread of its own, and at once when it is told to."""

    def __init__(
        self, models: Source, fleet: Fleet, member: Callable[[Model], Member], turn: int, *, every_s: float = 1.0
    ) -> None:
        self.models = models
        self._fleet = fleet
        self._member = member
        self._done = {turn}
        """Turns that need no work: the one that is served, and those that failed."""
        self._turn = turn
        self._every_s = every_s
        self._trouble: tuple[int, str, str] | None = None
        self._looking = threading.Lock()
        self._wake = threading.Event()
        self._ending = False
        fleet.on_trouble = self.trouble
        self._thread = threading.Thread(target=self._run, name="segue-watch", daemon=True)
        self._thread.start()

    def look(self) -> str:
        """Does what the pointer says; what came of it, in a sentence. Loading takes as long as it takes."""
        with self._looking:
            pointer = self.models.pointer()
            if pointer.turn in self._done and pointer.turn != self._turn:
                return "The pointer names a state that failed; what is loaded stays."
            if pointer.turn == self._turn:
                return "Nothing has changed."
            try:
                self._swap(pointer)
                self._fleet.telemetry.swapped("swapped")
                said(_log, logging.INFO, "Swapped.", version=pointer.now.live, turn=pointer.turn)
                return f"Version {pointer.now.live} is live."
            except ValueError as error:
                self._fleet.telemetry.swapped("refused")
                said(_log, logging.ERROR, f"{error} What was at work goes on.", turn=pointer.turn)
                self._back(pointer.turn, str(error))
                return f"{error} What was at work goes on."

    def soon(self) -> None:
        """Looks at once, in its own thread."""
        self._wake.set()

    def trouble(self, version: str, why: str) -> None:
        """A version at work fails too often: the last change is taken back."""
        if self._trouble is None:
            self._trouble = (self._turn, version, why)
            self._wake.set()

    def close(self) -> None:
        """Ends the thread, after what it may be loading."""
        self._ending = True
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ending:
            self._wake.wait(self._every_s)
            self._wake.clear()
            try:
                if self._trouble is not None:
                    self._roll_back(*self._trouble)
                self.look()
            except ValueError:
                pass  # between two renames there is no folder; the next look finds it
            except Exception as error:  # a full disk, a broken file system: the server goes on with what it has
                said(_log, logging.ERROR, "Looking for models failed.", failure=type(error).__name__)

    def _roll_back(self, turn: int, version: str, why: str) -> None:
        self._trouble = None
        if turn != self._turn:
            return
        said(_log, logging.ERROR, "A version fails too often and is taken back.", version=version, turn=turn)
        with self._looking:
            if self._back(turn, f"Rolled back: version {version} failed too often ({why})."):
                self._fleet.telemetry.swapped("rolled back")

    def _back(self, turn: int, note: str) -> bool:
        """Sets the pointer back and serves that; False where there is nothing to go back to."""
        self._done.add(turn)
        try:
            pointer = self.models.rollback(note, turn=turn)
            if pointer.turn == turn:
                return False
            self._swap(pointer)
            return True
        except ValueError as error:
            said(_log, logging.ERROR, f"Going back failed: {error}", turn=turn)
            return False

    def _swap(self, pointer: Pointer) -> None:
        old = self._fleet.lineup
        loaded = {one.version: one for one in old.members()}
        lineup = _lineup(pointer.now, loaded, lambda version: self._member(self.models.open(version)))
        if lineup.live is not old.live:
            lineup = _with_spare(lineup, old.live)
        elif old.spare is not None:
            lineup = _with_spare(lineup, old.spare)
        self._fleet.swap(lineup)
        self._done.add(pointer.turn)
        self._turn = pointer.turn


def _lineup(choice: Choice, loaded: dict[str, Member], load: Callable[[str], Member]) -> Lineup:
    """What a choice asks for, from what is loaded already and the rest anew."""
    members: dict[str, Member] = {}
    for version in choice.versions():
        members[version] = members.get(version) or loaded.get(version) or load(version)
    shadow = None if choice.shadow in (None, choice.live) else members[choice.shadow]
    canary = None if choice.canary is None else members[choice.canary]
    return Lineup(members[choice.live], canary, choice.share, choice.interleave, shadow)


def _with_spare(lineup: Lineup, spare: Member) -> Lineup:
    return Lineup(lineup.live, lineup.canary, lineup.share, lineup.interleave, lineup.shadow, spare)
