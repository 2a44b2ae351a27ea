"""Connection of a worker to the primary process, which may be slow, stopped or gone."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from segue.serving.deployment.variant_router import VariantRouter
from segue.serving.experiments.attribution_queue import QueuedList
from segue.serving.http.exchange import Request, Response
from segue.serving.http.handlers import readiness
from segue.serving.schemas.problems import Problem, unavailable
from segue.serving.schemas.requests import Durability, EventIn, HistoryKey, RecommendResponse
from segue.serving.store.commit_listeners import CommitListeners
from segue.serving.store.event_reader import StoredEventRow
from segue.serving.store.event_store import AppendResult
from segue.serving.workers import messages
from segue.serving.workers.channel import MessageChannel, PendingReplies

_RESTARTING = "The server is restarting: try again in a moment."
_SILENT = "The primary process does not respond: send the request again in a moment, events with the same event_id."
_EXPIRY_S = messages.SILENCE_S + messages.HEARTBEAT_S
"""Age at which a request is refused here. The primary process then refuses it too, where it still reads it."""

MAX_LIST_BACKLOG_BYTES = 1_000_000
"""Bytes on their way to the primary process above which lists are dropped, because events wait behind them."""


class PrimaryConnection:
    """Connection of a worker to the primary process. Also its recommendation log (``RecommendationLog``).

    While the primary process is silent, no request waits for it: events and administration are refused with 503, and
    lists go on.
    """

    def __init__(self, channel: MessageChannel) -> None:
        """Use a channel; ``receive_messages`` must run in one thread."""
        self._channel = channel
        self._pending = PendingReplies()
        self._heard_s = time.monotonic()
        self._lag_s = 0.0
        """Delay of the event loop of the primary process, by its last heartbeat."""
        self._num_silent_ticks = 0
        self.num_dropped = 0
        """Recommended lists that were not recorded."""
        self.is_listening = False
        """Whether this process accepts connections."""
        self.lag_ms: Callable[[], float] = lambda: 0.0
        """Delay of the event loop of this process, in milliseconds."""

    @property
    def is_silent(self) -> bool:
        """Return whether the primary process has sent nothing for ``SILENCE_S``.

        Two ticks of ``tick`` have to agree: after a stop of this process itself, its messages are read meanwhile.
        """
        return self._num_silent_ticks >= 2

    @property
    def is_late(self) -> bool:
        """Return whether the primary process is silent, or its event loop is stuck."""
        return self.is_silent or self._lag_s > messages.SILENCE_S

    def tick(self) -> None:
        """Check the heartbeat, and refuse the requests that a silent primary process leaves without a reply.

        To be called every ``HEARTBEAT_S``.
        """
        is_overdue = time.monotonic() - self._heard_s > messages.SILENCE_S - messages.HEARTBEAT_S
        self._num_silent_ticks = self._num_silent_ticks + 1 if is_overdue else 0
        if self.is_silent:
            self._pending.fail(unavailable(_SILENT), older_than_s=_EXPIRY_S)

    def submit(self, events: Sequence[EventIn], durability: Durability | None) -> "Future[AppendResult]":
        """Send events to be stored.

        Args:
            events: events with ids.
            durability: guarantee before the future is resolved.

        Returns:
            A future as that of ``GroupCommitWriter.submit``; it also raises the Problem of an invalid event.

        Raises:
            Problem: 503 if the primary process is silent or has ended.
        """
        if self.is_silent:
            raise unavailable(_SILENT)
        number, future = self._pending.open(Future[AppendResult]())
        self._send(messages.AppendEvents(number, list(events), durability, time.monotonic()))
        return future

    async def forward(self, request: Request) -> Response:
        """Return the primary process's response to a whole request; 503 if it is silent, stuck or has ended."""
        if self.is_late:
            return self._refusal(request)
        number, future = self._pending.open(Future[messages.ForwardedResponse]())
        headers = dict(request.headers)
        try:
            sent_s = time.monotonic()
            self._send(messages.ForwardedRequest(number, request.method, request.target, headers, request.body, sent_s))
            reply = await asyncio.wrap_future(future)
        except (Problem, asyncio.CancelledError):
            return self._refusal(request)
        finally:
            del future  # its exception refers to this frame, and would stay until cycles are collected
        return Response(reply.body, reply.status, reply.media_type, reply.headers)

    def _refusal(self, request: Request) -> Response:
        """Return the response to a request that the primary process does not answer: 503."""
        if request.path == "/health/ready":
            return Response.of(readiness(writable=False, draining=False), 503)
        return Response.problem(unavailable(_SILENT if self.is_late else _RESTARTING))

    def record_impression(
        self,
        response: RecommendResponse,
        placement: str | None,
        key: HistoryKey | None,
        experiment: str | None,
        time_us: int | None = None,
        conditions: str | None = None,
    ) -> None:
        """Send a recommended list to be recorded; drop and count it where the primary process does not keep pace.

        See ``RecommendationLog.record_impression``.
        """
        is_possible = not self.is_silent and self._channel.num_backlog_bytes <= MAX_LIST_BACKLOG_BYTES
        try:
            if is_possible:
                entry = QueuedList.of(response, placement, key, experiment, time_us, conditions)
                self._send(messages.RecordImpression(entry))
        except Problem:
            is_possible = False
        self.num_dropped += not is_possible

    def record_events(self, stored: Sequence[StoredEventRow]) -> None:
        """Do nothing: the primary process records events itself."""

    def receive_messages(
        self,
        commit_listeners: CommitListeners,
        router: VariantRouter,
        callbacks: Mapping[type, Callable[[Any], None]],
    ) -> None:
        """Handle messages until the primary process ends.

        Args:
            commit_listeners: receive new events.
            router: its memory drops erased users, and its metrics are sent.
            callbacks: function for each other message type.
        """
        while (message := self._channel.receive()) is not None:
            self._heard_s = time.monotonic()
            if isinstance(message, messages.Heartbeat):
                self._lag_s = message.lag_s
                self._send(messages.Heartbeat(self.lag_ms() / 1e3, self.is_listening))
            elif isinstance(message, messages.EventsCommitted):
                commit_listeners.on_commit(message.stored)
                self._send(messages.Ack(message.number))
            elif isinstance(message, messages.EraseKeys):
                router.forget(message.keys)
                self._send(messages.Ack(message.number))
            elif isinstance(message, messages.MetricsRequest):
                self._send(messages.MetricsResponse(message.number, router.metrics.text()))
            elif type(message) in callbacks:
                callbacks[type(message)](message)
            else:
                self._resolve(message)

    def acknowledge(self, number: int) -> None:
        """Report to the primary process, if it has not ended, that a change of the catalog is applied."""
        with contextlib.suppress(OSError):
            self._channel.send(messages.Ack(number))

    def _resolve(self, message: Any) -> None:
        """Hand a reply to the request that waits for it."""
        if isinstance(message, messages.EventsAppended):
            self._pending.resolve(message.number, AppendResult(message.accepted, message.duplicates, message.erased))
        elif isinstance(message, messages.RequestRefused):
            refused: Future[Any] | None = self._pending.pop(message.number)
            if refused is not None and refused.set_running_or_notify_cancel():
                refused.set_exception(Problem(message.status, message.detail, message.headers))
        elif isinstance(message, messages.ForwardedResponse):
            self._pending.resolve(message.number, message)

    def _send(self, message: Any) -> None:
        try:
            self._channel.send(message)
        except OSError:
            raise unavailable(_RESTARTING) from None
