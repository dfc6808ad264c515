"""The OpenAPI document: it says what the server does, and the server does what it says."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from serve_fixture import Server
from settings import with_engine
from starlette.routing import Route

from siglipcli.serve import openapi, page
from siglipcli.serve.app import create_app
from siglipcli.serve.engine import Engine
from siglipcli.serve.settings import ServeSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCUMENT = openapi.document()
OPERATIONS = [
    (method, path) for path, item in DOCUMENT["paths"].items() for method in item
]  # fmt: skip
NAMES = [f"{method.upper()} {path}" for method, path in OPERATIONS]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, prepared: Path) -> Iterator[httpx.Client]:
    """A client of a server with the demo model."""
    folder = tmp_path_factory.mktemp("server")
    environment = with_engine(prepared, folder / "cache")
    with (
        Server(folder, ("--label", "red circle,blue heart"), environment) as server,
        httpx.Client(base_url=server.url, timeout=60) as found,
    ):
        yield found


def test_the_document_is_openapi_3_1() -> None:
    """A validator of OpenAPI 3.1 finds nothing wrong with it."""
    assert DOCUMENT["openapi"].startswith("3.1.")
    assert [error.message for error in OpenAPIV31SpecValidator(DOCUMENT).iter_errors()] == []


def test_every_route_is_in_the_document_and_nothing_else() -> None:
    """Each path and method that the server has is described, and each that is described is there."""
    settings = ServeSettings()
    app = create_app(settings, Engine(settings))
    routes = [route for route in app.routes if isinstance(route, Route) and route.include_in_schema]
    served = {
        (method.lower(), re.sub(r":\w+}", "}", route.path))
        for route in routes
        for method in (route.methods or set()) - {"HEAD"}
    }
    assert served == set(OPERATIONS)


def test_operations_have_names_of_their_own() -> None:
    """Programs that are made from the document need one name per operation; readers a summary and a group."""
    operations = [DOCUMENT["paths"][path][method] for method, path in OPERATIONS]
    names = [operation["operationId"] for operation in operations]
    assert len(set(names)) == len(names)
    assert all(operation["summary"] and operation["tags"] for operation in operations)


@pytest.mark.parametrize(("method", "path"), OPERATIONS, ids=NAMES)
def test_examples_run_and_fit(client: httpx.Client, method: str, path: str) -> None:
    """An operation's example requests are served, with responses that fit its schema; so do its errors."""
    operation = DOCUMENT["paths"][path][method]
    url = filled(path, operation)
    sent = list(examples(operation))
    assert sent or "requestBody" not in operation
    for media, value in sent or [("", None)]:
        reply = client.request(method, url, **as_body(media, value), headers=accepted(operation))
        assert reply.status_code == 200, reply.text
        check(reply, operation["responses"]["200"])
    if "requestBody" in operation:
        reply = client.request(method, url, json=[])
        assert 400 <= reply.status_code < 500
        check(reply, operation["responses"][str(reply.status_code)])


def filled(path: str, operation: dict[str, Any]) -> str:
    """The path with its parameters' examples, or the first of their choices."""
    for each in operation.get("parameters", ()):
        value = each.get("example") or each["schema"]["enum"][0]
        path = path.replace(f"{{{each['name']}}}", value)
    return path


def examples(operation: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for media, body in operation.get("requestBody", {}).get("content", {}).items():
        assert body["examples"], media
        for example in body["examples"].values():
            if media in {"application/json", "multipart/form-data"}:
                validate(example["value"], body["schema"])
            yield media, example["value"]


def as_body(media: str, value: Any) -> dict[str, Any]:
    """What the client sends for an example: files of a form, and bodies that are images, are base64."""
    if media == "application/json":
        return {"json": value}
    if media == "multipart/form-data":
        fields = {key: part for key, part in value.items() if key != "image"}
        return {"data": fields, "files": {"image": ("photo.png", base64.b64decode(value["image"]))}}
    return {"content": base64.b64decode(value)} if media else {}


def accepted(operation: dict[str, Any]) -> dict[str, str]:
    return {"Accept": ", ".join(operation["responses"]["200"].get("content", {})) or "*/*"}


def check(reply: Any, response: dict[str, Any]) -> None:
    """A response has a media type that its description names, and fits the schema of it."""
    if "$ref" in response:
        response = DOCUMENT["components"]["responses"][response["$ref"].rpartition("/")[2]]
    media = reply.headers["content-type"].partition(";")[0]
    schema = response["content"][media]["schema"]
    validate(reply.json() if media == "application/json" else reply.text, schema)


def validate(value: Any, schema: dict[str, Any]) -> None:
    whole = schema | {"components": DOCUMENT["components"]}
    errors = [
        f"{error.json_path}: {error.message}"
        for error in Draft202012Validator(whole).iter_errors(value)
    ]
    assert errors == []


# --- the page of it -------------------------------------------------------------------------------


def test_the_page_shows_every_operation(client: httpx.Client) -> None:
    """`/docs` lists each operation with its path, and every request as a command for this very server."""
    text = client.get("/docs").text
    for method, path in OPERATIONS:
        operation = DOCUMENT["paths"][path][method]
        assert f'id="{operation["operationId"]}"' in text
        assert f"<code>{path}</code>" in text or f"<code>/v1{path}</code>" in text
    assert f"curl {str(client.base_url).rstrip(chr(47))}/v1/models" in text
    assert openapi.IMAGE not in text


def test_pages_load_nothing_from_elsewhere(client: httpx.Client) -> None:
    """Pages refer to files of their own server, and hold no script or style that a policy would have to let in."""
    for path in ("/", "/docs"):
        reply = client.get(path, headers={"Accept": "text/html"})
        assert reply.headers["Content-Security-Policy"].startswith("default-src 'none'")
        loaded = re.findall(r'(?:src|href)="([^"#]+)"', reply.text)
        assert [each for each in loaded if ":" in each] == ["data:,"]  # the icon
        assert re.search(r"<style|<script(?![^>]*src)|\sstyle=|\son\w+=", reply.text) is None
    for name in page.FILES:
        assert client.get(f"/page/{name}").headers["content-type"].startswith(page.FILES[name])
    assert client.get("/page/__init__.py").status_code == 404
    assert sorted(page.FILES) == sorted(
        {path.name for path in packaged() if path.suffix in {".js", ".css"}}
    )


def packaged() -> list[Path]:
    assert page.__file__
    folder = Path(page.__file__).parent
    return [*folder.iterdir(), folder.parent.parent / "outputs" / "html" / "theme.css"]


def test_what_is_no_browser_gets_no_page(client: httpx.Client) -> None:
    """A GET at / is the page for those alone who accept HTML."""
    assert "<!doctype html>" in client.get("/", headers={"Accept": "text/html,*/*;q=0.8"}).text
    assert "<!doctype html>" not in client.get("/", headers={"Accept": "application/json"}).text


def test_an_address_is_text() -> None:
    """The address in the page's commands comes from the request, and is escaped like all else."""
    assert "<script>alert" not in page.docs(DOCUMENT, "http://<script>alert(1)</script>")
