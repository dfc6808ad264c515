"""One file from the hub onto this disk: taken up where it broke off, bounded, checked at its end.

huggingface_hub lends its HTTP session, and with it proxies, certificates, tokens and settings of the
environment. The bytes are written here: the library (2.4) starts a download that was killed anew, leaves
what it had, and reads a body for as long as a server sends one.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from siglipcli.errors import CheckpointError, ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from siglipcli.encoders.remote import Remote

__all__ = ["Patience", "fetch", "read_body"]

_TIMEOUT = 10.0  # seconds without a byte
_BLOCK = 1 << 20
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
_GOOD_START = 1 << 20  # bytes after which a connection that drops does not count as a failure
_PARTIAL = 206


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a server is borne with.

    A download fails after `attempts` connections that dropped in a row, with a pause of `pause` seconds that
    doubles between them. A connection that brings fewer than `least` bytes in `seconds` counts as dropped.
    """

    attempts: int = 5
    pause: float = 1.0
    seconds: float = 60.0
    least: int = 64_000


class _BrokenError(Exception):
    """A connection that dropped, or might as well have."""


def fetch(
    remote: Remote,
    partial: Path,
    report: Callable[[int], None] = lambda _: None,
    patience: Patience | None = None,
) -> None:
    """Bring `partial` up to the whole content of `remote`, and check it; `report` hears of the bytes done.

    What is there already is gone on with. Raises ModelError (more bytes than announced), CheckpointError
    (whole, but another content), OSError, or what the HTTP library raises.
    """
    patience = patience or Patience()
    resumed = _size(partial) > 0
    _fill(remote, partial, report, patience)
    if _matches(remote, partial):
        return
    partial.unlink()
    if resumed:  # the start of it may have been of other bytes
        _fill(remote, partial, report, patience)
        if _matches(remote, partial):
            return
        partial.unlink()
    raise CheckpointError(
        f"what the hub sends for {remote.url} is not what it announces: its digest differs.",
        code="hub_damaged",
        url=remote.url,
    )


def _fill(remote: Remote, partial: Path, report: Callable[[int], None], patience: Patience) -> None:
    failures = 0
    while True:
        start = _size(partial)
        try:
            _go_on(remote, partial, report, patience)
        except Exception as error:
            if not _may_pass(error):
                raise
            failures = 1 if _size(partial) - start > _GOOD_START else failures + 1
            if failures >= patience.attempts:
                raise
            time.sleep(patience.pause * 2 ** (failures - 1))
        else:
            return


def _may_pass(error: Exception) -> bool:
    """Whether trying again may help: not for a full disk, nor for a server that refuses."""
    if isinstance(error, ModelError) or getattr(error, "errno", None) is not None:
        return False
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status is None or status >= 500 or status in {408, 429}  # noqa: PLR2004


def _go_on(
    remote: Remote, partial: Path, report: Callable[[int], None], patience: Patience
) -> None:
    """Ask for what is missing, and append it."""
    start = _size(partial)
    if start > remote.size:
        partial.unlink()
        start = 0
    if start == remote.size and partial.exists():
        return
    headers = {"Range": f"bytes={start}-"} if start else {}
    with _stream(remote.url, headers, _TIMEOUT) as (status, answered, chunks):
        done = start if status == _PARTIAL and _starts_at(start, answered) else 0
        with partial.open("r+b" if done else "wb") as file:
            file.seek(done)
            file.truncate()
            report(done)
            for chunk in _paced(chunks, patience):
                done += len(chunk)
                if done > remote.size:
                    raise _too_much(remote.url, remote.size)
                file.write(chunk)
                report(done)
    if done < remote.size:
        raise _BrokenError(f"the connection ended after {done:,} of {remote.size:,} bytes")


def _starts_at(start: int, headers: Mapping[str, str]) -> bool:
    match = _RANGE.fullmatch(headers.get("Content-Range", ""))
    if match is None or int(match[1]) != start:
        raise _BrokenError("the hub sends another part of the file than it was asked for")
    return True


def read_body(url: str, limit: int, patience: Patience | None = None) -> bytes:
    """Return what is at `url`, once and unbroken. Raises as `fetch` does; ModelError over `limit` bytes."""
    body = bytearray()
    with _stream(url, {}, _TIMEOUT) as (_, _, chunks):
        for chunk in _paced(chunks, patience or Patience()):
            body += chunk
            if len(body) > limit:
                raise _too_much(url, limit)
    return bytes(body)


def _too_much(url: str, limit: int) -> ModelError:
    return ModelError(f"the hub sends more than {limit:,} bytes for {url}.", code="hub_endless")


def _paced(chunks: Iterator[bytes], patience: Patience) -> Iterator[bytes]:
    """Pass chunks on; give up on a body that comes in drops."""
    begun, count = time.monotonic(), 0
    for chunk in chunks:
        yield chunk
        count += len(chunk)
        now = time.monotonic()
        if now - begun >= patience.seconds:
            if count < patience.least:
                raise _BrokenError(f"the hub sends only {count:,} bytes in {now - begun:.0f} s")
            begun, count = now, 0


@contextmanager
def _stream(
    url: str, headers: dict[str, str], timeout: float
) -> Iterator[tuple[int, Mapping[str, str], Iterator[bytes]]]:
    """Give status, headers and body of a GET. The session follows redirects, without the token elsewhere."""
    from huggingface_hub import utils

    tools: Any = utils  # documented, but not in its `__all__`
    # Compressed, lengths and ranges would be of something else.
    sent = {**tools.build_hf_headers(), "Accept-Encoding": "identity", **headers}
    session = tools.get_session()
    if hasattr(session, "stream"):  # httpx, from huggingface_hub 1.0
        with session.stream("GET", url, headers=sent, timeout=timeout) as response:
            tools.hf_raise_for_status(response)
            yield response.status_code, response.headers, response.iter_raw()
        return
    with session.get(url, headers=sent, timeout=timeout, stream=True) as response:
        tools.hf_raise_for_status(response)
        body = response.raw.stream(1024, decode_content=False)
        yield response.status_code, response.headers, body


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _matches(remote: Remote, path: Path) -> bool:
    """Whether the content has its name: SHA-256 for large files, git's SHA-1 (or a plain one) for small ones.

    A mirror may name small files otherwise: then only the length can be checked, as it was.
    """
    known = {64: ["sha256"], 40: ["git", "sha1"]}.get(len(remote.etag))
    return known is None or any(_digest(path, how) == remote.etag for how in known)


def _digest(path: Path, how: str) -> str:
    if how == "git":
        digest = hashlib.sha1(f"blob {_size(path)}\0".encode(), usedforsecurity=False)
    else:
        digest = hashlib.new(how, usedforsecurity=False)
    with path.open("rb") as file:
        os.fsync(file.fileno())
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
