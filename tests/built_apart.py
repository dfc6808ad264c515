"""Functions that test_build_process.py has called in a process of their own."""

from __future__ import annotations

import errno
import logging
import os
import signal
import time
from typing import TYPE_CHECKING

from siglipcli.errors import CheckpointError

if TYPE_CHECKING:
    from pathlib import Path


class LibraryError(RuntimeError):
    """An error as a native library defines it."""


def note_process(file: Path) -> None:
    """Import something, print something, and write the process's number."""
    import wave  # noqa: F401

    os.write(1, b"a library's chatter")
    file.write_text(str(os.getpid()))


def log(words: str) -> None:
    logging.getLogger("siglipcli").warning("%s here", words)
    logging.getLogger("siglipcli").debug("not at this level")


def fail(kind: str) -> None:
    if kind == "own":
        raise CheckpointError(
            "x.bin is damaged", code="damaged_file", path="x.bin", reason=OSError(5)
        )
    if kind == "disk":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/cache/engines")
    if kind == "unpicklable":
        raise ValueError("no number", lambda: None)
    raise LibraryError("basic_ios::clear")


def end_by(number: int) -> None:
    os.kill(os.getpid(), number)
    signal.pause()


def sleep(file: Path) -> None:
    note_process(file)
    time.sleep(60)
