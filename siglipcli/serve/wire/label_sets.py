"""`GET /label_sets`: the sets that requests can name, those of the server first."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse
from starlette.routing import Route

from siglipcli import labels
from siglipcli.text import utf8

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from siglipcli.labels import LabelSet
    from siglipcli.serve.engine import Engine
    from siglipcli.serve.settings import ServeSettings

__all__ = ["OPERATIONS", "SCHEMAS", "routes"]


def routes(engine: Engine, settings: ServeSettings) -> list[Route]:
    """Return the routes of this format, without `/v1`."""
    del settings

    async def list_sets(_request: Request) -> Response:
        own = [_summary(label_set, builtin=False) for label_set in engine.label_sets]
        names = {summary["name"] for summary in own}
        rest = [summary for summary in _builtin() if summary["name"] not in names]
        return JSONResponse({"object": "list", "data": own + rest})

    return [Route("/label_sets", list_sets, methods=["GET"])]


@cache
def _builtin() -> list[dict[str, Any]]:
    return [_summary(labels.load_builtin(name), builtin=True) for name in labels.builtin_names()]


def _summary(label_set: LabelSet, *, builtin: bool) -> dict[str, Any]:
    return {
        "object": "label_set",
        "name": utf8(label_set.name),
        "description": utf8(label_set.description),
        "labels": len(label_set.labels),
        "negative": [utf8(label.path) for label in label_set.labels if label.negative],
        "exclusive": label_set.exclusive,
        "builtin": builtin,
    }


SCHEMAS: dict[str, dict[str, Any]] = {
    "LabelSetSummary": {
        "type": "object",
        "required": ["object", "name", "description", "labels", "negative", "exclusive", "builtin"],
        "properties": {
            "object": {"const": "label_set"},
            "name": {"type": "string", "description": "What `label_sets` of a request calls it."},
            "description": {"type": "string"},
            "labels": {"type": "integer", "minimum": 1, "description": "How many labels it has."},
            "negative": {
                "type": "array",
                "items": {"type": "string"},
                "description": "Labels that are never tags; a label that scores below one of them is no tag either.",
            },
            "exclusive": {
                "type": "boolean",
                "description": "Whether only the best label can be a tag.",
            },
            "builtin": {"type": "boolean", "description": "Whether it comes with siglip."},
        },
    }
}

OPERATIONS: dict[str, dict[str, Any]] = {
    "GET /label_sets": {
        "operationId": "listLabelSets",
        "tags": ["Models and label sets"],
        "summary": "List the label sets that requests can name",
        "description": "Those that the server was started with come first, then the built-in ones.",
        "responses": {
            "200": {
                "description": "The label sets.",
                "content": {
                    "application/json": {
                        "schema": {
                            "type": "object",
                            "required": ["object", "data"],
                            "properties": {
                                "object": {"const": "list"},
                                "data": {
                                    "type": "array",
                                    "items": {"$ref": "#/components/schemas/LabelSetSummary"},
                                },
                            },
                        }
                    }
                },
            }
        },
    }
}
