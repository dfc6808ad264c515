"""What runs of a session: its threads and processes, for tests that look whether any are left."""

from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["DEADLINE", "children", "linux_only", "threads", "wait_until"]

DEADLINE = 60.0  # seconds for what must happen: nothing is waited for when all is well
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def threads() -> set[threading.Thread]:
    return {t for t in threading.enumerate() if t.name.startswith("siglip")}


def children() -> set[int]:
    """The processes that this one has started, zombies too."""
    found: set[int] = set()
    for task in Path(f"/proc/{os.getpid()}/task").glob("*/children"):
        with suppress(OSError):  # that thread has ended
            found.update(map(int, task.read_text().split()))
    return found


def wait_until(true: Callable[[], bool]) -> bool:
    end = time.monotonic() + DEADLINE
    while not true() and time.monotonic() < end:
        time.sleep(0.005)
    return true()
