"""Pages for a browser: `/` to try the model, `/docs` of the API, and `/openapi.json`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Match, Route

from siglipcli.serve import openapi, page
from siglipcli.serve.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from starlette.requests import Request

    from siglipcli.serve.engine import Engine
    from siglipcli.serve.settings import ServeSettings

__all__ = ["OPERATIONS", "PUBLIC", "routes"]

PUBLIC = ("/", "/docs", "/openapi.json", *(f"/page/{name}" for name in page.FILES))


class _Page(Route):
    """A route for those who want HTML; all others are passed on to the next one."""

    def matches(self, scope: MutableMapping[str, Any]) -> tuple[Match, Any]:
        """Look at the Accept header too."""
        match, child = super().matches(scope)
        accept = b",".join(value for name, value in scope["headers"] if name == b"accept")
        return (match, child) if b"text/html" in accept.lower() else (Match.NONE, {})


def routes(engine: Engine, settings: ServeSettings) -> list[Route]:
    """Return the routes of the pages, without `/v1`."""
    del engine, settings
    document = openapi.document()

    async def index(_request: Request) -> Response:
        return HTMLResponse(page.read("index.html"), headers=page.HEADERS)

    async def file(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in page.FILES:
            raise ApiError(404, "There is nothing at this path.", code="not_found")
        return Response(page.read(name), media_type=page.FILES[name], headers=page.HEADERS)

    async def read_docs(request: Request) -> Response:
        base = str(request.base_url).rstrip("/").removesuffix("/v1")
        return HTMLResponse(page.docs(document, base), headers=page.HEADERS)

    async def read_document(_request: Request) -> Response:
        return JSONResponse(document)

    return [
        _Page("/", index, methods=["GET"]),
        Route("/page/{name}", file, methods=["GET"]),
        Route("/docs", read_docs, methods=["GET"]),
        Route("/openapi.json", read_document, methods=["GET"]),
    ]


_HTML = {"text/html": {"schema": {"type": "string"}}}

OPERATIONS: dict[str, dict[str, Any]] = {
    "GET /": {
        "operationId": "readPage",
        "tags": ["Pages"],
        "summary": "A page to try the model in a browser",
        "description": "For requests that accept `text/html`.",
        "security": [],
        "responses": {"200": {"description": "The page.", "content": _HTML}},
    },
    "GET /page/{name}": {
        "operationId": "readPageFile",
        "tags": ["Pages"],
        "summary": "A script or style sheet of the pages",
        "security": [],
        "parameters": [
            {
                "name": "name",
                "in": "path",
                "required": True,
                "schema": {"type": "string", "enum": sorted(page.FILES)},
            }
        ],
        "responses": {
            "200": {
                "description": "The file.",
                "content": {
                    kind: {"schema": {"type": "string"}}
                    for kind in sorted(set(page.FILES.values()))
                },
            },
            "404": {"$ref": "#/components/responses/Error"},
        },
    },
    "GET /docs": {
        "operationId": "readDocs",
        "tags": ["Pages"],
        "summary": "This document as a page",
        "security": [],
        "responses": {"200": {"description": "The page.", "content": _HTML}},
    },
    "GET /openapi.json": {
        "operationId": "readDocument",
        "tags": ["Pages"],
        "summary": "The OpenAPI document",
        "security": [],
        "responses": {
            "200": {
                "description": "The document, OpenAPI 3.1.",
                "content": {
                    "application/json": {
                        "schema": {"type": "object", "required": ["openapi", "paths"]}
                    }
                },
            }
        },
    },
}
"""`METHOD /path` → the operation in the OpenAPI document."""
