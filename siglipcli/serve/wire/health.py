"""`GET /health`: whether images are being encoded here; and `GET /metrics`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

if TYPE_CHECKING:
    from starlette.requests import Request

    from siglipcli.serve.engine import Engine
    from siglipcli.serve.settings import ServeSettings

__all__ = ["OPERATIONS", "PUBLIC", "routes"]

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


def _state(*words: str) -> dict[str, Any]:
    schema = {
        "type": "object",
        "required": ["status"],
        "properties": {"status": {"enum": list(words)}},
    }
    return {"application/json": {"schema": schema}}


OPERATIONS: dict[str, dict[str, Any]] = {
    "GET /health": {
        "operationId": "getHealth",
        "tags": ["Operation"],
        "summary": "Say whether images are being encoded here",
        "description": "Needs no key. The status is 200 only where an image was encoded within the last minute,"
        " or is encoded on the spot.",
        "security": [],
        "responses": {
            "200": {"description": "They are.", "content": _state("ok")},
            "503": {
                "description": "The model is loading, the server is stopping, or the model is stuck.",
                "content": _state("loading", "draining", "stuck"),
            },
        },
    },
    "GET /metrics": {
        "operationId": "getMetrics",
        "tags": ["Operation"],
        "summary": "Count what was served, for Prometheus",
        "responses": {
            "200": {
                "description": "Prometheus’s text format.",
                "content": {"text/plain": {"schema": {"type": "string"}}},
            }
        },
    },
}
