"""API keys: several, compared in constant time, and replaced while the server runs."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING

from siglipcli.errors import UsageError
from siglipcli.text import visible

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["KeyRing", "read_keys"]

LEAST = 8  # characters of a key
MOST_BYTES = 1 << 20  # of a file of keys


class KeyRing:
    """The keys that open this server; with none, it is open to everyone who can connect."""

    def __init__(self, keys: Iterable[str] = ()) -> None:
        self._digests: tuple[bytes, ...] = ()
        self.replace(keys)

    def __len__(self) -> int:
        return len(self._digests)

    def replace(self, keys: Iterable[str]) -> None:
        """Take these keys from now on, and no other."""
        self._digests = tuple(_digest(key) for key in keys)

    def accepts(self, authorization: str) -> bool:
        """Whether the value of an Authorization header has one of the keys, as a bearer's."""
        scheme, _, key = authorization.strip().partition(" ")
        digest = _digest(key.strip())
        # all of them, whichever fits: the time tells nothing of a key, nor of which it is
        matches = [hmac.compare_digest(digest, known) for known in self._digests]
        return scheme.lower() == "bearer" and any(matches)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def read_keys(path: Path | None, variable: str | None) -> list[str]:
    """Return the keys of a file, one per line (`#` begins a comment line), and of an environment variable.

    Raises UsageError for a file that cannot be read or has no key, and for keys that are too short; their
    text is in no message.
    """
    keys = _lines(path) if path else []
    if variable:
        keys.append(variable.strip())
    for key in keys:
        if len(key) < LEAST or not key.isascii() or not key.isprintable() or " " in key:
            raise UsageError(
                f"an API key has at least {LEAST} characters of ASCII and no blanks; make one with"
                " `openssl rand -hex 24`"
            )
    return keys


def _lines(path: Path) -> list[str]:
    name = visible(str(path))
    try:
        with path.open("rb") as file:
            text = file.read(MOST_BYTES).decode("utf-8")
    except OSError as error:
        raise UsageError(f"the keys in {name} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise UsageError(f"{name} is no text file with one API key per line") from None
    lines = [line.strip() for line in text.splitlines()]
    keys = [line for line in lines if line and not line.startswith("#")]
    if not keys:
        raise UsageError(f"{name} has no API key; write one per line")
    return keys
