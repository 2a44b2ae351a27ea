"""Endpoints for operators: users, items, models, reports."""

import asyncio
import math

import msgspec

from segue.serving.administration.admin_service import AdminService, list_items
from segue.serving.administration.item_status import item_out
from segue.serving.http.auth import ADMIN, ERASE, SERVE
from segue.serving.http.exchange import Request
from segue.serving.http.handlers import AppState
from segue.serving.http.router import Endpoint
from segue.serving.schemas.admin import (
    EmptyRequest,
    ErasureReceipt,
    ItemCells,
    ItemOut,
    ItemsResponse,
    ModelsResponse,
    PlacementOut,
    PlacementSettings,
    PlacementsResponse,
    PromoteRequest,
    ReportResponse,
    RollbackPlacementRequest,
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
    """Return one item of the live model; its row and state in each version with a key for admin."""
    return item_out(state.router.deployment, _valid_id(item_id), complete=ADMIN in request.roles)


async def put_item(state: AppState, request: Request, item_id: str) -> ItemOut:
    """Replace the row of an item, or add one that is recommendable from then on."""
    return await _admin(state).catalog.change_item(_valid_id(item_id), "PUT", request.body)


async def patch_item(state: AppState, request: Request, item_id: str) -> ItemOut:
    """Merge cells into the row of an item, such as its price or stock."""
    return await _admin(state).catalog.change_item(_valid_id(item_id), "PATCH", request.body)


async def delete_item(state: AppState, request: Request, item_id: str) -> ItemOut:
    """Remove an item from every list, until it is put again."""
    return await _admin(state).catalog.change_item(_valid_id(item_id), "DELETE", b"")


async def placements(state: AppState, request: Request, parameter: str) -> PlacementsResponse:
    """List the placements of the live version with their rules."""
    return _admin(state).catalog.placements()


async def placement(state: AppState, request: Request, name: str) -> PlacementOut:
    """Return the rules of a placement."""
    return _admin(state).catalog.placement(_valid_id(name))


async def put_placement(state: AppState, request: Request, name: str) -> PlacementOut:
    """Replace the rules of a placement in every version, or add a placement."""
    settings = msgspec.json.decode(request.body, type=PlacementSettings)
    return await _admin(state).catalog.put_placement(_valid_id(name), settings)


async def delete_placement(state: AppState, request: Request, name: str) -> PlacementOut:
    """Return to the models' own rules of a placement."""
    return await _admin(state).catalog.delete_placement(_valid_id(name))


async def roll_back_placement(state: AppState, request: Request, parameter: str) -> PlacementOut:
    """Restore the rules of a placement before its last change."""
    query = msgspec.json.decode(request.body, type=RollbackPlacementRequest)
    return await _admin(state).catalog.roll_back_placement(query.name)


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
    Endpoint("PUT", "/v1/items/{id}", put_item, ItemOut, (ItemCells,), ADMIN, forwarded=True, problems=(507,)),
    Endpoint("PATCH", "/v1/items/{id}", patch_item, ItemOut, (ItemCells,), ADMIN, forwarded=True, problems=(404, 507)),
    Endpoint("DELETE", "/v1/items/{id}", delete_item, ItemOut, role=ADMIN, forwarded=True, problems=(404, 507)),
    Endpoint("GET", "/v1/placements", placements, PlacementsResponse, role=ADMIN, forwarded=True),
    Endpoint("GET", "/v1/placements/{id}", placement, PlacementOut, role=ADMIN, forwarded=True, problems=(404,)),
    Endpoint(
        "PUT",
        "/v1/placements/{id}",
        put_placement,
        PlacementOut,
        (PlacementSettings,),
        ADMIN,
        forwarded=True,
        problems=(409, 507),
    ),
    Endpoint(
        "DELETE", "/v1/placements/{id}", delete_placement, PlacementOut, role=ADMIN, forwarded=True, problems=(404, 507)
    ),
    Endpoint(
        "POST",
        "/v1/admin/placements/rollback",
        roll_back_placement,
        PlacementOut,
        (RollbackPlacementRequest,),
        ADMIN,
        forwarded=True,
        problems=(409,),
    ),
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
