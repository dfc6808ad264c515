"""Images that come one by one, from many callers: those that wait together are encoded together.

A run over files (`pipeline.batches`) gives results in the order of its inputs, so that one slow image keeps
back what follows it. Here each result is given as soon as it is there, and callers take turns. The stages
are the pipeline's own: images are read and decoded by so many threads, a bounded number ahead of the encoder;
whenever it is free, it gets what is ready, up to its batch size. So nothing waits for company, and batches
grow by themselves where images come faster than they are encoded.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Condition, Thread
from typing import TYPE_CHECKING

from siglipcli import pipeline
from siglipcli.embeddings import Batch, Embedded
from siglipcli.errors import SiglipError, UsageError
from siglipcli.images.readers import Readers, Task
from siglipcli.images.worker import too_slow
from siglipcli.machine import available_cpus
from siglipcli.pipeline import Unread
from siglipcli.results import Failure, Source

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

    from siglipcli.encoders import Encoder
    from siglipcli.images.decoders import Decoder
    from siglipcli.pipeline import LoadOptions, Part
    from siglipcli.resources import Resources
    from siglipcli.store import Space

__all__ = ["Online", "QueueTimeoutError"]

_SLICE = 1.0  # seconds between two looks at what takes long

logger = logging.getLogger("siglipcli")


class QueueTimeoutError(SiglipError):
    """An image waited too long for the model."""


@dataclass(eq=False, slots=True)
class _Item:
    """An image on its way; `part` is what reading it gave."""

    source: Source
    space: Space | None
    deadline: float
    future: Future[Embedded | Failure] = field(default_factory=Future)
    task: Task[_Item, None] | None = None
    part: Part | None = None

    @property
    def is_over(self) -> bool:
        """Whether nobody waits for it any more."""
        return self.future.done()


class _Turns:
    """A queue in which owners take turns, whoever has how much in it."""

    def __init__(self) -> None:
        self._queues: dict[Hashable, deque[_Item]] = {}

    def push(self, owner: Hashable, item: _Item) -> None:
        self._queues.setdefault(owner, deque()).append(item)

    def pop(self) -> _Item | None:
        """Take the next item; its owner's others come after everyone else's next."""
        for owner in self._queues:
            queue = self._queues.pop(owner)
            item = queue.popleft()
            if queue:
                self._queues[owner] = queue  # at the end now
            return item
        return None

    def purge(self) -> None:
        """Drop what nobody waits for any more."""
        for owner, queue in list(self._queues.items()):
            alive = deque(item for item in queue if not item.is_over)
            if alive:
                self._queues[owner] = alive
            else:
                del self._queues[owner]

    def __iter__(self) -> Iterator[_Item]:
        for queue in self._queues.values():
            yield from queue


class Online:
    """Encodes images for any number of callers, as `Session.online` says.

    `pending` counts images that are not yet done. Any thread may call.
    """

    def __init__(
        self,
        encoder: Encoder,
        load_options: LoadOptions,
        space: Space | None,
        resources: Resources,
        heard: Callable[[int], object] = int,
    ) -> None:
        self._encoder = encoder
        self._options = load_options
        self._space = space
        self._pool = resources.encoding
        self._heard = heard
        self._workers = load_options.workers or available_cpus()
        self._turns = _Turns()
        self._decoding: set[_Item] = set()
        self._ready: deque[_Item] = deque()
        self._calls = 0  # of the encoder, under way
        self._encoding: set[_Item] = set()
        self._changed = Condition()
        self._is_closed = False
        self._readers: Readers[_Item, None] = Readers(
            self._workers,
            self._read,
            lambda _item: None,
            seconds=load_options.timeout,
            isolate=load_options.isolate,
            pool=resources.decoders,
        )
        Thread(target=self._watch, name="siglip-online", daemon=True).start()

    def submit(
        self, source: Source, *, owner: Hashable = None, seconds: float, fresh: bool = False
    ) -> Future[Embedded | Failure]:
        """Hand in an image; it waits `seconds` at most until it is encoded, then QueueTimeoutError.

        Owners take turns. `fresh`: past the store, neither looked up nor kept. A future that is cancelled
        costs nothing more, unless the image is being decoded or encoded already. It raises UsageError (code
        `closed`) where the session is closed first, and whatever the encoder raised.
        """
        item = _Item(source, None if fresh else self._space, time.monotonic() + seconds)
        with self._changed:
            if self._is_closed:
                item.future.cancel()
                return item.future
            self._turns.push(owner, item)
            self._go_on()
            self._changed.notify_all()
        return item.future

    def close(self) -> None:
        """Drop what waits; what is being encoded ends by itself."""
        with self._changed:
            self._is_closed = True
            for item in [*self._turns, *self._decoding, *self._ready]:
                item.future.cancel()
            self._turns, self._ready = _Turns(), deque()
            self._changed.notify_all()
        self._readers.close()

    # --- under the lock ---------------------------------------------------------------------------
    # What waits for the encoder is settled there only: an image that is taken cannot be done already.

    def _batch_size(self) -> int:
        encoder = self._encoder
        return min(self._options.batch_size or encoder.batch_size, encoder.batch_limit)

    def _go_on(self) -> None:
        """Hand out what can be decoded and encoded now."""
        ahead = self._workers + self._batch_size()
        while len(self._decoding) + len(self._ready) < ahead and (item := self._turns.pop()):
            if not item.is_over:
                self._begin_decoding(item)
        while self._calls < self._encoder.in_flight and (items := self._next_batch()):
            self._begin_encoding(items)

    def _begin_decoding(self, item: _Item) -> None:
        self._decoding.add(item)
        try:
            item.task = self._readers.submit(item)
        except SiglipError as error:  # no thread can be started
            self._decoding.discard(item)
            _fail(item, error)

    def _begin_encoding(self, items: list[_Item]) -> None:
        self._calls += 1
        self._encoding.update(items)
        try:
            job = self._pool.submit(self._encode, items)
        except RuntimeError:  # the session is closed, or no thread can be started
            self._end_encoding(items)
            _fail_as_closed(items)
        else:
            job.add_done_callback(lambda job: _fail_as_closed(items) if job.cancelled() else None)

    def _end_encoding(self, items: list[_Item]) -> None:
        if not self._encoding.isdisjoint(items):
            self._calls -= 1
            self._encoding.difference_update(items)

    def _next_batch(self) -> list[_Item]:
        """Take what is ready, up to a batch, and is still waited for."""
        items: list[_Item] = []
        while self._ready and len(items) < self._batch_size():
            item = self._ready.popleft()
            if not item.is_over and item.future.set_running_or_notify_cancel():
                items.append(item)
        return items

    # --- on a reader's thread ---------------------------------------------------------------------

    def _read(self, item: _Item, decoder: Decoder) -> None:
        try:
            if not item.is_over:
                unread = Unread(item.source, None)
                preprocess, options = self._encoder.preprocess, self._options
                item.part = pipeline.read(unread, preprocess, options, item.space, decoder)
                if isinstance(item.part, Batch) or item.part.pixels is None:
                    self._finish(item)
        except BaseException as error:  # noqa: BLE001  # raised where the image is waited for
            _fail(item, error)
        with self._changed:
            self._decoding.discard(item)
            if not item.is_over and item.part:
                self._ready.append(item)
            self._go_on()

    def _finish(self, item: _Item) -> None:
        """Give the result of what needs no encoding."""
        assert item.part
        batch = pipeline.encode([item.part], self._encoder, item.space)
        _give(item, next(batch.embedded()))

    # --- on a thread that encodes -----------------------------------------------------------------

    def _encode(self, items: list[_Item]) -> None:
        try:
            parts = [item.part for item in items if item.part]
            batch = pipeline.encode(parts, self._encoder, self._space)
            results = list(batch.embedded())
            self._heard(sum(isinstance(result, Embedded) for result in results))
            for item, result in zip(items, results, strict=True):
                _give(item, result)
        except BaseException as error:  # noqa: BLE001  # raised where the images are waited for
            logger.warning("images could not be encoded: %s: %s", type(error).__name__, error)
            for item in items:
                _fail(item, error)
        with self._changed:
            self._end_encoding(items)
            self._go_on()

    # --- on a thread of its own -------------------------------------------------------------------

    def _watch(self) -> None:
        """Look every second at what takes long."""
        while True:
            with self._changed:
                while not (self._is_closed or self._decoding or self._is_anything_waiting()):
                    self._changed.wait()
                if self._is_closed:
                    return
            start = time.monotonic()
            time.sleep(_SLICE)
            self._readers.waited += min(time.monotonic() - start, _SLICE)
            self._look()

    def _look(self) -> None:
        """Give up what takes too long; whatever goes wrong with that, the next look is taken."""
        for step in (self._give_up_decoders, self._expire):
            try:
                step()
            except Exception:
                logger.exception("images that wait could not be looked at")

    def _is_anything_waiting(self) -> bool:
        return bool(self._ready) or next(iter(self._turns), None) is not None

    def _give_up_decoders(self) -> None:
        """Do what `Task.result` does, for all images at once."""
        with self._changed:
            for item in list(self._decoding):
                if item.task and self._readers.is_over(item.task):
                    self._give_up(item, item.task)
            self._go_on()

    def _give_up(self, item: _Item, task: Task[_Item, None]) -> None:
        try:
            if not self._readers.give_up(task):
                return
        except SiglipError as error:
            _fail(item, error)
        else:
            late = too_slow(self._options.timeout)
            _give(item, Failure(item.source.name, late.kind, str(late)))
        self._decoding.discard(item)

    def _expire(self) -> None:
        now = time.monotonic()
        with self._changed:
            late = [item for item in self._waiting() if item.deadline < now and not item.is_over]
            for item in late:
                if item in self._decoding and not (item.task and item.task.future.cancel()):
                    continue  # begun just now
                self._decoding.discard(item)
                item.source = Source(item.source.name, b"")  # a reader's queue keeps the rest
                _fail(item, QueueTimeoutError("the image waited too long for the model"))
            self._turns.purge()
            self._go_on()

    def _waiting(self) -> Iterator[_Item]:
        """Yield what waits for a turn, for a reader or for the encoder."""
        yield from self._turns
        yield from (item for item in self._decoding if item.task and not item.task.reader)
        yield from self._ready


def _give(item: _Item, result: Embedded | Failure) -> None:
    """Set a result, unless there is one."""
    if not item.is_over:
        _settle(item, lambda: item.future.set_result(result))


def _fail(item: _Item, error: BaseException) -> None:
    if not item.is_over:
        _settle(item, lambda: item.future.set_exception(error))


def _fail_as_closed(items: list[_Item]) -> None:
    """Fail what was to be encoded in a session that is closed."""
    for item in items:
        _fail(item, UsageError("the session is closed; open another one", code="closed"))


def _settle(item: _Item, settle: Callable[[], None]) -> None:
    try:
        settle()
    except Exception:  # noqa: BLE001  # another thread was first: a result, or a cancel
        logger.debug("%s was settled twice", item.source.name)
