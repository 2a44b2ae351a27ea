"""Keeps what is served equal to what the pointer says: loads, examines, swaps, and takes back what fails."""

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from segue.models import artifact
from segue.serving.deployment import golden_requests
from segue.serving.deployment.model_registry import DeploymentSpec, ModelRegistry, Pointer
from segue.serving.deployment.variant_router import Deployment, LoadedModel, VariantRouter
from segue.serving.inference.served_model import ServedModel
from segue.serving.observability.logs import log_event

_log = logging.getLogger("segue.serving")


class ModelSource(Protocol):
    """Where models come from."""

    def pointer(self) -> Pointer:
        """What should be at work."""

    def open(self, version: str) -> ServedModel:
        """A version, examined; ValueError where it is not sound."""

    def rollback(self, note: str = "", *, generation: int | None = None) -> Pointer:
        """Takes the last change back, where that is still ``turn``."""


class ModelFolder:
    """One model in a folder of its own: whatever is saved there next is at work from then on."""

    def __init__(self, folder: Path) -> None:
        self._folder = Path(folder)

    def pointer(self) -> Pointer:
        """The folder's version. ValueError while there is none."""
        version = artifact.version(self._folder)
        return Pointer(1, int(version, 16), DeploymentSpec(version))

    def open(self, version: str) -> ServedModel:
        """What is there, examined as far as can be without golden answers."""
        model = ServedModel.open(self._folder)
        golden_requests.record_golden(model)
        return model

    def rollback(self, note: str = "", *, generation: int | None = None) -> Pointer:
        """There is nothing to go back to: what is loaded stays."""
        return self.pointer()


def model_source(folder: Path) -> ModelSource:
    """A registry, or a plain model folder."""
    return ModelRegistry.at(folder) or ModelFolder(folder)


def initial_deployment(
    models: ModelSource, load: Callable[[ServedModel], LoadedModel], notify: Callable[[str], None]
) -> tuple[Deployment, int]:
    """What a server begins with, and its turn: what the pointer says or, where that fails, what was there before.

    ValueError where nothing is left.
    """
    while True:
        pointer = models.pointer()
        try:
            return _lineup(pointer.current, {}, lambda version: load(models.open(version))), pointer.generation
        except ValueError as error:
            try:
                if (
                    models.rollback(f"Rolled back at the start: {error}", generation=pointer.generation).generation
                    == pointer.generation
                ):
                    raise error
            except ValueError:
                raise error from None
            notify(f"{error} What was at work before is served in its place.")


class Reloader:
    """Looks at the pointer now and then, in a thread of its own, and at once when it is told to."""

    def __init__(
        self,
        models: ModelSource,
        router: VariantRouter,
        load: Callable[[ServedModel], LoadedModel],
        generation: int,
        *,
        interval_s: float = 1.0,
    ) -> None:
        self.models = models
        self._fleet = router
        self._member = load
        self._done = {generation}
        """Turns that need no work: the one that is served, and those that failed."""
        self._turn = generation
        self._every_s = interval_s
        self._trouble: tuple[int, str, str] | None = None
        self._looking = threading.Lock()
        self._wake = threading.Event()
        self._ending = False
        router.on_frequent_failures = self.report_failure
        self._thread = threading.Thread(target=self._run, name="segue-watch", daemon=True)
        self._thread.start()

    def reload(self) -> str:
        """Does what the pointer says; what came of it, in a sentence. Loading takes as long as it takes."""
        with self._looking:
            pointer = self.models.pointer()
            if pointer.generation in self._done and pointer.generation != self._turn:
                return "The pointer names a state that failed; what is loaded stays."
            if pointer.generation == self._turn:
                return "Nothing has changed."
            try:
                self._swap(pointer)
                self._fleet.metrics.count_deployment_change("swapped")
                log_event(_log, logging.INFO, "Swapped.", version=pointer.current.live, turn=pointer.generation)
                return f"Version {pointer.current.live} is live."
            except ValueError as error:
                self._fleet.metrics.count_deployment_change("refused")
                log_event(_log, logging.ERROR, f"{error} What was at work goes on.", turn=pointer.generation)
                self._back(pointer.generation, str(error))
                return f"{error} What was at work goes on."

    def schedule(self) -> None:
        """Looks at once, in its own thread."""
        self._wake.set()

    def report_failure(self, version: str, why: str) -> None:
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
                self.reload()
            except ValueError:
                pass  # between two renames there is no folder; the next look finds it
            except Exception as error:  # a full disk, a broken file system: the server goes on with what it has
                log_event(_log, logging.ERROR, "Looking for models failed.", failure=type(error).__name__)

    def _roll_back(self, turn: int, version: str, why: str) -> None:
        self._trouble = None
        if turn != self._turn:
            return
        log_event(_log, logging.ERROR, "A version fails too often and is taken back.", version=version, turn=turn)
        with self._looking:
            if self._back(turn, f"Rolled back: version {version} failed too often ({why})."):
                self._fleet.metrics.count_deployment_change("rolled back")

    def _back(self, turn: int, note: str) -> bool:
        """Sets the pointer back and serves that; False where there is nothing to go back to."""
        self._done.add(turn)
        try:
            pointer = self.models.rollback(note, generation=turn)
            if pointer.generation == turn:
                return False
            self._swap(pointer)
            return True
        except ValueError as error:
            log_event(_log, logging.ERROR, f"Going back failed: {error}", turn=turn)
            return False

    def _swap(self, pointer: Pointer) -> None:
        old = self._fleet.deployment
        loaded = {one.version: one for one in old.loaded_models()}
        lineup = _lineup(pointer.current, loaded, lambda version: self._member(self.models.open(version)))
        if lineup.live is not old.live:
            lineup = _with_spare(lineup, old.live)
        elif old.previous is not None:
            lineup = _with_spare(lineup, old.previous)
        self._fleet.swap(lineup)
        self._done.add(pointer.generation)
        self._turn = pointer.generation


def _lineup(choice: DeploymentSpec, loaded: dict[str, LoadedModel], load: Callable[[str], LoadedModel]) -> Deployment:
    """What a choice asks for, from what is loaded already and the rest anew."""
    members: dict[str, LoadedModel] = {}
    for version in choice.versions():
        members[version] = members.get(version) or loaded.get(version) or load(version)
    shadow = None if choice.shadow in (None, choice.live) else members[choice.shadow]
    canary = None if choice.canary is None else members[choice.canary]
    return Deployment(members[choice.live], canary, choice.canary_share, choice.interleave_share, shadow)


def _with_spare(lineup: Deployment, spare: LoadedModel) -> Deployment:
    return Deployment(lineup.live, lineup.canary, lineup.canary_share, lineup.interleave_share, lineup.shadow, spare)
