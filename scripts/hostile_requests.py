"""Requests that no client means well: every kind that `serve_faults.py` sends, and the statuses that are right."""

from __future__ import annotations

import base64
import json
import struct
import time
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from siglipcli.demo import IMAGES

if TYPE_CHECKING:
    import random
    import socket
    from collections.abc import Callable

KEY = "a-key-for-faults"
IMAGES_BY_LABEL = {
    path.stem.replace("-", " "): path.read_bytes() for path in sorted(IMAGES.iterdir())
}
LABELS = sorted(IMAGES_BY_LABEL)
DISGUISES = (
    *(
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "017700000001",
        "0177.0.0.1",
        "127.1",
        "localhost",
        "0",
    ),
    *("[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "127.0.0.2"),
)
NOT_REFUSED = -2  # in place of a status: the server tried to fetch what it must not
CUT = -1  # in place of a status: the connection ended without one


def b64(data: bytes) -> str:
    """Return bytes as base64."""
    return base64.b64encode(data).decode()


def classify(image: str, **more: Any) -> bytes:
    """Return the body of a request for one image."""
    return json.dumps({"input": [{"image": image}], "labels": LABELS} | more).encode()


def png(width: int, height: int, rows: bytes) -> bytes:
    """Return a PNG of so many pixels, with whatever pixel data."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


class Target(Protocol):
    """What requests are sent to; `elsewhere` is the URL of a web server that may be fetched from."""

    @property
    def elsewhere(self) -> str:
        """Return that URL."""

    @property
    def port_elsewhere(self) -> int:
        """Return its port."""

    def send(
        self, body: bytes | None, path: str = ..., method: str = ..., **headers: str
    ) -> tuple[int, bytes]:
        """Send a whole request; return status and body."""

    def raw(self, data: bytes, *, pause: float = ..., reads: bool = ...) -> tuple[int, bytes]:
        """Send bytes as they are."""

    def connected(self) -> socket.socket:
        """Return a connection."""

    def head(self, length: int) -> bytes:
        """Return a request's head, for a body of so many bytes."""


GOOD = IMAGES_BY_LABEL["blue heart"]
BODY = classify(b64(GOOD))
FAILED = {200, 400, 413, 422, 502, 504}  # with an error in the element, or for the request


def _truncated(a: Target, d: random.Random) -> tuple[int, bytes]:
    return a.send(BODY[: d.randrange(1, len(BODY) - 1)])


def _flipped(a: Target, d: random.Random) -> tuple[int, bytes]:
    body = bytearray(json.dumps({"input": 0, "labels": ["a"]}).encode())
    body[d.randrange(len(body))] = d.choice(b'{}[]":,\x00\xff')
    return a.send(bytes(body))


def _wrong_types(a: Target, d: random.Random) -> tuple[int, bytes]:
    odd = [
        None,
        1,
        -1,
        True,
        "x",
        [],
        {},
        [[]],
        [None],
        {"image": 7},
        [{"image": None}],
        ["\u0000"],
    ]
    fields = {"input": [{"image": b64(GOOD)}], "labels": ["a"]}
    field = d.choice(["input", "labels"])  # whose null and text mean something for labels
    fields[field] = d.choice(
        [value for value in odd if field == "input" or value not in (None, "x")]
    )
    return a.send(json.dumps(fields).encode())


def _bad_json(a: Target, d: random.Random) -> tuple[int, bytes]:
    bodies = [
        b"", b"null", b"[]", b'"x"', b"{" * 9, b"[" * 100_000, b'{"a":' * 5_000, b'{"input": NaN, "labels": ["a"]}',
        b'{"labels": ["a"], "labels": ["b"]}', b'{"input": 1e999}', b'{"input": ' + b"9" * 10_000 + b"}",
        b"[" + b"[]," * 500_000 + b"1]", b"\xff\xfe{}", b'{"labels": ["\\ud800"]}', b'{"input": Infinity}',
    ]  # fmt: skip
    return a.send(d.choice(bodies))


def _bombs(a: Target, d: random.Random) -> tuple[int, bytes]:
    zeros = zlib.compress(bytes(20_000_000), 9)
    images = [
        png(60_000, 60_000, zeros), png(9_000, 9_000, zeros), png(1, 2**31 - 1, zeros), png(2_500, 2_500, zeros[:900]),
        GOOD[: d.randrange(20, len(GOOD) // 2)], b"GIF89a" + d.randbytes(500), b"II*\0" + d.randbytes(300),
        d.randbytes(2_000), b"<svg/>", b"%!PS-Adobe" + d.randbytes(90), b"\0" * 50_000,
        b"RIFF\xff\xff\xff\xffWEBPVP8 " + d.randbytes(200),
    ]  # fmt: skip
    return a.send(classify(b64(d.choice(images))))


def _bad_base64(a: Target, d: random.Random) -> tuple[int, bytes]:
    texts = [
        "!!!!",
        "data:image/png;base64,%%%",
        "data:",
        "a",
        "ä" * 100,
        "/etc/passwd\0",
        "file:///etc/passwd",
    ]
    return a.send(classify(d.choice(texts)))


def _content_types(a: Target, d: random.Random) -> tuple[int, bytes]:
    kinds = [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "text/html",
        "x/y; boundary=",
    ]
    return a.send(
        BODY, Content_Type=d.choice([*kinds, "multipart/form-data; boundary=" + "b" * 300])
    )


def _unauthorized(a: Target, d: random.Random) -> tuple[int, bytes]:
    return a.send(
        BODY,
        Authorization=d.choice(["", "Bearer", f"Basic {KEY}", f"Bearer {KEY}x", "Bearer \xe9"]),
    )


def _paths(a: Target, d: random.Random) -> tuple[int, bytes]:
    names = [
        "..%2f..%2fetc%2fpasswd",
        "%00",
        "a" * 3_000,
        "%ff%fe",
        "demo%0d%0aX:1",
        "..;/",
        "%2e%2e/%2e%2e/x",
        "/",
    ]
    path = d.choice(["/models/", "/v1/models/", "/", "/v1/"]) + d.choice(names)
    return a.send(None, path, d.choice(["GET", "DELETE", "PUT", "PATCH", "POST"]))


def _ssrf(a: Target, d: random.Random) -> tuple[int, bytes]:
    port = a.port_elsewhere
    where = d.choice(DISGUISES)
    urls = [
        f"http://{where}:{port}/secret", f"http://{where}/secret", f"{a.elsewhere}/redirect?{where}",
        f"{a.elsewhere}/round", "http://169.254.169.254/latest/meta-data", f"gopher://127.0.0.1:{port}/secret",
        f"http://x@127.0.0.1:{port}/secret", f"http://127.0.0.1:{port}\\@x/secret", "http://10.0.0.1/", "http:///x",
        f"{a.elsewhere}/endless",
    ]  # fmt: skip
    url = d.choice(urls)
    status, body = a.send(classify(url))
    is_refused = b'"kind":"url_refused"' in body
    return status if is_refused or url.endswith("/endless") else NOT_REFUSED, body


def _too_much(a: Target, d: random.Random) -> tuple[int, bytes]:
    bodies: list[Callable[[], bytes]] = [
        lambda: b" " * 9_000_000,
        lambda: classify(b64(bytes(2_100_000))),
        lambda: json.dumps({"input": [{"image": b64(GOOD)}] * 40, "labels": ["a"]}).encode(),
        lambda: classify(b64(GOOD), labels=[f"label {i}" for i in range(1_200)]),
        lambda: classify(b64(GOOD), labels=["a" * 100_000]),
    ]
    return a.send(d.choice(bodies)())


def _half_sent(a: Target, d: random.Random) -> tuple[int, bytes]:
    data = a.head(len(BODY)) + BODY[: d.randrange(len(BODY))]
    return a.raw(data, pause=d.random() * 3, reads=False)


def _slow_body(a: Target, d: random.Random) -> tuple[int, bytes]:
    with a.connected() as connection, suppress(ConnectionError):
        connection.sendall(a.head(len(BODY)))
        for at in range(d.randrange(1, 12)):
            connection.sendall(BODY[at : at + 1])
            time.sleep(0.3)
    return CUT, b""


def _gone(a: Target, d: random.Random) -> tuple[int, bytes]:
    image = GOOD + d.randbytes(16)
    body = json.dumps(
        {"input": [{"image": b64(image + bytes([i]))} for i in range(8)], "labels": LABELS}
    ).encode()
    return a.raw(a.head(len(body)) + body, pause=d.random() * 0.3, reads=False)


def _no_http(a: Target, d: random.Random) -> tuple[int, bytes]:
    lines = [
        b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\x00\x01" + d.randbytes(80) + b"\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: evil.example\r\n\r\n", b"GET /health HTTP/1.1\r\n" + b"X: y\r\n" * 9_000 + b"\r\n",
        b"POST /v1/classify HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -5\r\n\r\n",
        b"POST /v1/classify HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ]  # fmt: skip
    return a.raw(d.choice(lines))


KINDS: dict[str, tuple[Callable[[Target, random.Random], tuple[int, bytes]], set[int]]] = {
    "truncated JSON": (_truncated, {400}),
    "damaged JSON": (_flipped, {400, 422, 200}),
    "wrong types": (_wrong_types, {400, 422, 200}),
    "bad JSON": (_bad_json, {400}),
    "bombs and damaged images": (_bombs, FAILED),
    "bad base64": (_bad_base64, FAILED),
    "content types": (_content_types, {400, 415}),
    "no key": (_unauthorized, {401}),
    "paths": (_paths, {400, 404, 405, 415}),
    "fetching": (_ssrf, FAILED),
    "too much": (_too_much, {200, 400, 413, CUT}),
    "half-sent": (_half_sent, {CUT}),
    "slow body": (_slow_body, {CUT}),
    "gone": (_gone, {CUT}),
    "no HTTP": (_no_http, {400, 401, 404, 431, CUT}),
}
"""Kind → what sends one, and the statuses that are right."""
