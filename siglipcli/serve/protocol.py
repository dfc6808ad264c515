"""HTTP/1.1 by uvicorn and h11, with limits on clients that send or read too slowly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    import asyncio

    from siglipcli.serve.settings import ServeSettings

__all__ = ["Protocol"]


class Protocol(H11Protocol):
    """A connection that is cut where a request's head, or the reading of a response, takes too long.

    uvicorn itself limits only how long a connection idles between two requests.
    """

    head_seconds = read_seconds = 30.0

    @classmethod
    def with_limits(cls, settings: ServeSettings) -> type[Protocol]:
        """Return the class with a server's limits."""
        limits = {"head_seconds": settings.body_seconds, "read_seconds": settings.body_seconds}
        return cast("type[Protocol]", type("Protocol", (cls,), limits))

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for the head of the first request."""
        super().connection_made(transport)
        self._reading: asyncio.TimerHandle | None = None
        self._head = self.loop.call_later(self.head_seconds, self._cut_idle)

    def data_received(self, data: bytes) -> None:
        """Take bytes, and wait for the next head where none is whole."""
        super().data_received(data)
        if self._is_idle() and self._head.cancelled():
            self._head = self.loop.call_later(self.head_seconds, self._cut_idle)
        elif not self._is_idle():
            self._head.cancel()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timers."""
        self._head.cancel()
        self.resume_writing()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Wait for the client to read, for so long."""
        super().pause_writing()
        self._reading = self.loop.call_later(self.read_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on: the client has read."""
        super().resume_writing()
        if self._reading:
            self._reading.cancel()
            self._reading = None

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _cut_idle(self) -> None:
        if self._is_idle():
            self.transport.close()
