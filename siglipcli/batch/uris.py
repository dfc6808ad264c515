"""URIs and paths: their pieces, what of them may be shown, and which place they name however they are typed."""

from __future__ import annotations

import os
import re

__all__ = ["ARROW", "LOCAL", "host", "identity", "redacted", "split", "with_credentials"]

ARROW = ("s3", "gs", "gcs", "abfs", "abfss", "hdfs", "viewfs")
"""Schemes that pyarrow has a client for."""
LOCAL = ("file", "")
_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://([^/]*)/?(.*)", re.DOTALL)
_QUERY = re.compile(r"\?([\w.-]+=.*)$", re.DOTALL)  # a key of a store may hold a ? of its own
_SECRET = re.compile(
    r"(?:key|secret|token|passw|credential|signature|\bsig|\bsas)[\w.-]*=", re.IGNORECASE
)


def split(uri: str) -> tuple[str, str, str, str]:
    """Return a URI's scheme, authority, path and query; a plain path has only a path.

    A secret with a slash of its own (`s3://KEY:a/b@bucket`) and a query right after the authority belong where
    they are meant to, so that they are not taken for a path.
    """
    match = _URI.fullmatch(uri)
    if not match:
        return "", "", uri, ""
    scheme, authority, path = match[1].lower(), match[2], match[3]
    if "?" in authority:
        authority, _, query = authority.partition("?")
        return scheme, authority, "", f"{query}/{path}" if path else query
    if _is_half(scheme, authority) and "@" in path:
        more, _, path = path.rpartition("@")
        name, _, path = path.partition("/")
        authority = f"{authority}/{more}@{name}"
    end = _QUERY.search(path)
    return scheme, authority, path[: end.start()] if end else path, end[1] if end else ""


def _is_half(scheme: str, authority: str) -> bool:
    """Whether an authority is a user and the start of a password: what follows its colon is no port."""
    _, colon, port = authority.partition(":")
    return bool(colon) and "@" not in authority and (scheme == "s3" or not port.isdecimal())


def redacted(uri: str) -> str:
    """Return a URI without credentials and query: fit for records and messages."""
    scheme, authority, path, _ = split(uri)
    if scheme == "file":
        return f"/{path}"
    return f"{scheme}://{host(scheme, authority)}/{path}" if scheme else path


def host(scheme: str, authority: str) -> str:
    """Return an authority without user and password."""
    if scheme.startswith("abfs"):  # container@account, or container:password@account
        user, at, account = authority.rpartition("@")
        return f"{user.partition(':')[0]}{at}{account}"
    return authority.rpartition("@")[2]


def with_credentials(uri: str) -> bool:
    """Whether a URI holds a password, in its authority or its query."""
    _, authority, _, query = split(uri)
    return ":" in authority.rpartition("@")[0] or bool(_SECRET.search(query))


def identity(uri: str) -> str:
    """Return the name of a place that is the same however a local path is typed; others as they are."""
    return os.path.abspath(redacted(uri)) if split(uri)[0] in LOCAL else uri  # noqa: PTH100
