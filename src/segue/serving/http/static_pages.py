"""Files for browsers: the script that a shop's pages load, and the demo shop."""

from importlib import resources

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from segue.serving.deployment.variant_router import VariantRouter

SHOWN = 24
"""Items on the demo shop's shelf."""
_SAFE = "default-src 'self'; img-src data:; style-src 'self' 'unsafe-inline'; script-src 'self' 'unsafe-inline'"


def routes(fleet: VariantRouter, *, demo: bool = False) -> list[Route]:
    """/segue.js always; the demo shop at / where it is asked for."""
    script = read("segue.js")

    async def javascript(request: Request) -> Response:
        return Response(script, media_type="text/javascript", headers={"Cache-Control": "max-age=3600"})

    found = [Route("/segue.js", javascript)]
    if demo:
        page = read("demo.html")

        async def shop(request: Request) -> Response:
            return Response(page, media_type="text/html", headers={"Content-Security-Policy": _SAFE})

        async def shelf(request: Request) -> Response:
            # What a newcomer would be shown is a shelf that looks like the shop.
            shown = fleet.deployment.live.engine.model.top_k([], SHOWN)
            return Response(msgspec.json.encode(shown), media_type="application/json")

        found += [Route("/", shop), Route("/demo/shelf", shelf)]
    return found


def read(name: str) -> bytes:
    """A file of the folder ``static``."""
    return (resources.files("segue.serving") / "static" / name).read_bytes()
