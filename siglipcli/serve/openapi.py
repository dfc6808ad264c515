"""The OpenAPI 3.1 document, put together from what each wire format says of its own routes.

A module of `wire/` may export

- `OPERATIONS`: `"POST /classify"` → its operation object, with every status that clients should expect (401,
  429 and the like are added to all), and with `examples` of its request that run as they are;
- `SCHEMAS`: name → a schema that operations refer to as `#/components/schemas/NAME`.

Routes and operations are compared by a test. Paths are without `/v1`, which is the document's first server.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import siglipcli
from siglipcli.serve import wire

__all__ = ["IMAGE", "TAGS", "document"]

IMAGE = (
    "iVBORw0KGgoAAAANSUhEUgAAACAAAAAgAQMAAABJtOi3AAAABlBMVEX////dIiKiQXLZAAAARElEQVR42n3NsRGAIB"
    "TA0Me3cAzZRDZzNUZhBAfwwIKzxBS5dOGf/cbxCDmEkmyqFIkSEEGetVSnzRpUroGzC61/jwUvM1QM6BMEposAAAAA"
    "SUVORK5CYII="
)
"""A small PNG for examples, as base64; pages show a file in its place."""

TAGS = ("Classification", "Embeddings", "Models and label sets", "Operation", "Pages")
"""What an operation's one tag may be, in the order in which readers meet them."""

_DESCRIPTION = (
    "Images against labels, with SigLIP: a sigmoid score for each label, and a softmax over each label set. Every"
    " path works with and without `/v1`. Where the server has API keys, send one as `Authorization: Bearer KEY`."
)

_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "code", "param"],
            "properties": {
                "message": {"type": "string", "description": "What happened, for people."},
                "type": {"type": "string", "description": "OpenAI's word for the class of error."},
                "code": {"type": ["string", "null"], "description": "A stable word for programs."},
                "param": {"type": ["string", "null"], "description": "The field of the request."},
            },
        }
    },
}

_COMMON = {
    "401": "The server has keys, and none of them came with the request.",
    "429": "Too many requests wait; `Retry-After` says when to try again.",
    "503": "The model is loading, or the server is stopping.",
}
_PUBLIC: list[Any] = []  # an operation's `security` that asks for nothing


@cache
def document() -> dict[str, Any]:
    """Return the document."""
    schemas: dict[str, Any] = {"Error": _ERROR}
    operations: dict[str, dict[str, Any]] = {}
    for module in wire.modules():
        schemas |= getattr(module, "SCHEMAS", {})
        operations |= getattr(module, "OPERATIONS", {})
    paths: dict[str, dict[str, Any]] = {}
    for name, operation in sorted(
        operations.items(), key=lambda item: TAGS.index(item[1]["tags"][0])
    ):
        method, path = name.split(" ", 1)
        paths.setdefault(path, {})[method.lower()] = _completed(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "siglip",
            "version": siglipcli.__version__,
            "summary": "Zero-shot image classification",
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/v1"}, {"url": "/", "description": "the same without a prefix"}],
        "security": [{}, {"key": []}],
        "tags": [{"name": name} for name in TAGS],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": {"Error": _error("The request cannot be served as it is.")},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _error(description: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Error"}
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _completed(operation: dict[str, Any]) -> dict[str, Any]:
    """Return the operation with the errors that any request may meet."""
    if operation.get("security") == _PUBLIC:
        return operation
    common = {status: _error(description) for status, description in _COMMON.items()}
    return operation | {"responses": operation["responses"] | common}
