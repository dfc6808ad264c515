"""`GET /health`: whether images are being encoded here; and `GET /metrics`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

if TYPE_CHECKING:
    from starlette.requests import Request

    from siglipcli.serve.engine import Engine
    from siglipcli.serve.settings import ServeSettings

__all__ = ["PUBLIC", "routes"]

PUBLIC = ("/health",)


def routes(engine: Engine, settings: ServeSettings) -> list[Route]:
    """Return both routes."""
    del settings

    async def health(_request: Request) -> Response:
        state = await engine.health()
        return JSONResponse({"status": state}, 200 if state == "ok" else 503)

    async def metrics(_request: Request) -> Response:
        return Response(engine.metrics.text(), media_type=engine.metrics.content_type)

    return [
        Route("/health", health, methods=["GET"]),
        Route("/metrics", metrics, methods=["GET"]),
    ]
