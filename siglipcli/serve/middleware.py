"""What every request passes: an id, a line in the log, metrics, the checks of who may ask, and its end.

A request whose client has gone is cancelled. A response to a request whose body was not read in full closes
the connection, after the rest was read for a moment: a reset would lose the response.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse

from siglipcli.serve.errors import ApiError
from siglipcli.serve.logs import Access, access

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from siglipcli.serve.engine import Engine
    from siglipcli.serve.gate import Gate
    from siglipcli.serve.memory import RequestMemory

__all__ = ["Front", "Guard"]

logger = logging.getLogger("siglipcli")

_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_GONE = 499  # nginx's word for a client that left
_LARGE = 1 << 16  # bytes of a response that the system takes at once
_REST_SECONDS, _REST_BYTES = 1.0, 64_000_000  # of a body that is read to be dropped


class Front:
    """Gives each request an id, times, counts and logs it, and cancels it when its client has gone."""

    def __init__(
        self, app: ASGIApp, engine: Engine, memory: RequestMemory, paths: dict[int, str]
    ) -> None:
        self._app = app
        self._engine = engine
        self._memory = memory
        self._paths = paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        exchange = _Exchange(scope, receive, send, self._memory)
        self._memory.begin(exchange)
        self._engine.active += 1
        try:
            await self._serve(exchange)
        finally:
            try:
                self._memory.end(exchange)
                self._record(exchange)
            finally:  # last: who sees that nothing is active finds all of it recorded
                self._engine.active -= 1

    async def _serve(self, exchange: _Exchange) -> None:
        work = asyncio.ensure_future(self._app(exchange.scope, exchange.receive, exchange.send))
        watch = asyncio.ensure_future(exchange.client_gone())
        try:
            await asyncio.wait({work, watch}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                work.cancel()
            await asyncio.wait({work})
        finally:
            work.cancel()
            watch.cancel()
        if work.cancelled():
            exchange.is_gone = True
        elif (error := work.exception()) and not exchange.is_gone:
            exchange.log_bug(error)
            if exchange.has_no_response:
                words = "This is a bug in siglip; the server's log has more."
                response = JSONResponse(ApiError(500, words).to_dict(), 500)
                await response(exchange.scope, exchange.receive, exchange.send)

    def _record(self, exchange: _Exchange) -> None:
        scope = exchange.scope
        seconds = time.perf_counter() - exchange.started
        path = self._paths.get(id(scope.get("endpoint")), "other")
        metrics = self._engine.metrics
        metrics.requests.labels(path, exchange.final_status).inc()
        metrics.latency.labels(path).observe(seconds)
        client = (scope.get("client") or ("-",))[0]
        line = (
            client,
            scope["method"],
            scope["path"],
            exchange.final_status,
            round(seconds * 1e3, 1),
        )
        access.info(Access(*line, exchange.received, exchange.id))


class _Exchange:
    """One request and its response, as they go by."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, memory: RequestMemory) -> None:
        self.scope = scope
        self.started = time.perf_counter()
        self.received = 0
        self.is_gone = False
        self._memory = memory
        self._receive, self._send = receive, send
        self._status: int | None = None
        self._is_read = asyncio.Event()
        headers = Headers(scope=scope)
        request_id = headers.get("x-request-id", "")
        self.id = request_id if _ID.fullmatch(request_id) else uuid.uuid4().hex
        self._has_body = "content-length" in headers or "transfer-encoding" in headers
        self._awaits_go = headers.get("expect", "").lower() == "100-continue"

    @property
    def has_no_response(self) -> bool:
        """Whether a response can still be begun."""
        return self._status is None

    @property
    def final_status(self) -> int:
        """The response's status; 499 where the client left before there was one."""
        return self._status or (_GONE if self.is_gone else 500)

    async def receive(self) -> Message:
        """Pass on a part of the body."""
        message = await self._receive()
        self._awaits_go = False
        self.received += len(message.get("body", b""))
        if message["type"] == "http.disconnect":
            self.is_gone = True
        if self.is_gone or not message.get("more_body", False):
            self._is_read.set()
        return message

    async def client_gone(self) -> None:
        """Wait until the client has gone, once the body was read."""
        await self._is_read.wait()
        while not self.is_gone:
            message = await self._receive()
            self.is_gone = message["type"] == "http.disconnect"

    async def send(self, message: Message) -> None:
        """Pass on a part of the response; after the last, wait until nearly all of a large one was read."""
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["x-request-id"] = self.id
            headers.setdefault("x-content-type-options", "nosniff")
            if not await self._is_whole():
                headers["connection"] = "close"
            self._status = message["status"]
        elif len(message.get("body", b"")) > _LARGE and not message.get("more_body", False):
            # the request is under way, and its memory counted, until uvicorn takes the empty end
            self._memory.hold(len(message["body"]))
            await self._send({**message, "more_body": True})
            message = {"type": message["type"], "body": b"", "more_body": False}
        await self._send(message)

    async def _is_whole(self) -> bool:
        """Whether the body was read, if need be by dropping the rest of it."""
        if not self._has_body or self._is_read.is_set():
            return True
        if self._awaits_go:
            return False
        most = self.received + _REST_BYTES
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._drop_rest(most), _REST_SECONDS)
        return self._is_read.is_set()

    async def _drop_rest(self, most: int) -> None:
        while not self._is_read.is_set() and self.received < most:
            await self.receive()

    def log_bug(self, error: BaseException) -> None:
        """Log an error that nobody expected, and where it was raised."""
        at: Any = error.__traceback__
        while at and at.tb_next:
            at = at.tb_next
        place = f"{at.tb_frame.f_code.co_filename}:{at.tb_lineno}" if at else "?"
        words = f"{type(error).__name__}: {error}"
        logger.error("this is a bug in siglip: %s, at %s, id=%s", words, place, self.id)


class Guard:
    """Turns away what may not come in: before the body is read, and before any route is tried."""

    def __init__(self, app: ASGIApp, gate: Gate) -> None:
        self._app = app
        self._gate = gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request that may come in, or say why not."""
        try:
            self._gate.check(scope)
        except ApiError as error:
            response = JSONResponse(error.to_dict(), error.status, error.headers)
            await response(scope, receive, send)
            return
        await self._app(scope, receive, send)
