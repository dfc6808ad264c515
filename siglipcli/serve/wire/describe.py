"""Parts of operations that formats describe in the same way, for the OpenAPI document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "IMAGE_FIELD",
    "LABEL",
    "LABELS",
    "MODEL",
    "NUMBER",
    "THRESHOLD",
    "array",
    "operation",
    "ref",
    "request",
    "text",
]


def ref(name: str) -> dict[str, Any]:
    """Refer to a schema of the document."""
    return {"$ref": f"#/components/schemas/{name}"}


def text(description: str = "", **more: object) -> dict[str, Any]:
    """Describe a text."""
    return {"type": "string"} | ({"description": description} if description else {}) | more


def array(items: Mapping[str, Any], description: str = "", **more: object) -> dict[str, Any]:
    """Describe a list of at least one."""
    words = {"description": description} if description else {}
    return {"type": "array", "items": items, "minItems": 1} | words | more


def request(
    schema: Mapping[str, Any], examples: Mapping[str, object], media: str = "application/json"
) -> dict[str, Any]:
    """Describe a body of one media type; `examples` are titles and values."""
    named = {
        f"example{at}": {"summary": title, "value": value}
        for at, (title, value) in enumerate(examples.items(), 1)
    }
    return {media: {"schema": schema, "examples": named}}


def operation(
    name: str,
    summary: str,
    description: str,
    content: Mapping[str, Any],
    result: Mapping[str, Any],
    *,
    tag: str,
    errors: tuple[int, ...] = (400, 404, 413, 415, 422),
) -> dict[str, Any]:
    """Describe a POST: `content` is what it takes, `result` the content of its 200."""
    error = {"$ref": "#/components/responses/Error"}
    return {
        "operationId": name,
        "tags": [tag],
        "summary": summary,
        "description": description,
        "requestBody": {"required": True, "content": content},
        "responses": {"200": {"description": "The result.", "content": result}}
        | {str(status): error for status in errors},
    }


MODEL = text("The server’s model, or left out.")
THRESHOLD = {
    "type": "number",
    "minimum": 0,
    "maximum": 1,
    "description": "The score from which a label is a tag, in place of the label set’s own.",
}
LABELS: dict[str, Any] = {
    "label_sets": {
        "description": "Names of label sets, of the server or built-in, or whole sets. Without any labels: the server’s own sets.",
        "anyOf": [
            text("Names with commas between them."),
            array({"anyOf": [text(), ref("LabelSet")]}),
            ref("LabelSet"),
        ],
    },
    "templates": {
        "description": "Prompts of plain labels, with {} for the label.",
        "anyOf": [text(), array(text())],
    },
    "threshold": THRESHOLD,
}
LABEL = {
    "anyOf": [
        text("A label’s name."),
        {
            "type": "object",
            "required": ["name"],
            "properties": {
                "name": text(),
                "prompts": array(text(), "Prompts as they are, or templates with {}."),
                "threshold": THRESHOLD,
                "negative": {
                    "type": "boolean",
                    "description": "Never a tag, and forbids what is below it.",
                },
                "children": {"type": "array", "description": "Labels below this one: `bird/owl`."},
            },
            "additionalProperties": False,
        },
    ]
}
NUMBER = {"type": "number"}
IMAGE_FIELD = text("Base64, a data: URI, or a URL where the server fetches them.")
