"""Images from bytes to the model's own square, and what one may cost; `decoding` says how they are decoded.

Pillow and all that decodes are imported with the first image that is: one that the store knows needs neither.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from siglipcli.errors import ImageError

if TYPE_CHECKING:
    from pathlib import Path

    from siglipcli.images.decoding import Header, decode, header, read
    from siglipcli.images.formats import FORMATS, is_delicate
    from siglipcli.results import Source

__all__ = [
    "DEFAULT_LIMITS",
    "FORMATS",
    "Header",
    "Limits",
    "decode",
    "header",
    "is_delicate",
    "load_bytes",
    "read",
]

_HOME = {
    "FORMATS": "formats",
    "Header": "decoding",
    "decode": "decoding",
    "header": "decoding",
    "is_delicate": "formats",
    "read": "decoding",
}


def __getattr__(name: str) -> object:
    """Import what decodes on first use."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


@dataclass(frozen=True, slots=True)
class Limits:
    """What an image may cost: pixels once decoded (in millions), bytes before."""

    max_megapixels: float = 100
    max_bytes: int = 1 << 30


DEFAULT_LIMITS = Limits()


def load_bytes(source: Source, limits: Limits = DEFAULT_LIMITS) -> bytes:
    """Return the source's whole content. Never waits on a FIFO, never opens a device.

    Raises ImageError: vanished, permission, is_directory, not_a_file, unreadable, too_large.
    """
    if isinstance(source.content, bytes):
        _check_bytes(len(source.content), limits)
        return source.content
    try:
        return _read_file(source.content, limits)
    except (FileNotFoundError, NotADirectoryError):
        raise ImageError("vanished", "The file is gone: it was moved or deleted.") from None
    except PermissionError:
        raise ImageError("permission", "No permission to read this file.") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or str(error)
        raise ImageError("unreadable", f"The file cannot be read: {reason}.") from error
    except MemoryError:
        raise ImageError("too_large", "Not enough memory to read this file.") from None


def _read_file(path: Path, limits: Limits) -> bytes:
    info = path.stat()  # before the open: opening a device can have effects
    if stat.S_ISDIR(info.st_mode):
        raise ImageError("is_directory", "This is a folder, not an image.")
    if not stat.S_ISREG(info.st_mode):
        raise ImageError(
            "not_a_file", "This is a pipe or a device; pass what it holds as bytes, or on stdin."
        )
    _check_bytes(info.st_size, limits)
    with open(path, "rb", buffering=0, opener=_open_without_waiting) as file:
        data = file.readall() or b""
    _check_bytes(len(data), limits)
    return data


def _open_without_waiting(path: str, flags: int) -> int:
    # O_NONBLOCK: should a FIFO take the file's place after the check, the open returns at once.
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _check_bytes(n_bytes: int, limits: Limits) -> None:
    if n_bytes > limits.max_bytes:
        raise ImageError("too_large", f"The file has more than {limits.max_bytes >> 20} MiB.")
