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

__all__ = ["OPERATIONS", "SCHEMAS", "check_model", "routes"]

_NO_NAMES = (None, "dummy")
"""What a request says for a model that it does not name: nothing, or what huggingface_hub sends for a URL."""


def check_model(name: str | None, engine: Engine) -> None:
    """Accept the server's model by its name, or none. Raises ApiError (404) for another."""
    if name not in {*_NO_NAMES, engine.model}:
        raise ApiError(
            404,
            f"There is no model of that name here; this server has {engine.model}.",
            code="model_not_found",
            param="model",
        )


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


SCHEMAS: dict[str, dict[str, Any]] = {
    "Model": {
        "type": "object",
        "required": ["id", "object", "created", "owned_by"],
        "properties": {
            "id": {"type": "string", "description": "What requests may call it in `model`."},
            "object": {"const": "model"},
            "created": {
                "type": "integer",
                "description": "Always 0; OpenAI’s clients want a number.",
            },
            "owned_by": {"type": "string"},
        },
    }
}

_MODEL = {"$ref": "#/components/schemas/Model"}
_MODELS = {
    "type": "object",
    "required": ["object", "data"],
    "properties": {
        "object": {"const": "list"},
        "data": {"type": "array", "items": _MODEL, "minItems": 1, "maxItems": 1},
    },
}

OPERATIONS: dict[str, dict[str, Any]] = {
    "GET /models": {
        "operationId": "listModels",
        "tags": ["Models and label sets"],
        "summary": "Name the model that this server runs",
        "description": "A list of one, in OpenAI’s form.",
        "responses": {
            "200": {
                "description": "The model.",
                "content": {"application/json": {"schema": _MODELS}},
            }
        },
    },
    "GET /models/{id}": {
        "operationId": "getModel",
        "tags": ["Models and label sets"],
        "summary": "Say whether this is the server’s model",
        "parameters": [
            {
                "name": "id",
                "in": "path",
                "required": True,
                "schema": {"type": "string"},
                "example": "demo",
            }
        ],
        "responses": {
            "200": {"description": "It is.", "content": {"application/json": {"schema": _MODEL}}},
            "404": {"$ref": "#/components/responses/Error"},
        },
    },
}
