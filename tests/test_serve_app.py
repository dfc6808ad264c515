"""The application over real connections, with the fake encoder: slow clients, lost clients, pages of others."""

from __future__ import annotations

import asyncio
import http.client
import io
import json
import logging
import socket
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import uvicorn
from fake_encoder import FakeEncoder
from PIL import Image
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from siglipcli import Classifier, LoadOptions
from siglipcli.serve import wire
from siglipcli.serve.app import create_app
from siglipcli.serve.body import read_body, read_form, read_json
from siglipcli.serve.engine import Engine
from siglipcli.serve.fetch import _Visit
from siglipcli.serve.keys import KeyRing
from siglipcli.serve.memory import RequestMemory
from siglipcli.serve.middleware import Front
from siglipcli.serve.protocol import Protocol
from siglipcli.serve.server import _Server
from siglipcli.serve.settings import ServeSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SETTINGS = ServeSettings(
    max_request_bytes=100_000,
    max_image_bytes=50_000,
    body_seconds=30,
    cors=("https://page.example",),
    allow_hosts=("proxied.example",),
)


class Running:
    """A server in a thread of this process."""

    def __init__(self, settings: ServeSettings) -> None:
        self.settings = settings
        self.engine = Engine(settings)
        self.keys = KeyRing()
        self.cancelled = threading.Event()
        self.began = threading.Event()
        self._is_up = threading.Event()
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    async def _run(self) -> None:
        with Classifier(FakeEncoder(), LoadOptions(workers=1, isolate=False)) as classifier:
            await self.engine.start(classifier)
            app = create_app(self.settings, self.engine, self.keys)
            http_class = Protocol.with_limits(self.settings)
            config = uvicorn.Config(
                app, http=http_class, ws="none", lifespan="off", log_config=None
            )
            self.server = uvicorn.Server(config)
            self._is_up.set()
            await self.server.serve(sockets=[self.socket])
            self.engine.close()

    def start(self) -> None:
        self._thread.start()
        assert self._is_up.wait(60)

    def stop(self) -> None:
        self.server.should_exit = True
        self._thread.join(60)

    def routes(self, engine: Engine, settings: ServeSettings) -> list[Route]:
        """Routes that say what came, stand for ever, or break."""

        async def echo(request: Request) -> JSONResponse:
            return JSONResponse(await read_json(request, settings))

        async def count(request: Request) -> JSONResponse:
            return JSONResponse(len(await read_body(request, settings)))

        async def form(request: Request) -> JSONResponse:
            parts = await read_form(request, settings)
            return JSONResponse([[part.name, part.filename, len(part.data)] for part in parts])

        async def stand(request: Request) -> JSONResponse:
            await request.body()
            self.began.set()
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
            return JSONResponse({})

        async def broken(request: Request) -> JSONResponse:
            raise KeyError("/srv/secret/path")

        async def large(request: Request) -> JSONResponse:
            await request.body()
            self.began.set()
            return JSONResponse("x" * 30_000_000)

        handlers = {
            "large": large,
            "echo": echo,
            "count": count,
            "form": form,
            "stand": stand,
            "broken": broken,
        }
        routes = [Route(f"/{name}", each, methods=["POST"]) for name, each in handlers.items()]
        return [*routes, Route("/alias/{of}", echo, methods=["POST"])]

    def send(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> tuple[int, Any, Any]:
        """Send one request; return status, headers and JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            connection.request(method, path, body, names)
            reply = connection.getresponse()
            data = reply.read()
        finally:
            connection.close()
        return (
            reply.status,
            reply.headers,
            json.loads(data) if data[:1] in {b"{", b"["} or data.isdigit() else data,
        )

    @contextmanager
    def connected(self) -> Iterator[socket.socket]:
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            yield connection


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    """One server for this module."""
    yield from started(SETTINGS)


@pytest.fixture(scope="module")
def hasty() -> Iterator[Running]:
    """One that waits for no slow client."""
    yield from started(replace(SETTINGS, body_seconds=0.6))


def started(settings: ServeSettings) -> Iterator[Running]:
    server = Running(settings)
    with pytest.MonkeyPatch.context() as patched:
        modules = [*wire.modules(), server]
        patched.setattr(wire, "modules", lambda: modules)
        server.start()
    yield server
    server.stop()


JSON = "application/json"


def code(reply: tuple[int, Any, Any]) -> tuple[int, str]:
    return reply[0], reply[2]["error"]["code"]


def test_a_body_is_read_within_its_limits(running: Running) -> None:
    """JSON as JSON, another type is a 415, too many bytes a 413, declared or not, and compression is not taken."""
    send = running.send
    assert send("POST", "/echo", b'{"a": [1]}', Content_Type=JSON)[2] == {"a": [1]}
    assert send("POST", "/v1/echo", b'{"a": 1}', Content_Type=f"{JSON}; charset=utf-8")[0] == 200
    assert code(send("POST", "/echo", b"{}", Content_Type="text/plain")) == (415, "content_type")
    assert code(send("POST", "/echo", b"[1]", Content_Type=JSON)) == (400, "bad_json")
    assert code(send("POST", "/count", b"x" * 100_001)) == (413, "body_too_large")
    assert code(send("POST", "/count", iter([b"x" * 60_000] * 2))) == (413, "body_too_large")
    assert code(send("POST", "/count", b"x", Content_Encoding="gzip")) == (415, "content_encoding")
    assert send("POST", "/count", b"x" * 100_000)[2] == 100_000
    wait_for(lambda: running.engine.memory.total == 0)


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait for what happens after a response."""
    end = time.monotonic() + 30
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    assert condition()


def test_a_form_is_read_in_order(running: Running) -> None:
    """Files and fields of multipart/form-data, and what is none is a 400."""
    body = (
        b'--B\r\nContent-Disposition: form-data; name="labels"\r\n\r\ncat,dog\r\n'
        b'--B\r\nContent-Disposition: form-data; name="image"; filename="../a.png"\r\n\r\n\x00\xff\r\n--B--\r\n'
    )
    kind = "multipart/form-data; boundary=B"
    assert running.send("POST", "/form", body, Content_Type=kind)[2] == [
        ["labels", "", 7],
        ["image", "../a.png", 2],
    ]
    for bad in (body[:90], b"nothing", b""):
        assert code(running.send("POST", "/form", bad, Content_Type=kind.replace("B", "C"))) == (
            400,
            "bad_form",
        )
    assert code(running.send("POST", "/form", body, Content_Type="multipart/form-data")) == (
        400,
        "bad_form",
    )


@pytest.mark.parametrize("charset", ["punycode", "unicode_escape", "utf-7"])
def test_a_form_is_utf_8(running: Running, charset: str) -> None:
    """A charset of the client's choice, some of which take minutes or give half characters, is a 400."""
    body = b'--B\r\nContent-Disposition: form-data; name="labels"\r\n\r\ncat\r\n--B--\r\n'
    kind = "multipart/form-data; boundary=B; charset="
    refused = running.send("POST", "/form", body, Content_Type=kind + charset)
    assert code(refused) == (400, "bad_form")
    assert running.send("POST", "/form", body, Content_Type=kind + '"UTF-8"')[0] == 200


def test_a_large_form_stays_in_memory_and_lets_others_have_their_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing of it is written to a disk, its files are counted, and other requests go on meanwhile."""
    file = b"x" * 3_000_000
    head = b'--B\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
    body = head + file + b"\r\n--B--\r\n"
    memory = RequestMemory(10_000_000)
    monkeypatch.setattr(tempfile.SpooledTemporaryFile, "rollover", lambda _file: 1 / 0)
    turns = 0

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def read() -> Any:
        app = SimpleNamespace(state=SimpleNamespace(memory=memory))
        headers = [(b"content-type", b"multipart/form-data; boundary=B")]
        request = Request(
            {"type": "http", "method": "POST", "headers": headers, "app": app}, receive
        )
        beside = asyncio.ensure_future(others())
        try:
            return await read_form(request, ServeSettings())
        finally:
            beside.cancel()

    [part] = asyncio.run(read())
    assert part.data == file
    assert turns > len(body) // 65536
    assert memory.total == len(body) + len(file)


def test_a_response_counts_until_it_was_read() -> None:
    """A large response that its client does not read keeps its request under way, and its memory counted."""

    async def run() -> None:
        engine = Engine(ServeSettings())
        is_read, messages = asyncio.Event(), []

        async def receive() -> Any:
            await asyncio.sleep(60)

        async def send(
            message: Any,
        ) -> None:  # as uvicorn's, which waits before it takes the next part
            if messages and messages[-1].get("body"):
                await is_read.wait()
            messages.append(message)

        scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
        front = Front(JSONResponse("x" * 200_000), engine, engine.memory, {})
        serving = asyncio.ensure_future(front(scope, receive, send))
        await asyncio.sleep(0.05)
        assert (engine.active, engine.memory.total) == (1, 200_002)
        is_read.set()
        await serving
        assert (engine.active, engine.memory.total) == (0, 0)
        assert [len(each.get("body", b"")) for each in messages] == [0, 200_002, 0]
        assert not messages[-1].get("more_body")

    asyncio.run(run())


def test_a_server_waits_no_longer_than_its_drain_seconds(caplog: pytest.LogCaptureFixture) -> None:
    """A request that does not end is cut off, which the log says."""
    logging.getLogger("siglipcli").propagate = True  # a command may have taken it over
    settings = ServeSettings(drain_seconds=0.1)
    engine = Engine(settings)
    engine.active = 1
    server = _Server(uvicorn.Config(create_app(settings, engine)), engine, settings, list)
    asyncio.run(server._drain())
    assert server.should_exit
    assert "requests that were cut off: 1" in caplog.messages


def test_a_bug_shows_nothing_of_the_machine(
    running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    """An error that nobody expected is a 500 without details; the log has them, with the request's id."""
    logging.getLogger("siglipcli").propagate = True  # a command may have taken it over
    status, headers, body = running.send("POST", "/broken", b"", X_Request_Id="mine-77")
    assert status == 500
    assert "secret" not in json.dumps(body)
    assert headers["X-Request-Id"] == "mine-77"
    assert any("KeyError" in line and "mine-77" in line for line in caplog.messages)


def test_a_client_that_leaves_ends_its_request(running: Running) -> None:
    """The work for it is cancelled, and the log has a 499."""
    body = b"POST /stand HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nhi"
    with running.connected() as connection:
        connection.sendall(body)
        assert running.began.wait(30)
    assert running.cancelled.wait(30)
    wait_for(lambda: not running.engine.active)
    assert 'route="/stand",status="499"' in running.engine.metrics.text().decode()


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"", b""),
        (b"POST /echo HTTP/1.1\r\nHost: loc", b""),
        (b"POST /count HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n\r\nhalf", b"408"),
        (
            b"POST /count HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
            b"408",
        ),
    ],
    ids=["nothing", "half a head", "half a body", "half a chunk"],
)
def test_a_slow_client_is_cut(hasty: Running, data: bytes, status: bytes) -> None:
    """A connection on which no whole request arrives is closed; where its head is whole, with a 408."""
    with hasty.connected() as connection:
        connection.sendall(data)
        reply = b""
        with suppress(ConnectionResetError):
            while part := connection.recv(65536):
                reply += part
    assert reply[9:12] == status


def test_a_client_that_does_not_read_is_cut(hasty: Running) -> None:
    """A response that nobody reads is given up, and its memory with it."""
    hasty.began.clear()
    with hasty.connected() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(b"POST /large HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
        assert hasty.began.wait(30)
        wait_for(lambda: not hasty.engine.active)
        wait_for(lambda: not hasty.server.server_state.connections)


def test_a_slow_client_keeps_nobody_waiting(running: Running) -> None:
    """While hundreds of connections send nothing, a request is served at once."""
    idle = [socket.create_connection(("127.0.0.1", running.port)) for _ in range(300)]
    try:
        assert running.send("POST", "/count", b"abc")[2] == 3
    finally:
        for connection in idle:
            connection.close()


def test_pages_of_other_sites_are_turned_away(running: Running) -> None:
    """A browser names the page's origin: only those that the server lets in may post, by CORS's rules."""
    refused = running.send("POST", "/count", b"x", Origin="https://evil.example")
    assert code(refused) == (403, "origin")
    assert "Access-Control-Allow-Origin" not in refused[1]
    assert code(running.send("POST", "/count", b"x", Origin="null")) == (403, "origin")
    let_in = running.send("POST", "/count", b"x", Origin="https://page.example")
    assert (let_in[0], let_in[1]["Access-Control-Allow-Origin"]) == (200, "https://page.example")
    own = f"http://127.0.0.1:{running.port}"
    assert running.send("POST", "/count", b"x", Origin=own)[0] == 200
    assert running.send("POST", "/count", b"x", Origin="https://proxied.example")[0] == 200
    asked = {
        "Access_Control_Request_Method": "POST",
        "Access_Control_Request_Headers": "authorization",
    }
    asked["Access_Control_Request_Headers"] = "authorization, x-stainless-lang"
    assert running.send("OPTIONS", "/count", Origin="https://page.example", **asked)[0] == 200
    exposed = set(let_in[1]["Access-Control-Expose-Headers"].split(", "))
    assert exposed == {"X-Request-Id", "X-Model", "Retry-After"}
    assert running.send("OPTIONS", "/count", Origin="https://evil.example", **asked)[0] == 400


def test_keys_are_asked_for_before_anything_is_read(running: Running) -> None:
    """Without a key a large body is a 401; /health needs none, /metrics does."""
    running.keys.replace(["one-key-12"])
    try:
        assert code(running.send("POST", "/count", b"x" * 100_001)) == (401, "invalid_api_key")
        assert running.send("GET", "/health")[0] == 200
        assert running.send("GET", "/v1/health")[0] == 200
        assert running.send("GET", "/metrics")[0] == 401
        assert running.send("GET", "/metrics", Authorization="Bearer one-key-12")[0] == 200
    finally:
        running.keys.replace([])


def test_metrics_count_by_declared_routes(running: Running) -> None:
    """A client's paths make no new series."""
    for path in ("/v1/echo", "/echo", "/alias/echo", "/nothing/of/this", "/models/a", "/models/b"):
        running.send("POST", path, b"{}", Content_Type=JSON)
    text = running.engine.metrics.text().decode()
    assert 'siglip_requests_total{route="/echo",status="200"}' in text
    assert 'route="other",status="404"' in text
    assert "nothing" not in text
    assert "alias" not in text


def test_a_server_that_stops_takes_no_more(running: Running) -> None:
    """While it drains every request is a 503, and so is /health."""
    running.engine.is_draining = True
    try:
        assert code(running.send("POST", "/count", b"x")) == (503, "stopping")
        assert running.send("GET", "/health")[2] == {"status": "draining"}
    finally:
        running.engine.is_draining = False


def png() -> bytes:
    written = io.BytesIO()
    Image.new("RGB", (8, 8), (200, 10, 10)).save(written, "PNG")
    return written.getvalue()


@pytest.mark.parametrize("way", ["image", "moved", "secret", "endless", "gone", "slow", "large"])
def test_urls_are_fetched_from_where_the_server_may(way: str) -> None:
    """A named host's image is fetched, by a redirect too, and all else is a failure of its kind.

    A private address that a redirect leads to is never asked.
    """
    asked: list[str] = []
    is_over = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]

    def answer() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection, suppress(OSError):
                    path = connection.recv(65536).split()[1].decode()
                    asked.append(path)
                    reply(connection, path)

    def reply(connection: socket.socket, path: str) -> None:
        moves = {
            "/moved": "/image",
            "/secret": f"http://localhost:{port}/image",
            "/endless": "/endless",
        }
        if path in moves:
            connection.sendall(f"HTTP/1.1 302 Found\r\nLocation: {moves[path]}\r\n\r\n".encode())
        elif path == "/slow":
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            is_over.wait(60)  # a slow one that ends first would be an image without bytes
        elif path == "/gone":
            connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\nno.")
        else:
            body = png() + (bytes(60_000) if path == "/large" else b"")
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + body)

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    settings = ServeSettings(
        fetch_urls=True,
        fetch_hosts=("127.0.0.1", "*.example"),
        fetch_seconds=1.0 if way == "slow" else 30,
        max_image_bytes=50_000,
    )
    try:
        [got] = asyncio.run(Engine(settings).read_images([f"http://127.0.0.1:{port}/{way}"]))
    finally:
        is_over.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)
    kinds = {
        "secret": "url_refused",
        "endless": "url_refused",
        "gone": "url_failed",
        "slow": "url_timeout",
    }
    kinds |= {"large": "too_large"}
    assert got == png() if way in {"image", "moved"} else got.kind == kinds[way]
    assert asked.count("/image") == (way in {"image", "moved"})


def test_a_sockets_own_timeout_is_one_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may come before the fetch's, at the same moment; in Python 3.10 they are of two kinds."""

    def late(_visit: _Visit, _url: str) -> bytes:
        raise TimeoutError

    monkeypatch.setattr(_Visit, "get", late)
    settings = ServeSettings(fetch_urls=True)
    [got] = asyncio.run(Engine(settings).read_images(["http://127.0.0.1:1/a.png"]))
    assert got.kind == "url_timeout"


def test_urls_are_not_fetched_unless_the_server_was_told_to() -> None:
    """By default a URL is a failed image, which says what to send."""
    [refused] = asyncio.run(Engine(ServeSettings()).read_images(["http://127.0.0.1:1/a.png"]))
    assert refused.kind == "url_refused"
    assert "base64" in refused.message
