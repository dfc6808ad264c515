"""Who may ask: the Host header, the origin of a page, and the API key, before anything else is looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from siglipcli.serve.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Collection

    from starlette.types import Scope

    from siglipcli.serve.engine import Engine
    from siglipcli.serve.keys import KeyRing
    from siglipcli.serve.settings import ServeSettings

__all__ = ["Gate"]

_LOCAL = ("localhost", "127.0.0.1", "::1")
_READING = {"GET", "HEAD"}


class Gate:
    """Checks of one server. `public` are the paths that may be read without a key.

    A page of another site can make a browser send requests to 127.0.0.1, under a name of its own that points
    there (DNS rebinding) or as a form: the first is seen by its Host, the second by its Origin.
    """

    def __init__(
        self, settings: ServeSettings, engine: Engine, keys: KeyRing, public: Collection[str]
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._keys = keys
        self._public = {*public, *(f"/v1{path}" for path in public)}
        self._named = set(map(str.lower, settings.allow_hosts))
        self._hosts = {*_LOCAL, settings.host.lower(), *self._named}

    def check(self, scope: Scope) -> None:
        """Raise ApiError for a request that may not come in."""
        headers = Headers(scope=scope)
        is_public = scope["method"] in _READING and scope["path"] in self._public
        self._check_host(headers)
        self._check_origin(scope, headers)
        if self._engine.is_draining and scope["path"] not in {"/health", "/v1/health"}:
            raise ApiError(
                503, "The server is stopping.", code="stopping", headers={"Connection": "close"}
            )
        if len(self._keys) and not is_public:
            self._check_key(headers)

    def _check_host(self, headers: Headers) -> None:
        if self._settings.is_loopback and _name(headers.get("host", "")) not in self._hosts:
            raise ApiError(
                400, "This server is not known by the name in the Host header.", code="unknown_host"
            )

    def _check_origin(self, scope: Scope, headers: Headers) -> None:
        origin = headers.get("origin")
        if origin is None or scope["method"] in _READING or scope["method"] == "OPTIONS":
            return
        netloc = _netloc(origin)
        is_own = netloc == headers.get("host", "").lower() or _name(netloc) in self._named
        if not is_own and not {origin, "*"} & set(self._settings.cors):
            raise ApiError(403, "Pages of this origin may not use the server.", code="origin")

    def _check_key(self, headers: Headers) -> None:
        header = headers.get("authorization", "")
        if not self._keys.accepts(header):
            problem = "is not one of this server's keys" if header else "is missing"
            raise ApiError(
                401,
                f"The API key {problem}; send it as `Authorization: Bearer KEY`.",
                code="invalid_api_key",
                headers={"WWW-Authenticate": "Bearer"},
            )


def _name(host: str) -> str:
    """Return a Host header's name, lower case, without port and brackets; "" for what is none."""
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def _netloc(origin: str) -> str:
    """Return an origin's host and port, lower case; "" for what is none, as `null` is."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""
