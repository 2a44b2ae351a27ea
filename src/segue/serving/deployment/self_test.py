"""Self-test of a version on every path that requests take in a server, each score finite.

The paths: batches of histories of several lengths, histories given and stored, hidden states stepped event by event,
context columns, times, a long list, similar items, generated sequences, and each placement of a pipeline with
explanations.
"""

import math
import time
from collections.abc import Container, Sequence
from dataclasses import replace

import numpy as np

from segue.data.sequences import Sequences
from segue.serving.deployment.golden_requests import GOLDEN_K, GoldenRequest, golden_histories, record_golden
from segue.serving.inference.recurrent_states import recurrent_states
from segue.serving.inference.request_scorer import RequestScorer
from segue.serving.inference.served_model import ServedModel
from segue.serving.schemas.requests import NextRequest, RecommendRequest, RecommendResponse, SimilarRequest
from segue.serving.sessions.session_cache import SessionCache
from segue.serving.store.event import Event
from segue.serving.store.event_reader import StoredEventRow

_LONG = 250
"""Events of the longest history, more than the session cache keeps."""
_GAP_US = 977_000_000
"""Time between two events of a stored history, so that their parts of the day differ."""
_TOLERANCE = 1e-2
"""Relative difference between a stepped and an encoded score."""


class _TestEvents:
    """Event log in memory: one user for each history. Has the methods that ``SessionCache`` reads by."""

    def __init__(self, histories: Sequence[Sequence[str]], context: str) -> None:
        now_us, self._rows, seq = time.time_ns() // 1000, dict[str, list[StoredEventRow]](), 0
        for number, history in enumerate(histories):
            rows = self._rows[f"u{number}"] = []
            for position, item in enumerate(history):
                seq += 1
                time_us = now_us - (len(history) - position) * _GAP_US
                rows.append(
                    StoredEventRow(
                        seq, Event("test", str(seq), f"u{number}", None, item, time_us, "view", 1.0, context, b"")
                    )
                )

    def newest(self, key: str, value: str, limit: int, types: Container[str] | None = None) -> list[StoredEventRow]:
        """See ``EventReader.newest``."""
        rows = self._rows.get(value, []) if key == "user_id" else []
        return [row for row in rows if types is None or row.event.event in types][-limit:]

    def events_after(self, time_us: int, seq: int, limit: int) -> list[StoredEventRow]:
        """See ``EventReader.events_after``."""
        return []

    def add_one(self, item: str) -> list[StoredEventRow]:
        """Add an event of each user, and return the new rows."""
        seq, now_us, added = sum(map(len, self._rows.values())), time.time_ns() // 1000, []
        for user, rows in self._rows.items():
            seq += 1
            event = Event("test", str(seq), user, None, item, now_us, "view", 1.0, "{}", b"")
            rows.append(StoredEventRow(seq, event))
            added.append(rows[-1])
        return added


def run_self_test(model: ServedModel) -> list[GoldenRequest]:
    """Test a version on every path, and return its golden requests.

    Args:
        model: the loaded version; an approximate search is enabled already.

    Raises:
        ValueError: a request fails, or a score is not a finite number.
    """
    golden = record_golden(model)
    ids = model.catalog.ids
    if not ids:
        raise ValueError(f"Version {model.version} failed its self-test: its catalog is empty.")
    long = [ids[i * 7 % len(ids)] for i in range(_LONG)]
    histories = [*golden_histories(model.catalog), long, long[:3], long[:50]]
    _check_all_scores(model, histories)
    context = "{}"
    if model.event_contexts is not None:
        values = (f'"{name}":{1.5 if kind == "number" else chr(34) + "x" + chr(34)}' for name, kind in _columns(model))
        context = "{" + ",".join(values) + "}"
    events = _TestEvents(histories, context)
    sessions = SessionCache(events, model.catalog, context_reader=model.event_contexts)  # type: ignore[arg-type]
    scorer = RequestScorer(model, sessions)
    users = [f"u{number}" for number in range(len(histories))]
    _respond(model, scorer, _requests(model, users, histories))
    sessions.add(events.add_one(ids[-1]))
    after = [RecommendRequest(user_id=user, exclude_seen=False) for user in users]
    stepped = _respond(model, scorer, after)
    if recurrent_states(model.retrieval, sessions) is not None:
        given = [RecommendRequest(history=[*history, ids[-1]], exclude_seen=False) for history in histories]
        _compare(model, stepped, _respond(model, scorer, given))
    for user in (users[0], users[-1]):
        scorer.next(NextRequest(user_id=user, steps=min(5, len(ids)), exclude_seen=False))
    return golden


def _columns(model: ServedModel) -> list[tuple[str, str]]:
    assert model.event_contexts is not None
    return list(model.event_contexts.column_types.items())


def _requests(
    model: ServedModel, users: Sequence[str], histories: Sequence[Sequence[str]]
) -> list[RecommendRequest | SimilarRequest]:
    """Return requests of all forms, which are scored in one batch."""
    requests: list[RecommendRequest | SimilarRequest] = [RecommendRequest(user_id=user) for user in users]
    requests += [RecommendRequest(history=list(history)) for history in histories]
    requests += [SimilarRequest(model.catalog.ids[0]), RecommendRequest(user_id=users[-1], k=1000, exclude_seen=False)]
    if model.pipeline_service is not None:
        for name in model.pipeline_service.placement_names:
            requests += [RecommendRequest(user_id=user, placement=name, explain=True) for user in users[-3:]]
    return requests


def _respond(
    model: ServedModel, scorer: RequestScorer, requests: Sequence[RecommendRequest | SimilarRequest]
) -> list[RecommendResponse]:
    """Return the response to each request of a batch. ValueError for a failure or a score that is not finite."""
    responses = []
    for request, response in zip(requests, scorer.respond_batch(requests), strict=True):
        failed = f"Version {model.version} failed its self-test: a request of the form {type(request).__name__}"
        if isinstance(response, Exception):
            reason = f"{type(response).__name__} {' '.join(str(response).split())[:300]}".strip()
            raise ValueError(f"{failed} fails ({reason}).")
        if not all(math.isfinite(item.score) for item in response.items):
            raise ValueError(f"{failed} has a score that is not a finite number.")
        if len({item.id for item in response.items}) != len(response.items):
            raise ValueError(f"{failed} has an item twice.")
        responses.append(response)
    return responses


def _compare(model: ServedModel, stepped: Sequence[RecommendResponse], given: Sequence[RecommendResponse]) -> None:
    """Raise a ValueError unless stepped states give the scores of the whole histories."""
    for one, other in zip(stepped, given, strict=True):
        scores, expected = ([item.score for item in response.items[:GOLDEN_K]] for response in (one, other))
        if len(scores) != len(expected) or not np.allclose(scores, expected, rtol=_TOLERANCE, atol=_TOLERANCE):
            raise ValueError(
                f"Version {model.version} failed its self-test: hidden states that are stepped event by event give "
                "other scores than whole histories."
            )


def _check_all_scores(model: ServedModel, histories: Sequence[Sequence[str]]) -> None:
    """Raise a ValueError if any item has the score NaN after any of the histories, with times and without."""
    rows = Sequences.from_lists([model.catalog.to_indices_list(history) for history in histories])
    now_us = time.time_ns() // 1000
    times = np.concatenate([now_us - np.arange(len(history))[::-1] * _GAP_US for history in histories])
    for variant in (rows, replace(rows, times=times.astype(np.int64))):
        scores_BV = model.scorer.scores(variant)
        if scores_BV.shape != (len(histories), model.catalog.size) or np.isnan(scores_BV).any():
            raise ValueError(f"Version {model.version} failed its self-test: a score is not a number.")
