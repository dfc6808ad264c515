"""`GET /models` and `/models/{id}`, as OpenAI has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse
from starlette.routing import Route

from siglipcli.serve.errors import ApiError

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from siglipcli.serve.engine import Engine
    from siglipcli.serve.settings import ServeSettings

__all__ = ["routes"]


def routes(engine: Engine, settings: ServeSettings) -> list[Route]:
    """Return the routes of this format, without `/v1`."""
    del settings

    async def list_models(_request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [_model(engine.model)]})

    async def get_model(request: Request) -> Response:
        if request.path_params["id"] != engine.model:
            raise ApiError(404, "There is no model of that name here.", code="model_not_found")
        return JSONResponse(_model(engine.model))

    return [
        Route("/models", list_models, methods=["GET"]),
        Route("/models/{id:path}", get_model, methods=["GET"]),
    ]


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "siglip"}
