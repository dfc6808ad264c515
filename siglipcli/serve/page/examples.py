"""An OpenAPI document → what the page of it shows: operations by tag, fields as rows, requests as curl commands."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["curl", "groups", "pretty", "rows"]

_DEEPEST = 3  # levels of fields within fields
_WIDTH = 88  # characters of a line of JSON
_LONG = 60  # characters of base64 that are shown as a file


def groups(document: Mapping[str, Any], base: str) -> list[dict[str, Any]]:
    """Return the operations by tag, in the order of the document's tags."""
    by_tag: dict[str, list[dict[str, Any]]] = {tag["name"]: [] for tag in document["tags"]}
    for path, item in document["paths"].items():
        for method, operation in item.items():
            shown = _operation(method.upper(), path, operation, document, base)
            by_tag[operation["tags"][0]].append(shown)
    return [{"name": name, "operations": shown} for name, shown in by_tag.items() if shown]


def _operation(
    method: str, path: str, operation: Mapping[str, Any], document: Mapping[str, Any], base: str
) -> dict[str, Any]:
    bodies = operation.get("requestBody", {}).get("content", {})
    is_bare = operation.get("security") == [] or path == "/"
    shown = path if is_bare else f"/v1{path}"
    url = base + _filled(shown, operation)
    is_page = operation["tags"] == ["Pages"]
    return {
        "id": operation["operationId"],
        "method": method,
        "path": shown,
        "summary": operation["summary"],
        "description": operation.get("description", ""),
        "bodies": [
            {
                "type": media,
                "rows": list(rows(body["schema"], document)),
                "examples": list(_examples(method, url, media, body)),
            }
            for media, body in bodies.items()
        ],
        "plain": "" if bodies or is_page else curl(method, url),
        "responses": _statuses(operation, document),
        "result": _result(operation, document),
    }


def _filled(path: str, operation: Mapping[str, Any]) -> str:
    """Put the examples of a path's parameters in their places."""
    for parameter in operation.get("parameters", ()):
        path = path.replace(f"{{{parameter['name']}}}", parameter.get("example", "…"))
    return path


def _statuses(operation: Mapping[str, Any], document: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the statuses in their order, those of one meaning together."""
    by_meaning: dict[str, list[str]] = {}
    for status, response in sorted(operation["responses"].items()):
        by_meaning.setdefault(resolved(response, document)["description"], []).append(status)
    return [(", ".join(statuses), description) for description, statuses in by_meaning.items()]


def resolved(value: Mapping[str, Any], document: Mapping[str, Any]) -> Mapping[str, Any]:
    """Follow a `$ref` within the document."""
    while reference := value.get("$ref"):
        place: Any = document
        for key in reference.removeprefix("#/").split("/"):
            place = place[key]
        value = place
    return value


def rows(
    schema: Mapping[str, Any], document: Mapping[str, Any], prefix: str = "", depth: int = 0
) -> Iterator[tuple[str, str, bool, str]]:
    """Yield a schema's fields: name (with those it is within), type, whether it must be there, meaning."""
    schema = resolved(schema, document)
    for name, field in schema.get("properties", {}).items():
        field = resolved(field, document)  # noqa: PLW2901  # what it refers to
        place = f"{prefix}{name}"
        yield (
            place,
            kind(field, document),
            name in schema.get("required", ()),
            field.get("description", ""),
        )
        inner, mark = field, "."
        if field.get("type") == "array":
            inner, mark = resolved(field.get("items", {}), document), "[]."
        if depth < _DEEPEST:
            yield from rows(inner, document, place + mark, depth + 1)


def kind(schema: Mapping[str, Any], document: Mapping[str, Any]) -> str:
    """Name a schema's type in a few words."""
    schema = resolved(schema, document)
    for key in ("oneOf", "anyOf"):
        if key in schema:
            return " or ".join(dict.fromkeys(kind(choice, document) for choice in schema[key]))
    if "const" in schema:
        return json.dumps(schema["const"])
    if "enum" in schema:
        return " or ".join(json.dumps(choice) for choice in schema["enum"])
    said = schema.get("type", "any")
    if said == "array":
        of = kind(schema["items"], document) if "items" in schema else "any"
        return f"list of ({of})" if " or " in of else f"list of {of}"
    return " or ".join(said) if isinstance(said, list) else str(said)


def _examples(
    method: str, url: str, media: str, body: Mapping[str, Any]
) -> Iterator[tuple[str, str]]:
    """Yield examples' titles and commands."""
    for name, example in body.get("examples", {}).items():
        yield example.get("summary", name), curl(method, url, media, example["value"])


def curl(method: str, url: str, media: str = "", value: Any = None) -> str:
    """Write a request as a command for a shell, in which images are files."""
    command = f"curl {url}" if method in {"GET", "POST"} else f"curl -X {method} {url}"
    if media == "multipart/form-data":
        fields = [f"-F {key}={part}" for key, part in _form(value)]
        return " \\\n  ".join([command, *fields])
    if media == "application/json":
        # no argument: one must not be longer than 128 KiB on Linux
        header = "-H 'Content-Type: application/json'"
        return f"{command} {header} -d @- <<END\n{_shown(value)}\nEND"
    if media:
        return f"{command} -H 'Content-Type: {media.replace('*', 'jpeg')}' --data-binary @photo.jpg"
    return command


def _form(value: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key, part in value.items():
        for item in part if isinstance(part, list) else [part]:
            text = str(item)
            is_file = len(text) > _LONG and " " not in text
            yield key, "@photo.jpg" if is_file else f"'{text}'" if not text.isalnum() else text


def _shown(value: Any) -> str:
    """Write JSON in which long base64 is a command that reads a file."""
    return pretty(_with_files(value))


def pretty(value: Any, indent: str = "") -> str:
    """Write JSON with what fits into a line on one line."""
    plain = json.dumps(value, ensure_ascii=False)
    if len(indent + plain) <= _WIDTH or not isinstance(value, (dict, list)):
        return plain
    inner = indent + "  "
    if isinstance(value, dict):
        parts = [f"{json.dumps(key)}: {pretty(item, inner)}" for key, item in value.items()]
    else:
        parts = [pretty(item, inner) for item in value]
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    return f"{opening}\n{inner}" + f",\n{inner}".join(parts) + f"\n{indent}{closing}"


def _with_files(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_files(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_files(item) for item in value]
    if isinstance(value, str) and len(value) > _LONG and " " not in value:
        head = "data:image/jpeg;base64," if value.startswith("data:") else ""
        return f"{head}$(base64 -w0 photo.jpg)"
    return value


def _result(operation: Mapping[str, Any], document: Mapping[str, Any]) -> str:
    """Return the example of a response, as JSON; empty where there is none."""
    success = resolved(operation["responses"].get("200", {}), document)
    for body in success.get("content", {}).values():
        if "example" in body:
            return pretty(body["example"])
    return ""
