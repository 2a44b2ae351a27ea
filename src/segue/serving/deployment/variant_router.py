"""Router of requests to deployed versions: live, canary, interleaved, and the previous version after an error.

The deployment is one reference that is read once per request and swapped as a whole: no request uses two deployments.
"""

import logging
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from segue.serving.deployment.deployment import (
    CANARY,
    INTERLEAVED,
    LIVE,
    PREVIOUS,
    Deployment,
    LoadedModel,
)
from segue.serving.deployment.failure_examination import FailureExaminer
from segue.serving.deployment.interleaving import interleave
from segue.serving.deployment.shadow_traffic import ShadowTraffic
from segue.serving.experiments.recommendation_log import RecommendationLog
from segue.serving.experiments.shown_lists import encode_conditions
from segue.serving.inference.engine import Engine
from segue.serving.observability.logs import log_event
from segue.serving.observability.prometheus import Metrics
from segue.serving.schemas.problems import Problem, unavailable
from segue.serving.schemas.requests import (
    Durability,
    EventIn,
    HistoryKey,
    NextRequest,
    RecommendRequest,
    RecommendResponse,
    SimilarRequest,
)
from segue.serving.sessions.request_key import history_key
from segue.serving.sessions.session_cache import SessionCache
from segue.serving.store.commit_listeners import CommitListeners
from segue.serving.store.event_store import AppendResult

_log = logging.getLogger("segue.serving")


class VariantRouter:
    """Recommendations from the version that is assigned to the user."""

    def __init__(
        self,
        deployment: Deployment,
        commit_listeners: CommitListeners | None = None,
        *,
        metrics: Metrics | None = None,
        recorder: RecommendationLog | None = None,
    ) -> None:
        """Make a router.

        Args:
            deployment: first deployment.
            commit_listeners: listeners of the event store, set to those of the deployment.
            metrics: metrics of the server; None: new ones.
            recorder: receives recommended lists and events for attribution; None: they are not recorded.
        """
        self._commit_listeners = commit_listeners or CommitListeners()
        self._commit_listeners.forget = self.forget
        self.metrics = metrics or Metrics()
        self.recorder = recorder
        self._examiner = FailureExaminer(self._report)
        self._shadow = ShadowTraffic(self.metrics)
        self._deployment = deployment
        self._retired: list[Engine] = []
        self.on_reproduced_failure: Callable[[str, str], None] = lambda version, reason: None
        """Called with a version that reproduces a failure, and the second half of a sentence about it."""
        self.metrics.add_gauge("unreadable_histories", "Histories that could not be read.", self._num_unreadable)
        self.swap(deployment)

    @classmethod
    def from_engine(cls, engine: Engine, sessions: SessionCache) -> "VariantRouter":
        """Return a router with one version and no reloader.

        Args:
            engine: engine of the version.
            sessions: its session cache.
        """
        return cls(Deployment(LoadedModel(engine, sessions)))

    @property
    def commit_listeners(self) -> CommitListeners:
        """Listeners of the event store."""
        return self._commit_listeners

    @property
    def deployment(self) -> Deployment:
        """Current deployment."""
        return self._deployment

    @property
    def writable(self) -> bool:
        """Return whether the last write of events succeeded."""
        return self._deployment.live.engine.writable

    @property
    def busy(self) -> bool:
        """Return whether a new request is refused, whichever version is assigned."""
        deployment = self._deployment
        return deployment.live.engine.busy and (deployment.canary is None or deployment.canary.engine.busy)

    def swap(self, deployment: Deployment) -> None:
        """Replace the deployment; requests under way finish with the one they began with.

        The new models listen to commits before the first request uses them, so that they miss no event.
        """
        models = deployment.loaded_models()
        listeners = [
            listener
            for model in models
            for listener in (model.sessions.add, model.engine.scorer.item_history_feed.on_commit)
        ]
        listeners += [model.live.on_commit for model in models if model.live is not None]  # behind the histories
        self._commit_listeners.set_listeners([*listeners, *([self.recorder.record_events] if self.recorder else [])])
        kept = {id(model.engine) for model in models}
        for engine in self._retired:  # no request can still wait for an engine that was retired one swap before
            if id(engine) not in kept:
                engine.close()
        self._retired = [m.engine for m in self._deployment.loaded_models() if id(m.engine) not in kept]
        self._deployment = deployment
        self._examiner.reset()
        self.metrics.set_deployed(deployment.versions_by_role())

    @property
    def durability(self) -> Durability:
        """Durability of events whose request has none."""
        return self._deployment.live.engine.durability

    def store(
        self, events: Sequence[EventIn], durability: Durability | None = None
    ) -> tuple["Future[AppendResult]", list[str]]:
        """Store events. See ``Engine.store``."""
        return self._deployment.live.engine.store(events, durability)

    async def recommend(self, request: RecommendRequest) -> RecommendResponse:
        """Return the list of the user's variant; after an error of its version, the list of another version.

        Raises:
            Problem: see ``Engine.respond``.
        """
        deployment, began_us = self._deployment, time.time_ns() // 1000
        key = history_key(request)
        user_key = None if key is None else f"{key[0]}:{key[1]}"
        variant = deployment.variant_for(user_key)
        response = await self._interleave(deployment, request) if variant == INTERLEAVED else None
        response = response or await self._respond(deployment, request, variant if variant == CANARY else LIVE)
        if deployment.canary is not None:
            response.propensity = round(deployment.shares[variant], 6) if user_key is not None else 1.0
        self.metrics.count_recommendation(response.variant, response.fallback)
        if deployment.shadow is not None and response.fallback is None:
            self._shadow.submit(deployment.shadow.engine, request, response)
        if self.recorder is not None:
            experiment = deployment.experiment if user_key is not None else None
            conditions = encode_conditions(request, response)
            self.recorder.record_impression(response, request.placement, key, experiment, began_us, conditions)
        return response

    async def _respond(
        self, deployment: Deployment, request: RecommendRequest | SimilarRequest, variant: str
    ) -> RecommendResponse:
        assigned = deployment.canary if variant == CANARY and deployment.canary else deployment.live
        other = deployment.previous if assigned is deployment.live else deployment.live
        try:
            response = await assigned.engine.respond(request)
        except Problem:
            raise
        except Exception as error:
            self._record_failure(assigned, error)
            response = await self._substitute(assigned, other, request, variant)
        else:
            response.variant = variant
        return response

    async def _substitute(
        self, assigned: LoadedModel, other: LoadedModel | None, request: RecommendRequest | SimilarRequest, variant: str
    ) -> RecommendResponse:
        """Return a list in place of that of a failed version: another version's, else one without scoring.

        The rules of the failed version hold for either.
        """
        if other is not None:
            try:
                response = await other.engine.respond(request)
                items = assigned.engine.scorer.allowed_recommendations(request, response.items)
                if items or not response.items:
                    response.items, response.variant = items, PREVIOUS
                    return response
            except Exception as error:  # also a refusal: the other version may lack the placement
                self._count_failure(other, error)
        try:
            response = await assigned.engine.respond_without_scoring(request)
        except Exception as error:
            raise _unavailable(error) from error
        response.variant = variant
        return response

    async def _interleave(self, deployment: Deployment, request: RecommendRequest) -> RecommendResponse | None:
        """Return one list drawn from two versions' lists by team draft; None if one of them fails."""
        assert deployment.canary is not None
        models = (deployment.live, deployment.canary)
        responses = []
        for model in models:
            try:
                responses.append(await model.engine.respond(request))
            except Problem:
                raise
            except Exception as error:
                self._record_failure(model, error)
                return None
        response = interleave(models, responses, request.k)
        # Items of two lists may break the quotas that each of them keeps.
        response.items = deployment.live.engine.scorer.allowed_recommendations(request, response.items)
        return response

    def _record_failure(self, model: LoadedModel, error: Exception) -> None:
        """Count a failure, and examine the version. The log names the place, but not the message: it may hold an id."""
        self.metrics.count_failure(model.version)
        if self._examiner.submit(model):
            where = "".join(traceback.format_tb(error.__traceback__))
            failure = type(error).__name__
            log_event(_log, logging.ERROR, f"A version failed:\n{where}", version=model.version, failure=failure)

    def _count_failure(self, model: LoadedModel, error: Exception) -> None:
        if not isinstance(error, Problem):
            self.metrics.count_failure(model.version)

    def _report(self, model: LoadedModel, reason: str) -> None:
        """Report a version that reproduces a failure, if it is still deployed."""
        if model in (self._deployment.live, self._deployment.canary):
            self.on_reproduced_failure(model.version, reason)

    def _num_unreadable(self) -> int:
        return sum(model.sessions.num_unreadable for model in self._deployment.loaded_models())

    def next(self, request: NextRequest) -> RecommendResponse:
        """Return a generated sequence of next items from the live version; after an error, from the previous version.

        Blocks while the sequence is generated.
        """
        live, previous = self._deployment.live, self._deployment.previous
        try:
            return live.engine.next(request)
        except Problem:
            raise
        except Exception as error:
            self._record_failure(live, error)
        if previous is not None:
            try:
                response = previous.engine.next(request)
                response.items = live.engine.scorer.allowed_recommendations(request, response.items)
                response.variant = PREVIOUS
                return response
            except Exception as error:
                self._count_failure(previous, error)
        try:
            return live.engine.scorer.next_without_scoring(request)
        except Exception as error:
            raise _unavailable(error) from error

    async def similar(self, request: SimilarRequest) -> RecommendResponse:
        """Return similar items from the live version; after an error, from the previous version."""
        return await self._respond(self._deployment, request, LIVE)

    def forget(self, keys: Sequence[HistoryKey]) -> None:
        """Drop users and sessions from the memory of every version in this process."""
        for engine in [*self._retired, *(model.engine for model in self._deployment.loaded_models())]:
            for key in keys:
                engine.forget(key)
        for live in [model.live for model in self._deployment.loaded_models() if model.live is not None]:
            for key in keys:
                live.forget(key)

    def close(self) -> None:
        """End all threads after the waiting requests are scored."""
        self._shadow.close()
        self._examiner.close()
        for engine in [*self._retired, *(model.engine for model in self._deployment.loaded_models())]:
            engine.close()


def _unavailable(error: Exception) -> Problem:
    """Return the refusal of a request where even a list without scoring fails, as for rules that cannot be applied."""
    return error if isinstance(error, Problem) else unavailable("No list can be made: try again in a moment.")
