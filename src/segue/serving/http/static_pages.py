"""Files for browsers: the script that a shop's pages load, and the demo shop."""

from importlib import resources

from segue.serving.deployment.variant_router import VariantRouter
from segue.serving.http.exchange import Request, Response
from segue.serving.http.handlers import AppState
from segue.serving.http.router import Endpoint
from segue.serving.schemas.requests import RecommendRequest

NUM_DEMO_ITEMS = 24
"""Items of the demo shop's first page."""
_SAFE = "default-src 'self'; img-src data:; style-src 'self' 'unsafe-inline'; script-src 'self' 'unsafe-inline'"


def pages(router: VariantRouter, *, demo: bool = False) -> list[Endpoint]:
    """Return the endpoints of files for browsers.

    Args:
        router: source of the demo shop's items.
        demo: whether the demo shop is served at ``/``; ``/segue.js`` always is.
    """
    script = Response(
        read("segue.js"), media_type="text/javascript; charset=utf-8", headers={"Cache-Control": "max-age=3600"}
    )

    async def javascript(state: AppState, request: Request, parameter: str) -> Response:
        return script

    endpoints = [Endpoint("GET", "/segue.js", javascript, role=None)]
    if demo:
        page = Response(
            read("demo.html"), media_type="text/html; charset=utf-8", headers={"Content-Security-Policy": _SAFE}
        )

        async def demo_page(state: AppState, request: Request, parameter: str) -> Response:
            return page

        async def demo_items(state: AppState, request: Request, parameter: str) -> Response:
            # Recommendations for a new user are a list like the shop's, under the rules of the default placement.
            response = await router.deployment.live.engine.respond(RecommendRequest(k=NUM_DEMO_ITEMS))
            return Response.of(response.items)

        endpoints += [
            Endpoint("GET", "/", demo_page, role=None),
            Endpoint("GET", "/demo/items", demo_items, role=None),
        ]
    return endpoints


def read(name: str) -> bytes:
    """Return a file of the folder ``static``."""
    return (resources.files("segue.serving") / "static" / name).read_bytes()
