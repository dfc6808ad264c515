"""The ASGI application: routes of all wire formats behind the middleware that every request passes."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount

from siglipcli.errors import SiglipError
from siglipcli.serve import wire
from siglipcli.serve.errors import ApiError, from_library
from siglipcli.serve.gate import Gate
from siglipcli.serve.keys import KeyRing
from siglipcli.serve.middleware import Front, Guard

if TYPE_CHECKING:
    from starlette.requests import Request

    from siglipcli.serve.engine import Engine
    from siglipcli.serve.settings import ServeSettings

__all__ = ["create_app"]

logger = logging.getLogger("siglipcli")

_WORDS = {404: "There is nothing at this path.", 405: "This path does not take that method."}


def create_app(settings: ServeSettings, engine: Engine, keys: KeyRing | None = None) -> Starlette:
    """Return the application; one per engine. Without `keys` it is open to who can connect."""
    modules = wire.modules()
    routes = [route for module in modules for route in module.routes(engine, settings)]
    public = {path for module in modules for path in getattr(module, "PUBLIC", ())}
    gate = Gate(settings, engine, KeyRing() if keys is None else keys, public)
    # the first path of an endpoint is its name, the others are aliases
    paths = {id(route.endpoint): route.path for route in reversed(routes)}
    app = Starlette(
        routes=[*routes, Mount("/v1", routes=routes)],
        middleware=[
            Middleware(Front, engine=engine, memory=engine.memory, paths=paths),
            *_cors(settings),
            Middleware(Guard, gate=gate),
        ],
        exception_handlers={
            ApiError: _api_error,
            SiglipError: _library_error,
            HTTPException: _http_error,
            ClientDisconnect: _gone,
        },
    )
    app.router.redirect_slashes = False
    app.state.memory = engine.memory
    return app


def _cors(settings: ServeSettings) -> list[Middleware]:
    if not settings.cors:
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=list(settings.cors),
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
            expose_headers=["X-Request-Id", "X-Model", "Retry-After"],
        )
    ]


async def _api_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return JSONResponse(error.to_dict(), error.status, error.headers)


async def _library_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, SiglipError)
    logger.warning("a request failed: %s", error)
    return await _api_error(request, from_library(error))


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    words = _WORDS.get(error.status_code, "The request cannot be served.")
    return await _api_error(request, ApiError(error.status_code, words, headers=error.headers))


async def _gone(_request: Request, _error: Exception) -> Response:
    return Response(status_code=499)
