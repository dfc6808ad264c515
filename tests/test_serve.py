"""`siglip serve` as a process: what every route has in common."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from serve_fixture import Server

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server with keys for this module."""
    folder = tmp_path_factory.mktemp("served")
    (folder / "keys").write_text("# ours\nfirst-key-1\nsecond-key-2\n")
    with Server(folder, ("--api-key-file", "keys", "--log-format", "json")) as running:
        yield running


KEY = {"Authorization": "Bearer second-key-2"}


def test_each_key_opens_the_server_and_nothing_else_does(server: Server) -> None:
    """Every key of the file is taken as a bearer's; a missing or wrong one is a 401 in OpenAI's shape."""
    for key in ("first-key-1", "second-key-2"):
        assert server.get("/v1/models", Authorization=f"Bearer {key}").status == 200
    for header in ("", "Bearer", "Bearer nope-nope-nope", "Basic first-key-1", "first-key-1"):
        reply = server.get("/v1/models", Authorization=header)
        assert (reply.status, reply.json["error"]["code"]) == (401, "invalid_api_key")
        assert reply.headers["WWW-Authenticate"] == "Bearer"


def test_routes_are_there_with_and_without_v1(server: Server) -> None:
    """A client's base URL may end in /v1 or not."""
    bare = server.get("/models", **KEY).json
    assert bare == server.get("/v1/models", **KEY).json
    assert bare["data"][0]["id"] == "demo"


def test_errors_have_one_shape(server: Server) -> None:
    """A wrong path or method is told in the shape of OpenAI's errors, with a request's id."""
    for method, path, status in (
        ("GET", "/nope", 404),
        ("DELETE", "/models", 405),
        ("GET", "/models/gone", 404),
    ):
        reply = server.send(method, path, None, KEY)
        assert reply.status == status
        assert set(reply.json["error"]) == {"message", "type", "code", "param"}
        assert reply.headers["X-Request-Id"]


def test_the_log_has_a_line_per_request_and_no_key(server: Server) -> None:
    """Each request is one JSON line with its id; neither keys nor queries are in the log."""
    server.get("/v1/models?api_key=second-key-2", **KEY, **{"X-Request-Id": "mine-1"})
    server.wait_for("mine-1", 10)
    line = next(json.loads(line) for line in server.lines if "mine-1" in line)
    assert {"event", "client", "method", "path", "status", "ms", "id", "time"} <= set(line)
    assert (line["path"], line["status"]) == ("/v1/models", 200)
    assert not any("second-key-2" in line for line in server.lines)


def test_a_name_that_points_here_is_turned_away(server: Server) -> None:
    """A page whose name was pointed to 127.0.0.1 (DNS rebinding) gets nothing."""
    assert (
        server.get("/v1/models", **KEY, Host="evil.example").json["error"]["code"] == "unknown_host"
    )
    assert server.get("/v1/models", **KEY, Host=f"localhost:{server.port}").status == 200
