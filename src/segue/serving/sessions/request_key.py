"""Key of the stored history that a request names, and the check that it names only one."""

from segue.serving.schemas.problems import Problem
from segue.serving.schemas.requests import HistoryKey, NextRequest, RecommendRequest


def check_request(request: RecommendRequest) -> None:
    """Check that a request names one history, and copy its user_id or session_id to its event.

    Raises:
        Problem: 422 for two histories, or for an event of another user or session.
    """
    check_single_history(request)
    event, key = request.event, history_key(request)
    if event is None or key is None:
        return
    name, value = key
    if getattr(event, name) not in (None, value):
        raise Problem(422, f"The event's {name} is not the request's: the list would not take the event into account.")
    setattr(event, name, value)


def check_single_history(request: RecommendRequest | NextRequest) -> None:
    """Check that a request names at most one of user_id, session_id and history.

    Raises:
        Problem: 422 for two or more.
    """
    given = [name for name in ("user_id", "session_id", "history") if getattr(request, name) is not None]
    if len(given) > 1:
        raise Problem(422, f"{' and '.join(given)} name different histories: give one of them.")


def history_key(request: RecommendRequest | NextRequest) -> HistoryKey | None:
    """Return the key of the stored history to read: ``("user_id", id)`` or ``("session_id", id)``.

    Returns:
        None for a request that carries its history, or has none.
    """
    if request.user_id is not None:
        return "user_id", request.user_id
    return None if request.session_id is None else ("session_id", request.session_id)
