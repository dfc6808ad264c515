"""Small pieces of a request's work run on the event loop, larger ones on a thread, or they would hold up the others."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["BYTES", "VALUES", "beside"]

T = TypeVar("T")

BYTES = 100_000
"""Bytes of JSON or base64 that take a few tenths of a millisecond to read."""
VALUES = 500
"""Values of JSON, or scores, that take about a millisecond to read, to make or to write."""


async def beside(work: Callable[[], T], size: int, most: int) -> T:
    """Do `work` here where its `size` is at most `most`, else beside the event loop."""
    return work() if size <= most else await asyncio.to_thread(work)
