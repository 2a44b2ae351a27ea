"""Several versions behind one door: who is answered by which, and what happens when one fails.

Which versions are at work is one reference that is read once for each request and swapped whole: no request ever sees
two states.
"""

import logging
import random
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from segue.data.erasure_list import ErasureList
from segue.serving.deployment.shadow_traffic import ShadowTraffic
from segue.serving.experiments import statistics
from segue.serving.experiments.attribution import RecommendationLog
from segue.serving.inference.engine import Engine
from segue.serving.observability.logs import log_event
from segue.serving.observability.prometheus import Metrics
from segue.serving.schemas.problems import Problem
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
from segue.serving.store.event import validate_event
from segue.serving.store.event_store import AppendResult

LIVE, CANARY, INTERLEAVED, PREVIOUS = "live", "canary", "interleaved", "spare"
_log = logging.getLogger("segue.serving")


@dataclass(frozen=True)
class LoadedModel:
    """One loaded version with its own live histories: another catalog numbers the items otherwise."""

    engine: Engine
    sessions: SessionCache

    @property
    def version(self) -> str:
        """Of its model."""
        return self.engine.version


@dataclass(frozen=True)
class Deployment:
    """What is at work at one moment."""

    live: LoadedModel
    canary: LoadedModel | None = None
    canary_share: float = 0.0
    interleave_share: float = 0.0
    shadow: LoadedModel | None = None
    previous: LoadedModel | None = None
    """Was live before, and answers where the live one fails."""
    shares: Mapping[str, float] = field(init=False)
    experiment: str | None = field(init=False)
    """Names the split: its versions and shares. Other versions split people anew."""

    def __post_init__(self) -> None:
        shares = {CANARY: self.canary_share, INTERLEAVED: self.interleave_share, LIVE: 1 - self.canary_share - self.interleave_share}
        name = None
        if self.canary is not None:
            name = f"{self.live.version}/{self.canary.version}/{self.canary_share:g}/{self.interleave_share:g}"
        object.__setattr__(self, "shares", shares)
        object.__setattr__(self, "experiment", name)

    def loaded_models(self) -> list[LoadedModel]:
        """All that are loaded, each once."""
        found = (self.live, self.canary, self.shadow, self.previous)
        return list({id(one): one for one in found if one is not None}.values())

    def variant_for(self, person: str | None) -> str:
        """Who answers a person; whoever has no name is answered by the live version."""
        if self.canary is None or person is None:
            return LIVE
        salt = f"{self.live.version}/{self.canary.version}"
        return statistics.assign_variant(person, salt, self.shares)


class ErrorCounter:
    """Counts a version's failures among its latest answers."""

    LATEST, FEWEST, SHARE = 200, 5, 0.02

    def __init__(self) -> None:
        self._latest: dict[str, deque[bool]] = {}

    def record(self, version: str, failed: bool) -> bool:
        """Notes an answer; whether the version now fails so often that it should go."""
        latest = self._latest.setdefault(version, deque(maxlen=self.LATEST))
        latest.append(failed)
        failures = sum(latest) if failed else 0
        return failures >= self.FEWEST and failures > self.SHARE * len(latest)

    def reset(self) -> None:
        """Begins anew, for a new lineup."""
        self._latest = {}


class VariantRouter:
    """Answers with whichever version is the person's."""

    def __init__(
        self,
        deployment: Deployment,
        commit_listeners: CommitListeners | None = None,
        *,
        metrics: Metrics | None = None,
        recorder: RecommendationLog | None = None,
        erasures: ErasureList | None = None,
    ) -> None:
        self._commit_listeners = commit_listeners or CommitListeners()
        self.metrics = metrics or Metrics()
        self.recorder = recorder
        self.erasures = erasures
        self._errors = ErrorCounter()
        self._shadow = ShadowTraffic(self.metrics)
        self._deployment = deployment
        self._retired: list[Engine] = []
        self.on_frequent_failures: Callable[[str, str], None] = lambda version, why: None
        """Called with a version that fails too often, and how; at once, and perhaps again."""
        self.swap(deployment)

    @classmethod
    def from_engine(cls, engine: Engine, sessions: SessionCache) -> "VariantRouter":
        """A fleet of one, which never changes."""
        return cls(Deployment(LoadedModel(engine, sessions)))

    @property
    def commit_listeners(self) -> CommitListeners:
        """Who hears of commits."""
        return self._commit_listeners

    @property
    def deployment(self) -> Deployment:
        """What is at work now."""
        return self._deployment

    @property
    def writable(self) -> bool:
        """Whether the last write of events went well."""
        return self._deployment.live.engine.writable

    @property
    def busy(self) -> bool:
        """Whether whoever asks now is refused, whichever version would answer."""
        lineup = self._deployment
        return lineup.live.engine.busy and (lineup.canary is None or lineup.canary.engine.busy)

    def swap(self, deployment: Deployment) -> None:
        """Puts another lineup to work; requests under way end with the one they began with.

        Its members hear of commits before the first question reaches them, so that no event is missed between.
        """
        listeners = [hear for one in deployment.loaded_models() for hear in (one.sessions.add, one.engine.item_history_feed.on_commit)]
        self._commit_listeners.set_listeners([*listeners, *([self.recorder.record_events] if self.recorder else [])])
        self._errors.reset()
        staying = {id(one.engine) for one in deployment.loaded_models()}
        for engine in self._retired:  # nobody can still wait for one that left with the swap before
            if id(engine) not in staying:
                engine.close()
        self._retired = [one.engine for one in self._deployment.loaded_models() if id(one.engine) not in staying]
        self._deployment = deployment
        roles = {LIVE: deployment.live, CANARY: deployment.canary, "shadow": deployment.shadow, PREVIOUS: deployment.previous}
        self.metrics.set_deployed({role: one.version for role, one in roles.items() if one is not None})

    @property
    def durability(self) -> Durability:
        """What an acknowledgement is worth where a request does not say."""
        return self._deployment.live.engine.durability

    def store(
        self, events: Sequence[EventIn], durability: Durability | None = None
    ) -> tuple["Future[AppendResult]", list[str]]:
        """Hands events to the writer; see ``Engine.store``. What a person who was erased did before that is left out:
        a client that sends again what it once could not send must not bring it back."""
        engine = self._deployment.live.engine
        if not self.erasures:
            return engine.store(events, durability)
        now_us = time.time_ns() // 1000
        events = [validate_event(one, now_us) for one in events]
        covers = self.erasures.covers
        kept = [
            one
            for one, event in zip(events, events, strict=True)
            if not covers(event.user_id, event.session_id, event.time_us)
        ]
        future, ids = engine.store(kept, durability)
        if len(kept) == len(events):
            return future, ids
        names = iter(ids)
        left = {id(one) for one in kept}
        return future, [next(names) if id(one) in left else e.event_id for one, e in zip(events, events, strict=True)]

    async def recommend(self, request: RecommendRequest) -> RecommendResponse:
        """What comes next, from the version that is the person's; where that one fails, from a sound one."""
        lineup = self._deployment
        key = history_key(request)
        person = None if key is None else f"{key[0]}:{key[1]}"
        variant = lineup.variant_for(person)
        answer = await self._interleaved(lineup, request) if variant == INTERLEAVED else None
        answer = answer or await self._answered(lineup, request, variant if variant == CANARY else LIVE)
        if lineup.canary is not None:
            answer.propensity = round(lineup.shares[variant], 6) if person is not None else 1.0
        self.metrics.count_recommendation(answer.variant)
        if lineup.shadow is not None:
            self._shadow.submit(lineup.shadow.engine, request, answer)
        if self.recorder is not None:
            experiment = lineup.experiment if person is not None else None
            self.recorder.record_impression(answer, request.placement, key, experiment)
        return answer

    async def _answered(self, lineup: Deployment, request: RecommendRequest, variant: str) -> RecommendResponse:
        first = lineup.canary if variant == CANARY and lineup.canary else lineup.live
        spare = lineup.previous if first is lineup.live else lineup.live
        try:
            answer = await first.engine.respond(request)
        except Problem:
            raise
        except Exception as error:
            self._failed(first.version, error)
            if spare is None:
                raise
            answer = await spare.engine.respond(request)
            answer.variant = PREVIOUS
            return answer
        self._errors.record(first.version, False)
        answer.variant = variant
        return answer

    async def _interleaved(self, lineup: Deployment, request: RecommendRequest) -> RecommendResponse | None:
        """One list drawn from two versions' lists by team draft; None where one of them fails."""
        assert lineup.canary is not None
        members = (lineup.live, lineup.canary)
        answers = []
        for one in members:
            try:
                answers.append(await one.engine.respond(request))
            except Problem:
                raise
            except Exception as error:
                self._failed(one.version, error)
                return None
        answer = answers[0]
        found = {item.id: item for one in reversed(answers) for item in one.items}
        ids = [[item.id for item in one.items] for one in answers]
        coin = random.Random(answer.recommendation_id)  # so that a list can be drawn again from its id
        answer.items = []
        for item, team in statistics.team_draft(ids[0], ids[1], request.k, coin):
            found[item].source = members[team].version
            answer.items.append(found[item])
        answer.model_version = "+".join(one.version for one in members)
        answer.unknown_items = [item for item in answer.unknown_items if item in answers[1].unknown_items]
        answer.took_ms = round(sum(one.took_ms for one in answers), 3)
        answer.variant = INTERLEAVED
        return answer

    def _failed(self, version: str, error: Exception) -> None:
        self.metrics.count_failure(version)
        log_event(_log, logging.ERROR, f"A version failed with {type(error).__name__}.", version=version)
        if self._errors.record(version, True):
            self.on_frequent_failures(version, type(error).__name__)

    def next(self, request: NextRequest) -> RecommendResponse:
        """The next items one after the other, from the live version."""
        return self._deployment.live.engine.next(request)

    async def similar(self, request: SimilarRequest) -> RecommendResponse:
        """What goes with one item, from the live version."""
        return await self._deployment.live.engine.respond(request)

    def forget(self, keys: Sequence[HistoryKey]) -> None:
        """Drops people and sessions from every version's memory, in every process."""
        for member in self._deployment.loaded_models():
            for key in keys:
                member.engine.forget(key)
        self._commit_listeners.on_erase(keys)

    def close(self) -> None:
        """Ends every thread; what waits for an answer gets it."""
        self._shadow.close()
        for engine in [*self._retired, *(one.engine for one in self._deployment.loaded_models())]:
            engine.close()
