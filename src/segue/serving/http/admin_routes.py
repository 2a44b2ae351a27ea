"""The operations of those who run the shop, as the table of routes has them: people, items, models, reports."""

import asyncio
import math
from typing import Any, TypeVar

import msgspec
from starlette.convertors import Convertor, register_url_convertor
from starlette.requests import Request

from segue.serving.administration.admin_service import BackOffice, item_of, page_of
from segue.serving.http.auth import ADMIN, ERASE, SERVE
from segue.serving.http.endpoint import Operation, Read
from segue.serving.schemas.admin import (
    ItemOut,
    ItemsAnswer,
    ModelsAnswer,
    Nothing,
    PersonAnswer,
    PromoteRequest,
    Receipt,
    ReportAnswer,
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


async def person(door: Any, request: Request) -> PersonAnswer:
    """Everything that is kept of a person."""
    return await asyncio.to_thread(_office(door).person, _id(request))


async def erase(door: Any, request: Request) -> Receipt:
    """Forgets a person: events, sessions, memory, measurements, and the next training."""
    return await asyncio.to_thread(_office(door).erase, _id(request))


async def items(door: Any, request: Request) -> ItemsAnswer:
    """The items that the live model can recommend, page by page."""
    limit = _number(request, "limit", 100, 1, MOST_ITEMS)
    if limit != round(limit):
        raise Problem(422, f"limit must be a whole number, got {limit:g}.")
    return page_of(door.fleet, request.query_params.get("after"), round(limit))


async def item(door: Any, request: Request) -> ItemOut:
    """One item of the live model."""
    return item_of(door.fleet, _id(request))


async def models(door: Any, request: Request) -> ModelsAnswer:
    """Which version has which role."""
    return _office(door).models()


async def report(door: Any, request: Request) -> ReportAnswer:
    """Clicks and purchases by place and variant, and the experiments, with intervals."""
    return await asyncio.to_thread(_office(door).report, _number(request, "days", 7, *_DAYS))


async def reload(door: Any, body: bytes) -> ModelsAnswer:
    """Looks at once whether another version should be at work."""
    msgspec.json.decode(body, type=Nothing)
    return await asyncio.to_thread(_office(door).reload)


async def promote(door: Any, body: bytes) -> ModelsAnswer:
    """Puts a version of the registry to work, after its self-test."""
    return await asyncio.to_thread(_office(door).promote, msgspec.json.decode(body, type=PromoteRequest))


async def rollback(door: Any, body: bytes) -> ModelsAnswer:
    """Takes the last change back."""
    msgspec.json.decode(body, type=Nothing)
    return await asyncio.to_thread(_office(door).rollback)


OPERATIONS = (
    Operation("/v1/admin/promote", promote, (PromoteRequest,), ModelsAnswer, (409,), ADMIN),
    Operation("/v1/admin/rollback", rollback, (Nothing,), ModelsAnswer, (409,), ADMIN),
    Operation("/v1/admin/reload", reload, (Nothing,), ModelsAnswer, (409,), ADMIN),
)
READS = (
    Read("/v1/users/{id:anything}", person, PersonAnswer, ADMIN, (404,)),
    Read("/v1/users/{id:anything}", erase, Receipt, ERASE, (503,), "DELETE"),
    Read(
        "/v1/items",
        items,
        ItemsAnswer,
        SERVE,
        queries=(
            ("after", {"type": "string"}, "The page begins behind this id."),
            ("limit", {"type": "integer", "minimum": 1, "maximum": MOST_ITEMS}, "Items on a page, 100 if absent."),
        ),
    ),
    Read("/v1/items/{id:anything}", item, ItemOut, SERVE, (404,)),
    Read("/v1/admin/models", models, ModelsAnswer, ADMIN),
    Read(
        "/v1/admin/report",
        report,
        ReportAnswer,
        ADMIN,
        (404,),
        queries=(("days", {"type": "number", "minimum": _DAYS[0], "maximum": _DAYS[1]}, "How far back."),),
    ),
)


def _office(door: Any) -> BackOffice:
    assert door.office is not None
    office: BackOffice = door.office
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
