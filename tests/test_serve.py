"""`siglip serve` as a process: what every route has in common."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from serve_fixture import Server
from settings import with_engine

from siglipcli.cli import serve
from siglipcli.cli.options import CalibratedLabelOptions
from siglipcli.demo import IMAGES
from siglipcli.errors import MissingExtraError
from siglipcli.serve.settings import ServeSettings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, prepared: Path) -> Iterator[Server]:
    """One server with keys for this module."""
    folder = tmp_path_factory.mktemp("served")
    (folder / "keys").write_text("# ours\nfirst-key-1\nsecond-key-2\n")
    arguments = ("--api-key-file", "keys", "--log-format", "json")
    with Server(folder, arguments, with_engine(prepared, folder / "cache")) as running:
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
    assert all(json.loads(line)["time"] for line in server.lines)


def test_a_name_that_points_here_is_turned_away(server: Server) -> None:
    """A page whose name was pointed to 127.0.0.1 (DNS rebinding) gets nothing."""
    assert (
        server.get("/v1/models", **KEY, Host="evil.example").json["error"]["code"] == "unknown_host"
    )
    assert server.get("/v1/models", **KEY, Host=f"localhost:{server.port}").status == 200


def test_health_is_about_images(server: Server) -> None:
    """It is 200 without a key, and the metrics show the image that was encoded for it."""
    assert server.get("/health").json == {"status": "ok"}
    metrics = server.get("/metrics", **KEY)
    assert metrics.headers["Content-Type"].startswith("text/plain")
    assert b"siglip_images_encoded_total 1.0" in metrics.body
    for name in (
        b"requests_total",
        b"request_seconds_bucket",
        b"queue_length",
        b"batch_images",
        b"image_failures",
    ):
        assert b"siglip_" + name in metrics.body


def test_hanging_up_reads_keys_and_labels_again(server: Server) -> None:
    """After SIGHUP the file's new keys count; a bad file keeps the old ones and says so."""
    keys = server.folder / "keys"
    keys.write_text("third-key-33\n")
    server.process.send_signal(signal.SIGHUP)
    server.wait_for("read again: 1 key")
    server.wait_for("read again: 1 label set")
    assert server.get("/models", **KEY).status == 401
    assert server.get("/models", Authorization="Bearer third-key-33").status == 200
    keys.write_text("no good\n")
    server.process.send_signal(signal.SIGHUP)
    server.wait_for("the keys stay as they were: an API key has at least")
    assert server.get("/models", Authorization="Bearer third-key-33").status == 200
    keys.write_text("first-key-1\nsecond-key-2\n")
    server.process.send_signal(signal.SIGHUP)
    server.wait_for("read again: 2 keys")


def test_a_port_in_use_is_said_at_once(server: Server) -> None:
    """A second server on the same port ends with status 2 and one line, before any model is loaded."""
    run = started("--model", "demo", "--port", str(server.port), "--quiet")
    assert run.returncode == 2
    assert f"127.0.0.1:{server.port} cannot be listened on: Address already in use" in run.stderr


def test_sigterm_lets_what_is_under_way_end(server: Server) -> None:
    """A request that is still being received is answered in full, and the exit status is 0. The last test of this server."""
    image = base64.b64encode((IMAGES / "blue-heart.jpg").read_bytes()).decode()
    body = json.dumps(
        {"input": [{"image": image}], "labels": ["blue heart", "red circle"]}
    ).encode()
    head = "\r\n".join(
        [
            "POST /v1/classify HTTP/1.1", "Host: localhost", f"Authorization: {KEY['Authorization']}",
            "Content-Type: application/json", f"Content-Length: {len(body)}", "Connection: close", "", "",
        ]
    ).encode()  # fmt: skip
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(head + body[:100])
        server.get("/models", **KEY)
        server.process.send_signal(signal.SIGTERM)
        server.wait_for(
            r"stopping: \d requests? under way"
        )  # /models may have been answered, but not ended
        connection.sendall(body[100:])
        reply = b"".join(iter(lambda: connection.recv(65536), b""))
    assert reply.startswith(b"HTTP/1.1 200")
    assert b'"prediction":"blue heart"' in reply
    assert server.process.wait(30) == 0
    assert not any("bug" in line for line in server.lines)


def started(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end, which is soon."""
    plain = {key: value for key, value in os.environ.items() if not key.startswith("SIGLIP_")}
    return subprocess.run(
        [sys.executable, "-m", "siglipcli", "serve", *arguments],
        env=plain | environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--host", "0.0.0.0"], "there is no API key: give --api-key-file"),
        (["--host", "::"], "or say --no-auth"),
        (["--api-key-file", "/nowhere/keys"], "cannot be read: No such file"),
        (["--labels", "/nowhere/set.yaml"], "there is no file and no built-in label set"),
        (["--fetch-host", "a.example"], "--fetch-host needs --fetch-urls"),
        (["--log-format", "xml"], "not one of text, json"),
        (["--cors", "https://a.example/"], "--cors: 'https://a.example/' is no origin"),
        (["--cors", "a.example"], "--cors: 'a.example' is no origin"),
        (["--max-image-size", "70M"], "--max-image-size is more than --max-request-size"),
    ],
)
def test_what_cannot_be_served_is_said_before_a_model_is_loaded(
    arguments: list[str], words: str
) -> None:
    """Status 2 and a line, at once: an open server without a key, unreadable keys or labels, options that clash."""
    run = started("--model", "demo", "--port", "0", "--quiet", *arguments)
    assert run.returncode == 2
    assert words in run.stderr


def test_a_model_that_is_not_there_ends_the_server(tmp_path: Path) -> None:
    """The status is that of any command that finds no model."""
    run = started(
        "--model",
        str(tmp_path / "none"),
        "--port",
        "0",
        "--offline",
        "--quiet",
        SIGLIP_CACHE_DIR=str(tmp_path),
    )
    assert run.returncode == 3
    assert run.stderr.startswith("siglip: ")


def test_without_the_extra_the_command_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As every extra does."""
    monkeypatch.setattr(serve, "find_spec", lambda name: None if name == "uvicorn" else object())
    with pytest.raises(MissingExtraError, match=r"uvicorn.*pip install 'siglipcli\[serve\]'"):
        serve._require_extra()


TORCH_FREE = """
import sys, threading, time
from siglipcli.serve import server

def ready(loop_server=server):
    import os, json
    print(json.dumps(sorted(name for name in ("torch", "open_clip", "transformers") if name in sys.modules)))
    sys.stdout.flush()
    os._exit(0)

original = server.run
server.run = lambda bound, settings, engine, keys, load, _ready, reload: original(
    bound, settings, engine, keys, load, ready, reload
)
sys.argv = ["siglip", "serve", "--model", "demo", "--port", "0"]
from siglipcli.cli import app
app()
"""


def test_a_warm_server_imports_no_torch(tmp_path: Path, prepared: Path) -> None:
    """Once the engine is built, serving needs OpenVINO and the tokenizer alone, as classify does."""
    plain = {key: value for key, value in os.environ.items() if not key.startswith("SIGLIP_")}
    environment = plain | with_engine(prepared, tmp_path / "cache")
    run = subprocess.run(
        [sys.executable, "-c", TORCH_FREE], env=environment, capture_output=True, text=True, timeout=300, check=True
    )  # fmt: skip
    assert json.loads(run.stdout) == []


def test_keys_and_label_sets_are_read_again_each_on_its_own(tmp_path: Path) -> None:
    """A key that was taken back opens nothing, while a label set is bad, on standard input, or the model is loading."""
    keys, labels, notes = tmp_path / "keys", tmp_path / "set.yaml", []
    keys.write_text("first-key-1\n")
    labels.write_text("labels: [cat]\n")
    options = serve.ServerOptions(api_key_file=keys)
    terminal = SimpleNamespace(note=notes.append)
    wanted = CalibratedLabelOptions(labels=[str(labels)])
    command = serve._Command(options, wanted, ServeSettings(), terminal)
    for text, words in (
        ("labels: [cat, dog]", "The model is loading"),
        ("labels: 3", "expected a list"),
    ):
        labels.write_text(text)
        keys.write_text(f"key-for-{len(text)}\n")
        command.reload()
        assert command._keys.accepts(f"Bearer key-for-{len(text)}")
        assert notes[-1].startswith("the label sets stay as they were: ")
        assert words in notes[-1]
    assert not command._keys.accepts("Bearer first-key-1")
    command._labels = CalibratedLabelOptions(labels=["-"])
    command.reload()
    assert notes[-1].endswith("standard input cannot be read twice")
    assert len(command._engine.label_sets[0].labels) == 1
