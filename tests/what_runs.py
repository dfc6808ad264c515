"""What runs of a session: its threads and processes, for tests that look whether any are left."""

from __future__ import annotations

import os
import sys
import threading
import time
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
    tasks = Path(f"/proc/{os.getpid()}/task").glob("*/children")
    return {int(pid) for task in tasks for pid in task.read_text().split()}


def wait_until(true: Callable[[], bool]) -> bool:
    end = time.monotonic() + DEADLINE
    while not true() and time.monotonic() < end:
        time.sleep(0.005)
    return true()
