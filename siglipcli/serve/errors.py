"""Errors as clients see them: OpenAI's shape, and the one table from the library's errors to statuses.

    {"error": {"message": "…", "type": "invalid_request_error", "code": "too_many_images", "param": "input"}}

Only words that were written for clients are in it: no traceback, no path of this machine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from siglipcli.errors import (
    DeviceError,
    ImageError,
    LabelError,
    MissingExtraError,
    ModelError,
    OfflineError,
    SiglipError,
    UsageError,
)
from siglipcli.text import utf8

if TYPE_CHECKING:
    from collections.abc import Mapping

    from siglipcli.results import Failure

__all__ = ["ApiError", "failure_dict", "from_failure", "from_library"]

TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
"""Status → OpenAI's type of error; other 4xx are invalid requests, 5xx server errors."""

_STATUSES: tuple[tuple[type[SiglipError], int], ...] = (
    (ImageError, 422),
    (LabelError, 400),
    (MissingExtraError, 500),
    (UsageError, 400),
    (OfflineError, 503),
    (ModelError, 500),
    (DeviceError, 500),
    (SiglipError, 500),
)
"""The first class that fits decides."""

_KINDS = {
    "too_large": 413,
    "timeout": 422,
    "url_timeout": 504,
    "url_failed": 502,
    "url_refused": 400,
}
"""Kinds of failed images that are not 422."""

_KINDS |= {"not_base64": 400, "non_finite": 500, "failed": 500}

_WORDS = {
    "too_large": "The image is larger than this server decodes.",
    "timeout": "The image took too long to decode.",
    "crashed": "The image ended its decoder; it may be hostile.",
    "unsupported": "The image's format is not decoded here; send a JPEG, PNG or WebP.",
}
"""Kind of a failed image → what clients read, where the library's words are for who runs the program."""


class ApiError(Exception):
    """What ends a request: a status, and an error in OpenAI's shape. `headers` go with the response."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        type: str | None = None,  # noqa: A002  # the key in the error
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.type = type or TYPES.get(status) or _type_of(status)
        self.param = param
        self.headers = dict(headers or {})

    def to_dict(self) -> dict[str, Any]:
        """Return the response's body."""
        words = {"message": utf8(str(self)), "type": self.type, "code": self.code}
        return {"error": words | {"param": self.param}}


def _type_of(status: int) -> str:
    return "server_error" if status >= 500 else "invalid_request_error"  # noqa: PLR2004


def from_library(error: SiglipError, *, param: str | None = None) -> ApiError:
    """Return a library error as clients see it: its words where they are about the request."""
    status = next(status for kind, status in _STATUSES if isinstance(error, kind))
    if error.code == "closed":
        return ApiError(503, "The server is stopping.", code="stopping")
    if isinstance(error, ImageError):
        return ApiError(
            _KINDS.get(error.kind, status), _words(error.kind, str(error)), code=error.kind
        )
    if status >= 500:  # noqa: PLR2004
        return ApiError(
            status, "The model cannot be used; the server's log says why.", code=error.code
        )
    return ApiError(status, str(error), code=error.code, param=param)


def from_failure(failure: Failure, *, param: str | None = None) -> ApiError:
    """Return a failed image as the error of a whole request, for formats with one image."""
    status = _KINDS.get(failure.kind, 422)
    message = _words(failure.kind, failure.message)
    return ApiError(status, message, code=failure.kind, param=param)


def failure_dict(failure: Failure) -> dict[str, Any]:
    """Return a failed image as `error` of an element, for formats with several images."""
    return {"kind": failure.kind, "message": utf8(_words(failure.kind, failure.message))}


def _words(kind: str, message: str) -> str:
    return _WORDS.get(kind, message)
