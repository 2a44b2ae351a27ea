"""Whose history a request asks for."""

from segue.serving.schemas.problems import Problem
from segue.serving.schemas.requests import HistoryKey, NextRequest, RecommendRequest


def check_request(request: RecommendRequest) -> None:
    """Problem (422) for a request that asks for more than one history; gives its event the request's person."""
    check_single_history(request)
    event, key = request.event, history_key(request)
    if event is None or key is None:
        return
    name, value = key
    if getattr(event, name) not in (None, value):
        raise Problem(422, f"The event's {name} is not the request's: the answer would not have seen the event.")
    setattr(event, name, value)


def check_single_history(request: RecommendRequest | NextRequest) -> None:
    """Problem (422) for a request that asks for more than one history."""
    given = [name for name in ("user_id", "session_id", "history") if getattr(request, name) is not None]
    if len(given) > 1:
        raise Problem(422, f"{' and '.join(given)} name different histories: give one of them.")


def history_key(request: RecommendRequest | NextRequest) -> HistoryKey | None:
    """Whose stored history is asked for, if anybody's."""
    if request.user_id is not None:
        return "user_id", request.user_id
    return None if request.session_id is None else ("session_id", request.session_id)
