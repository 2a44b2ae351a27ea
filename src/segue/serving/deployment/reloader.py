"""Reloader of the deployment after the pointer file: loads, tests and swaps versions, and rolls back failures."""

import logging
import threading
from collections.abc import Callable
from typing import NamedTuple

from segue.serving.deployment.deployment import Deployment, LoadedModel
from segue.serving.deployment.model_source import ModelSource
from segue.serving.deployment.pointer import DeploymentSpec, Pointer
from segue.serving.deployment.variant_router import VariantRouter
from segue.serving.inference.served_model import ServedModel
from segue.serving.observability.logs import log_event
from segue.system import heap

_log = logging.getLogger("segue.serving")


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
    models.clean()
    pointer = models.pointer()
    while True:
        try:
            deployment = _deployment(pointer.current, {}, lambda version: load(models.open(version)))
            return InitialDeployment(deployment, pointer.generation)
        except Exception as error:
            failure = _as_value_error(error)
        previous = [spec for spec in pointer.previous if spec != pointer.current]
        if not previous:
            raise failure from None
        try:
            pointer = models.rollback(f"Rolled back at the start: {failure}", generation=pointer.generation)
        except OSError:  # a folder that this server cannot write to
            pointer = Pointer(pointer.format, pointer.generation, previous[-1], previous[:-1])
        notify(f"{failure} The previous deployment is served instead.")


def _as_value_error(error: Exception) -> ValueError:
    """Return an error of a version as a ValueError with one sentence."""
    if isinstance(error, ValueError):
        return error
    return ValueError(f"A version cannot be loaded ({type(error).__name__} {' '.join(str(error).split())[:300]}).")


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
        self._refused: dict[int, object] = {}
        """Generations that failed, with the states of their files."""
        self._last_problem = ""
        self.fallback = ""
        """Reasons that the deployment at the start was an earlier one; empty after the next change."""
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
            states, pointer = self.models.file_states(), self.models.pointer()
            if pointer.generation == self._generation:
                return "Nothing has changed."
            if pointer.generation in self._refused and self._refused[pointer.generation] == states:
                return "The pointer names a deployment that failed; the loaded one stays."
            try:
                self._swap(pointer)
                self._router.metrics.count_deployment_change("swapped")
                live = pointer.current.live
                log_event(_log, logging.INFO, "Deployed.", version=live, generation=pointer.generation)
                heap.trim_heap()
                return f"Version {live} is live."
            except OSError:
                raise  # of the disk, not of the version: it is tried again
            except Exception as error:
                failure = _as_value_error(error)
                message = f"{failure} The deployment stays as it was."
                if not self._closing:
                    self._router.metrics.count_deployment_change("refused")
                    log_event(_log, logging.ERROR, message, generation=pointer.generation)
                    self._restore(pointer.generation, str(failure), states)
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
        """End the thread, and the examination of a version that it may wait for."""
        self._closing = True
        self.models.close()
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
                self._last_problem = ""
            except ValueError as error:  # no model there
                self._log_once(f"{error} The deployment stays as it was.")
            except Exception as error:  # a full disk, a broken file system: the server goes on with its deployment
                self._log_once("The check for models failed.", failure=type(error).__name__)

    def _log_once(self, message: str, **fields: str) -> None:
        """Log a problem of the checks, unless the check before had the same."""
        if message != self._last_problem and not self._closing:
            log_event(_log, logging.ERROR, message, **fields)
        self._last_problem = message

    def _roll_back(self, generation: int, version: str, reason: str) -> None:
        self._failure = None
        if generation != self._generation:
            return
        message = f"Version {version} {reason}; it is rolled back."
        log_event(_log, logging.ERROR, message, version=version, generation=generation)
        with self._reloading:
            note = f"Rolled back: version {version} {reason}."
            if self._restore(generation, note, self.models.file_states()):
                self._router.metrics.count_deployment_change("rolled back")

    def _restore(self, generation: int, note: str, states: object) -> bool:
        """Roll the pointer back and deploy it; return False if there is no previous deployment.

        Args:
            generation: the failed generation.
            note: reason, kept in the pointer.
            states: states of its files, in which it is not tried again.
        """
        self._refused[generation] = states
        try:
            pointer = self.models.rollback(note, generation=generation)
            if pointer.generation == generation:
                return False
            self._swap(pointer)
            return True
        except Exception as error:
            log_event(_log, logging.ERROR, f"The rollback failed: {_as_value_error(error)}", generation=generation)
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
        self._generation = pointer.generation
        self.fallback = ""


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
