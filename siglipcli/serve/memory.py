"""The memory that requests take: bodies as sent, the images in them, and responses that are not read yet."""

from __future__ import annotations

from collections import Counter
from contextvars import ContextVar

from siglipcli.serve.errors import ApiError

__all__ = ["RequestMemory"]

_request: ContextVar[object] = ContextVar("siglip_request", default=None)


class RequestMemory:
    """So many bytes for all requests; for one event loop. What runs for a request is known by its context."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._sizes: Counter[object] = Counter()
        self.total = 0

    def begin(self, request: object) -> None:
        """Count what this task, and those that it starts, take as this request's."""
        _request.set(request)

    def add(self, count: int) -> None:
        """Count bytes of the request. Raises ApiError (429) where all take too many for now."""
        if self.total + count > self._limit:
            raise ApiError(
                429,
                "Too much is being sent at once; try again.",
                code="busy",
                headers={"Retry-After": "2"},
            )
        self.hold(count)

    def hold(self, count: int) -> None:
        """Count bytes that are there already, and cannot be refused: those of a response."""
        self.total += count
        self._sizes[_request.get()] += count

    def end(self, request: object) -> None:
        """Forget a request that has ended."""
        self.total -= self._sizes.pop(request, 0)
