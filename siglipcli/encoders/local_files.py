"""A model's files on this disk: regular files under a limit only, and one wording for what is wrong with them."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from siglipcli.errors import CheckpointError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["JSON_LIMIT", "TOKENIZER_LIMIT", "WEIGHTS_LIMIT", "Origin", "read", "read_json", "require_regular"]  # fmt: skip

JSON_LIMIT = 16 << 20  # bytes; published configs have a few kB
TOKENIZER_LIMIT = 512 << 20  # bytes; the largest published one has 34 MB
WEIGHTS_LIMIT = 256 << 30  # bytes; the largest published ones have 7.5 GB


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the files of `model` come from, which decides how a damaged one is replaced.

    `kind` is `folder`, `hub`, `demo` (installed with this program) or `engine` (built by it).
    """

    model: str
    kind: str = "folder"

    def damaged(self, path: Path, what: str) -> CheckpointError:
        """Return the error for a file that cannot be used: `what` is wrong with it, and what to do."""
        facts = {"path": str(path), "model": self.model}
        if self.kind == "hub":
            return CheckpointError(f"{path} {what}.", code="damaged_download", **facts)
        way_out = "Install siglipcli again." if self.kind == "demo" else "Get the file again."
        return CheckpointError(f"{path} {what}. {way_out}", code="damaged_file", **facts)

    def unreadable(self, path: Path, error: OSError) -> CheckpointError:
        """Return the error for a file that the operating system does not give."""
        return CheckpointError(
            f"{path} cannot be read: {error.strerror or error}.", code="unreadable", path=str(path)
        )


def read(path: Path, limit: int, origin: Origin) -> bytes:
    """Return a file's bytes. A device, a pipe, or a file over `limit` bytes is refused unread.

    Raises CheckpointError.
    """
    try:
        # Without O_NONBLOCK, to open a pipe waits for a writer.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        with open(descriptor, "rb") as file:  # noqa: PTH123
            _check(os.fstat(descriptor), path, limit, origin)
            return file.read(limit)
    except OSError as error:
        raise origin.unreadable(path, error) from error


def read_json(path: Path, origin: Origin) -> dict[str, Any]:
    """Return a JSON object, in which no number is NaN or infinite. Raises CheckpointError."""
    try:
        content = json.loads(read(path, JSON_LIMIT, origin), parse_constant=_not_json)
    except (ValueError, RecursionError) as error:
        raise origin.damaged(path, f"is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise origin.damaged(path, "is not a JSON object")
    return content


def _not_json(constant: str) -> None:
    raise ValueError(f"{constant} is no number in JSON")


def require_regular(path: Path, limit: int, origin: Origin) -> None:
    """Refuse a device, a pipe, or a file over `limit` bytes before a library opens it. Raises CheckpointError."""
    try:
        _check(path.stat(), path, limit, origin)
    except OSError as error:
        raise origin.unreadable(path, error) from error


def _check(state: os.stat_result, path: Path, limit: int, origin: Origin) -> None:
    if not stat.S_ISREG(state.st_mode):
        raise origin.damaged(path, "is not a regular file")
    if state.st_size > limit:
        raise origin.damaged(path, f"is too large: {state.st_size:,} bytes, over {limit:,}")
