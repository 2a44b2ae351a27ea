"""Endpoints for operators: users, items, models, reports."""

import asyncio
import math

import msgspec

from segue.serving.administration.admin_service import AdminService, get_item, list_items
from segue.serving.http.auth import ADMIN, ERASE, SERVE
from segue.serving.http.exchange import Request
from segue.serving.http.handlers import AppState
from segue.serving.http.router import Endpoint
from segue.serving.schemas.admin import (
    EmptyRequest,
    ErasureReceipt,
    ItemOut,
    ItemsResponse,
    ModelsResponse,
    PromoteRequest,
    ReportResponse,
    UserEventsResponse,
)
from segue.serving.schemas.problems import Problem
from segue.serving.schemas.requests import Id

MAX_ITEMS = 1000
"""Items of one page."""
_DAYS = (0.001, 3650)
"""Shortest and longest period of a report."""


async def user(state: AppState, request: Request, user_id: str) -> UserEventsResponse:
    """Return every stored event of a user."""
    return await asyncio.to_thread(_admin(state).user_events, _valid_id(user_id))


async def erase(state: AppState, request: Request, user_id: str) -> ErasureReceipt:
    """Erase a user: events, sessions, cached histories, measurements, and from the next training."""
    admin = _admin(state)
    return admin.receipt(await asyncio.wrap_future(admin.submit_erasure(_valid_id(user_id))))


async def items(state: AppState, request: Request, parameter: str) -> ItemsResponse:
    """List the items that the live model can recommend, page by page."""
    limit = _number(request, "limit", 100, 1, MAX_ITEMS)
    if limit != round(limit):
        raise Problem(422, f"limit must be a whole number, got {limit:g}.")
    return list_items(state.router, request.query.get("after"), round(limit))


async def item(state: AppState, request: Request, item_id: str) -> ItemOut:
    """Return one item of the live model."""
    return get_item(state.router, _valid_id(item_id))


async def models(state: AppState, request: Request, parameter: str) -> ModelsResponse:
    """Return the version in each role."""
    return _admin(state).models()


async def report(state: AppState, request: Request, parameter: str) -> ReportResponse:
    """Report clicks and purchases by placement and variant, and the experiments, with intervals."""
    return await asyncio.to_thread(_admin(state).report, _number(request, "days", 7, *_DAYS))


async def reload(state: AppState, request: Request, parameter: str) -> ModelsResponse:
    """Check at once whether another version should be deployed."""
    msgspec.json.decode(request.body, type=EmptyRequest)
    return await asyncio.to_thread(_admin(state).reload)


async def promote(state: AppState, request: Request, parameter: str) -> ModelsResponse:
    """Deploy a version of the registry, after its golden requests pass."""
    return await asyncio.to_thread(_admin(state).promote, msgspec.json.decode(request.body, type=PromoteRequest))


async def rollback(state: AppState, request: Request, parameter: str) -> ModelsResponse:
    """Take the last change of the deployment back."""
    msgspec.json.decode(request.body, type=EmptyRequest)
    return await asyncio.to_thread(_admin(state).rollback)


ENDPOINTS = (
    Endpoint(
        "POST", "/v1/admin/promote", promote, ModelsResponse, (PromoteRequest,), ADMIN, forwarded=True, problems=(409,)
    ),
    Endpoint(
        "POST", "/v1/admin/rollback", rollback, ModelsResponse, (EmptyRequest,), ADMIN, forwarded=True, problems=(409,)
    ),
    Endpoint(
        "POST", "/v1/admin/reload", reload, ModelsResponse, (EmptyRequest,), ADMIN, forwarded=True, problems=(409,)
    ),
    Endpoint("GET", "/v1/users/{id}", user, UserEventsResponse, role=ADMIN, forwarded=True, problems=(404,)),
    Endpoint("DELETE", "/v1/users/{id}", erase, ErasureReceipt, role=ERASE, forwarded=True, problems=(503,)),
    Endpoint(
        "GET",
        "/v1/items",
        items,
        ItemsResponse,
        role=SERVE,
        queries=(
            ("after", {"type": "string"}, "The page begins behind this id."),
            ("limit", {"type": "integer", "minimum": 1, "maximum": MAX_ITEMS}, "Items on a page, 100 if absent."),
        ),
    ),
    Endpoint("GET", "/v1/items/{id}", item, ItemOut, role=SERVE, problems=(404,)),
    Endpoint("GET", "/v1/admin/models", models, ModelsResponse, role=ADMIN, forwarded=True),
    Endpoint(
        "GET",
        "/v1/admin/report",
        report,
        ReportResponse,
        role=ADMIN,
        forwarded=True,
        problems=(404,),
        queries=(("days", {"type": "number", "minimum": _DAYS[0], "maximum": _DAYS[1]}, "Days up to now."),),
    ),
)


def _admin(state: AppState) -> AdminService:
    assert state.admin is not None, "a worker forwards these requests to the primary process"
    return state.admin


def _valid_id(text: str) -> str:
    """Return the id of a path. Problem 422 for one that no event could have."""
    try:
        return msgspec.convert(text, Id)
    except msgspec.ValidationError:
        raise Problem(422, "The id in the path must have 1 to 512 characters, none of them a control one.") from None


def _number(request: Request, name: str, default: float, low: float, high: float) -> float:
    """Return a number of the query, ``default`` where it is absent. Problem 422 outside [low, high]."""
    text = request.query.get(name)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not low <= value <= high:
        raise Problem(422, f"{name} must be a number from {low:g} to {high:g}.")
    return value
