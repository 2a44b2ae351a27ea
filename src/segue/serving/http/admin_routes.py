"""The operations of those who run the shop, as the table of routes has them: people, items, models, reports."""

import asyncio
import math
from typing import Any, TypeVar

import msgspec
from starlette.convertors import Convertor, register_url_convertor
from starlette.requests import Request

from segue.serving.administration.admin_service import AdminService, get_item, list_items
from segue.serving.http.auth import ADMIN, ERASE, SERVE
from segue.serving.http.endpoint import PostEndpoint, ReadEndpoint
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

MOST_ITEMS = 1000
_DAYS = (0.001, 3650)
"""How far back a report may look."""
T = TypeVar("T")


class _Anything(Convertor[str]):
    """The rest of a path, line ends included: Starlette's own "path" stops at them, and 'ann' and 'ann' with a line
    end behind it would be one person."""

    regex = "(?s:.*)"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("anything", _Anything())


async def person(door: Any, request: Request) -> UserEventsResponse:
    """Everything that is kept of a person."""
    return await asyncio.to_thread(_office(door).user_events, _id(request))


async def erase(door: Any, request: Request) -> ErasureReceipt:
    """Forgets a person: events, sessions, memory, measurements, and the next training."""
    return await asyncio.to_thread(_office(door).erase, _id(request))


async def items(door: Any, request: Request) -> ItemsResponse:
    """The items that the live model can recommend, page by page."""
    limit = _number(request, "limit", 100, 1, MOST_ITEMS)
    if limit != round(limit):
        raise Problem(422, f"limit must be a whole number, got {limit:g}.")
    return list_items(door.fleet, request.query_params.get("after"), round(limit))


async def item(door: Any, request: Request) -> ItemOut:
    """One item of the live model."""
    return get_item(door.fleet, _id(request))


async def models(door: Any, request: Request) -> ModelsResponse:
    """Which version has which role."""
    return _office(door).models()


async def report(door: Any, request: Request) -> ReportResponse:
    """Clicks and purchases by place and variant, and the experiments, with intervals."""
    return await asyncio.to_thread(_office(door).report, _number(request, "days", 7, *_DAYS))


async def reload(door: Any, body: bytes) -> ModelsResponse:
    """Looks at once whether another version should be at work."""
    msgspec.json.decode(body, type=EmptyRequest)
    return await asyncio.to_thread(_office(door).reload)


async def promote(door: Any, body: bytes) -> ModelsResponse:
    """Puts a version of the registry to work, after its self-test."""
    return await asyncio.to_thread(_office(door).promote, msgspec.json.decode(body, type=PromoteRequest))


async def rollback(door: Any, body: bytes) -> ModelsResponse:
    """Takes the last change back."""
    msgspec.json.decode(body, type=EmptyRequest)
    return await asyncio.to_thread(_office(door).rollback)


OPERATIONS = (
    PostEndpoint("/v1/admin/promote", promote, (PromoteRequest,), ModelsResponse, (409,), ADMIN),
    PostEndpoint("/v1/admin/rollback", rollback, (EmptyRequest,), ModelsResponse, (409,), ADMIN),
    PostEndpoint("/v1/admin/reload", reload, (EmptyRequest,), ModelsResponse, (409,), ADMIN),
)
READS = (
    ReadEndpoint("/v1/users/{id:anything}", person, UserEventsResponse, ADMIN, (404,)),
    ReadEndpoint("/v1/users/{id:anything}", erase, ErasureReceipt, ERASE, (503,), "DELETE"),
    ReadEndpoint(
        "/v1/items",
        items,
        ItemsResponse,
        SERVE,
        queries=(
            ("after", {"type": "string"}, "The page begins behind this id."),
            ("limit", {"type": "integer", "minimum": 1, "maximum": MOST_ITEMS}, "Items on a page, 100 if absent."),
        ),
    ),
    ReadEndpoint("/v1/items/{id:anything}", item, ItemOut, SERVE, (404,)),
    ReadEndpoint("/v1/admin/models", models, ModelsResponse, ADMIN),
    ReadEndpoint(
        "/v1/admin/report",
        report,
        ReportResponse,
        ADMIN,
        (404,),
        queries=(("days", {"type": "number", "minimum": _DAYS[0], "maximum": _DAYS[1]}, "How far back."),),
    ),
)


def _office(door: Any) -> AdminService:
    assert door.office is not None
    office: AdminService = door.office
    return office


def _id(request: Request) -> str:
    """The id in the path. Problem (422) for one that no event could have."""
    try:
        return msgspec.convert(request.path_params["id"], Id)
    except msgspec.ValidationError:
        raise Problem(422, "The id in the path must have 1 to 512 characters, none of them a control one.") from None


def _number(request: Request, name: str, usual: float, least: float, most: float) -> float:
    """A number behind the question mark. Problem (422) for anything else."""
    text = request.query_params.get(name)
    if text is None:
        return usual
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not least <= value <= most:
        raise Problem(422, f"{name} must be a number from {least:g} to {most:g}.")
    return value
