"""Images from URLs, for a server that may fetch them: from public addresses, and not for long.

The host is looked up once, every address it has is checked, and the connection goes to the address that was:
a name that points elsewhere a moment later (DNS rebinding) changes nothing. Each redirect is checked in the
same way. No proxy, cookie or credential of this machine is used.
"""

from __future__ import annotations

import asyncio
import http.client
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from siglipcli import __version__
from siglipcli.results import Failure
from siglipcli.serve import addresses, references
from siglipcli.serve.addresses import RefusedError, Target

if TYPE_CHECKING:
    from collections.abc import Callable

    from siglipcli.serve.addresses import Resolve
    from siglipcli.serve.settings import ServeSettings

__all__ = ["Fetcher"]

_REDIRECTS = 3
_AT_ONCE = 8
_PER_REQUEST = 4  # of them, so that one request leaves threads to others
_PIECE = 65_536  # bytes that are read between two looks at whether anyone still waits
_MOVED = {301, 302, 303, 307, 308}
_OK = 200
_HEADERS = {
    "User-Agent": f"siglip/{__version__}",
    "Accept": "image/*",
    "Accept-Encoding": "identity",
    "Connection": "close",
}


class _TooLargeError(Exception):
    """A response with more bytes than an image may have."""


class Fetcher:
    """Fetches images, a few at a time. `resolve` looks hosts up."""

    def __init__(self, settings: ServeSettings, resolve: Resolve = addresses.resolve) -> None:
        self._settings = settings
        self._resolve = resolve
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="siglip-fetch")

    @staticmethod
    def turns() -> asyncio.Semaphore:
        """Return what the URLs of one request wait for, before their time begins to count."""
        return asyncio.Semaphore(_PER_REQUEST)

    async def fetch(self, url: str, name: str, turns: asyncio.Semaphore) -> bytes | Failure:
        """Return what is at a URL, or a Failure called `name`: `url_refused`, `url_failed`, `url_timeout`."""
        if not self._settings.fetch_urls:
            words = "This server fetches no URLs; send the image itself, as base64 or a data: URI."
            return Failure(name, "url_refused", words)
        async with turns:
            return await self._fetch(url, name)

    async def _fetch(self, url: str, name: str) -> bytes | Failure:
        visit = _Visit(self._settings, self._resolve)
        work = asyncio.get_running_loop().run_in_executor(self._pool, visit.get, url)
        try:
            return await asyncio.wait_for(work, self._settings.fetch_seconds)
        except RefusedError as error:
            return Failure(name, "url_refused", str(error))
        except (asyncio.TimeoutError, TimeoutError):  # two before Python 3.11: ours, the socket's
            return Failure(name, "url_timeout", "The image was not fetched in time.")
        except _TooLargeError:
            return references.too_large(self._settings, name)
        except (OSError, http.client.HTTPException, ValueError):
            return Failure(name, "url_failed", "There is no image to be had at the URL.")
        finally:
            visit.stop()


class _Visit:
    """One image's way through redirects, on a thread; `stop` ends it from another."""

    def __init__(self, settings: ServeSettings, resolve: Resolve) -> None:
        self._settings = settings
        self._resolve = resolve
        self._connection: _Connection | None = None
        self._is_over = False

    def get(self, url: str) -> bytes:
        """Return the image's bytes. Raises RefusedError, OSError, HTTPException."""
        for _ in range(_REDIRECTS + 1):
            target = addresses.check(url, self._settings.fetch_hosts, self._resolve)
            body, location = self._ask(target)
            if location is None:
                return body
            url = urljoin(url, location)
        raise RefusedError("The URL redirects too often.")

    def stop(self) -> None:
        """Let the thread end, at once where it waits for the connection."""
        self._is_over = True
        if self._connection:
            self._connection.stop()

    def _ask(self, target: Target) -> tuple[bytes, str | None]:
        """Return the body, or where it is."""
        seconds = self._settings.fetch_seconds
        connection = self._connection = _connection(target, seconds, self._check)
        try:
            self._check()
            connection.request("GET", target.path, headers=_HEADERS)
            with connection.getresponse() as response:
                return self._taken(response)
        finally:
            connection.close()

    def _check(self) -> None:
        if self._is_over:
            raise OSError("too late")

    def _taken(self, response: http.client.HTTPResponse) -> tuple[bytes, str | None]:
        if response.status in _MOVED and (location := response.getheader("Location")):
            return b"", location
        encoding = response.getheader("Content-Encoding", "identity")
        if response.status != _OK or encoding != "identity":
            raise OSError("no image")
        return self._body(response), None

    def _body(self, response: http.client.HTTPResponse) -> bytes:
        most = self._settings.max_image_bytes
        if (response.length or 0) > most:
            raise _TooLargeError
        length = response.length  # none where the end of the connection is the end
        body = bytearray()
        while length is None or len(body) < length:
            left = _PIECE if length is None else min(length - len(body), _PIECE)
            piece = response.read1(left)  # what is there: waits for no more
            self._check()
            body += piece
            if len(body) > most:
                raise _TooLargeError
            if not piece:
                break
        if length and len(body) < length:
            raise OSError("cut short")
        return bytes(body)


class _Connection(http.client.HTTPConnection):
    """A connection to the address that was checked, under the host's name.

    `check` raises OSError where nobody waits any more: `stop` finds no socket to end while one is being made.
    """

    def __init__(self, target: Target, seconds: float, check: Callable[[], None]) -> None:
        super().__init__(target.host, target.port, timeout=seconds)
        self._target = target
        self._check = check

    def connect(self) -> None:
        """Connect, to no other address than the target's."""
        self.sock = socket.create_connection((self._target.address, self.port), self.timeout)
        self._check()

    def stop(self) -> None:
        """End whatever waits for the connection, once there is a socket."""
        with suppress(OSError, AttributeError):
            self.sock.shutdown(socket.SHUT_RDWR)


class _SecureConnection(_Connection):
    default_port = 443

    def connect(self) -> None:
        """Connect, and have the host prove its name."""
        super().connect()
        self.sock = secure = _tls().wrap_socket(
            self.sock, server_hostname=self.host, do_handshake_on_connect=False
        )
        self._check()
        secure.do_handshake()


def _connection(target: Target, seconds: float, check: Callable[[], None]) -> _Connection:
    kind = _SecureConnection if target.scheme == "https" else _Connection
    return kind(target, seconds, check)


@lru_cache(maxsize=1)
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()
