"""Images → embeddings for all requests: known ones from memory, the same one of two requests once."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from siglipcli.embeddings import Embedded
from siglipcli.online import QueueTimeoutError
from siglipcli.results import Failure, Source
from siglipcli.serve.cache import Cache
from siglipcli.serve.threads import beside
from siglipcli.store import content_digest

if TYPE_CHECKING:
    from collections.abc import Hashable

    from siglipcli.serve.metrics import Metrics
    from siglipcli.serve.settings import ServeSettings
    from siglipcli.session import Session

    Result: TypeAlias = Embedded | Failure

__all__ = ["ImageVectors"]

_INLINE = 200_000  # bytes whose digest is taken on the event loop: 0.2 ms
_REMEMBERED = 64_000_000  # bytes of vectors: about 20,000 images


@dataclass
class _Shared:
    """An image that is being encoded, and how many wait for it."""

    future: asyncio.Future[Result]
    waiters: int = 0


class ImageVectors:
    """The images of one session. For one event loop.

    `last_encoded` is when an image was last encoded, by `time.monotonic()`; 0.0 before the first.
    """

    def __init__(self, session: Session, settings: ServeSettings, metrics: Metrics) -> None:
        self._online = session.online(self._heard)
        self._settings = settings
        self._metrics = metrics
        self._known: Cache[Embedded] = Cache(_REMEMBERED)
        self._shared: dict[bytes, _Shared] = {}
        self.last_encoded = 0.0

    def close(self) -> None:
        """Drop what waits."""
        self._online.close()

    def _heard(self, count: int) -> None:
        if not count:  # the model gave nothing finite: that is no sign of health
            return
        self.last_encoded = time.monotonic()
        self._metrics.batches.observe(count)
        self._metrics.encoded.inc(count)

    async def fresh(self, data: bytes) -> Result:
        """Encode an image whatever is known of it: to see whether that can be done."""
        seconds = self._settings.queue_seconds
        source = Source("image", data)
        return await asyncio.wrap_future(
            self._online.submit(source, owner="health", seconds=seconds, fresh=True)
        )

    async def get(self, data: bytes, name: str, owner: Hashable) -> Result:
        """Return an image's embedding, or why it has none, under its name.

        A call that is cancelled drops the image where no other waits for it. Raises QueueTimeoutError.
        """
        result = await self._get(data, owner)
        if isinstance(result, Failure):
            self._metrics.failures.labels(result.kind).inc()
            return replace(result, file=name)
        return replace(result, source=Source(name, b""))

    async def _get(self, data: bytes, owner: Hashable) -> Result:
        digest = await beside(lambda: content_digest(data), len(data), _INLINE)
        end = time.monotonic() + self._settings.queue_seconds
        while True:
            if known := self._known.get(digest):
                self._metrics.stored.labels("memory").inc()
                return known
            if is_joined := digest in self._shared:
                self._metrics.stored.labels("request").inc()
            else:
                seconds = max(end - time.monotonic(), 0)
                self._shared[digest] = self._begin(digest, data, owner, seconds)
            try:
                return await self._wait(digest, self._shared[digest])
            except QueueTimeoutError:
                if not is_joined or time.monotonic() >= end:
                    raise  # or it was the other request's time that was up

    def _begin(self, digest: bytes, data: bytes, owner: Hashable, seconds: float) -> _Shared:
        source = Source("image", data)
        waiting = self._online.submit(source, owner=owner, seconds=seconds)
        future = asyncio.wrap_future(waiting)
        future.add_done_callback(lambda done: self._done(digest, done))
        return _Shared(future)

    def _done(self, digest: bytes, done: asyncio.Future[Result]) -> None:
        shared = self._shared.get(digest)
        if shared and shared.future is done:
            del self._shared[digest]
        if done.cancelled() or done.exception():
            return
        result = done.result()
        if isinstance(result, Embedded):
            if result.stored:
                self._metrics.stored.labels("store").inc()
            vector = np.array(result.vector)  # not a view, which would keep its whole batch
            known = Embedded(Source("image", b""), vector, stored=True)
            self._known.put(digest, known, vector.nbytes)

    async def _wait(self, digest: bytes, shared: _Shared) -> Result:
        shared.waiters += 1
        try:
            return await asyncio.shield(shared.future)
        finally:
            shared.waiters -= 1
            if not shared.waiters and not shared.future.done():
                if self._shared.get(digest) is shared:
                    del self._shared[digest]
                shared.future.cancel()
