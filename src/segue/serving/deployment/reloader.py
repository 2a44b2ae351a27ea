"""Reloader of the deployment after the pointer file: loads, tests and swaps versions, and rolls back failures."""

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

from segue.models import artifact
from segue.serving.deployment import golden_requests
from segue.serving.deployment.deployment import Deployment, LoadedModel
from segue.serving.deployment.model_registry import POINTER_FORMAT, DeploymentSpec, ModelRegistry, Pointer
from segue.serving.deployment.variant_router import VariantRouter
from segue.serving.inference.served_model import ServedModel
from segue.serving.observability.logs import log_event

_log = logging.getLogger("segue.serving")


class ModelSource(Protocol):
    """Source of model versions: a registry or a plain model folder."""

    def pointer(self) -> Pointer:
        """Return the pointer to the deployed versions."""

    def open(self, version: str) -> ServedModel:
        """Load and test a version. ValueError if it is not sound."""

    def rollback(self, note: str = "", *, generation: int | None = None) -> Pointer:
        """Restore the previous deployment.

        Args:
            note: reason of the change.
            generation: roll back only if this is still the current generation; None: always.
        """


class ModelFolder:
    """Source of one model in a folder of its own. A version that is saved there later is deployed."""

    def __init__(self, folder: Path) -> None:
        self._folder = Path(folder)

    def pointer(self) -> Pointer:
        """Return a pointer to the folder's version.

        Raises:
            ValueError: the folder holds no model at this time.
        """
        version = artifact.version(self._folder)
        return Pointer(POINTER_FORMAT, int(version, 16), DeploymentSpec(version))

    def open(self, version: str) -> ServedModel:
        """Load the folder's model and check that it can score golden requests.

        Raises:
            ValueError: the model is not sound.
        """
        model = ServedModel.open(self._folder)
        golden_requests.record_golden(model)
        return model

    def rollback(self, note: str = "", *, generation: int | None = None) -> Pointer:
        """Return the pointer unchanged: a plain folder has no previous version. See ``ModelSource.rollback``."""
        return self.pointer()


def model_source(folder: Path) -> ModelSource:
    """Return the registry in a folder, or the folder as a plain model folder."""
    return ModelRegistry.at(folder) or ModelFolder(folder)


class InitialDeployment(NamedTuple):
    """Deployment of a server at its start, and the generation of its pointer."""

    deployment: Deployment
    generation: int


def initial_deployment(
    models: ModelSource, load: Callable[[ServedModel], LoadedModel], notify: Callable[[str], None]
) -> InitialDeployment:
    """Load the deployment of the pointer; if that fails, roll back to the one before it.

    Args:
        models: source of the versions.
        load: function that adds an engine and a session cache to a model.
        notify: receives a message for each deployment that fails.

    Raises:
        ValueError: no deployment is left.
    """
    while True:
        pointer = models.pointer()
        try:
            deployment = _deployment(pointer.current, {}, lambda version: load(models.open(version)))
            return InitialDeployment(deployment, pointer.generation)
        except ValueError as error:
            try:
                restored = models.rollback(f"Rolled back at the start: {error}", generation=pointer.generation)
                if restored.generation == pointer.generation:
                    raise error
            except ValueError:
                raise error from None
            notify(f"{error} The previous deployment is served instead.")


class Reloader:
    """Thread that checks the pointer at an interval, and at once on request."""

    def __init__(
        self,
        models: ModelSource,
        router: VariantRouter,
        load: Callable[[ServedModel], LoadedModel],
        generation: int,
        *,
        interval_s: float = 1.0,
    ) -> None:
        """Start the thread.

        Args:
            models: source of the versions.
            router: router whose deployment is swapped.
            load: function that adds an engine and a session cache to a model.
            generation: generation of the router's deployment.
            interval_s: seconds between two checks.
        """
        self.models = models
        self._router = router
        self._load = load
        self._finished = {generation}
        """Generations that need no work: the deployed one, and those that failed."""
        self._generation = generation
        self._interval_s = interval_s
        self._failure: tuple[int, str, str] | None = None
        """Generation, version and reason of a deployed version that reproduces a failure."""
        self._reloading = threading.Lock()
        self._wake = threading.Event()
        self._closing = False
        router.on_reproduced_failure = self.report_failure
        self._thread = threading.Thread(target=self._run, name="segue-reloader", daemon=True)
        self._thread.start()

    def reload(self) -> str:
        """Deploy the versions of the pointer, and return a message about the result. Blocks while models load."""
        with self._reloading:
            pointer = self.models.pointer()
            if pointer.generation in self._finished and pointer.generation != self._generation:
                return "The pointer names a deployment that failed; the loaded one stays."
            if pointer.generation == self._generation:
                return "Nothing has changed."
            try:
                self._swap(pointer)
                self._router.metrics.count_deployment_change("swapped")
                live = pointer.current.live
                log_event(_log, logging.INFO, "Deployed.", version=live, generation=pointer.generation)
                return f"Version {live} is live."
            except ValueError as error:
                message = f"{error} The deployment stays as it was."
                self._router.metrics.count_deployment_change("refused")
                log_event(_log, logging.ERROR, message, generation=pointer.generation)
                self._restore(pointer.generation, str(error))
                return message

    def schedule(self) -> None:
        """Request a check at once, in the reloader's thread."""
        self._wake.set()

    def report_failure(self, version: str, reason: str) -> None:
        """Request a rollback because a deployed version reproduces a failure.

        Args:
            version: the version.
            reason: second half of a sentence about it, such as "fails its golden request after ['a'] (KeyError)".
        """
        if self._failure is None:
            self._failure = (self._generation, version, reason)
            self._wake.set()

    def close(self) -> None:
        """End the thread, after a version that it may be loading."""
        self._closing = True
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closing:
            self._wake.wait(self._interval_s)
            self._wake.clear()
            try:
                if self._failure is not None:
                    self._roll_back(*self._failure)
                self.reload()
            except ValueError:
                pass  # between two renames there is no folder; the next check finds it
            except Exception as error:  # a full disk, a broken file system: the server goes on with its deployment
                log_event(_log, logging.ERROR, "The check for models failed.", failure=type(error).__name__)

    def _roll_back(self, generation: int, version: str, reason: str) -> None:
        self._failure = None
        if generation != self._generation:
            return
        message = f"Version {version} {reason}; it is rolled back."
        log_event(_log, logging.ERROR, message, version=version, generation=generation)
        with self._reloading:
            if self._restore(generation, f"Rolled back: version {version} {reason}."):
                self._router.metrics.count_deployment_change("rolled back")

    def _restore(self, generation: int, note: str) -> bool:
        """Roll the pointer back and deploy it; return False if there is no previous deployment."""
        self._finished.add(generation)
        try:
            pointer = self.models.rollback(note, generation=generation)
            if pointer.generation == generation:
                return False
            self._swap(pointer)
            return True
        except ValueError as error:
            log_event(_log, logging.ERROR, f"The rollback failed: {error}", generation=generation)
            return False

    def _swap(self, pointer: Pointer) -> None:
        old = self._router.deployment
        loaded = {model.version: model for model in old.loaded_models()}
        deployment = _deployment(pointer.current, loaded, lambda version: self._load(self.models.open(version)))
        if deployment.live is not old.live:
            deployment = _with_previous(deployment, old.live)
        elif old.previous is not None:
            deployment = _with_previous(deployment, old.previous)
        self._router.swap(deployment)
        self._finished.add(pointer.generation)
        self._generation = pointer.generation


def _deployment(spec: DeploymentSpec, loaded: dict[str, LoadedModel], load: Callable[[str], LoadedModel]) -> Deployment:
    """Return the deployment of a pointer; versions that are not in ``loaded`` are loaded."""
    models: dict[str, LoadedModel] = {}
    for version in spec.versions():
        models[version] = models.get(version) or loaded.get(version) or load(version)
    shadow = None if spec.shadow in (None, spec.live) else models[spec.shadow]
    canary = None if spec.canary is None else models[spec.canary]
    return Deployment(models[spec.live], canary, spec.canary_share, spec.interleave_share, shadow)


def _with_previous(deployment: Deployment, previous: LoadedModel) -> Deployment:
    d = deployment
    return Deployment(d.live, d.canary, d.canary_share, d.interleave_share, d.shadow, previous)
