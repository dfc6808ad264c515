"""The one loop: list, look up, read ahead, encode in batches, yield embeddings in input order.

Stages run side by side, each a bounded number of items before the next: listing the inputs and asking
the store for them, reading and decoding what it does not have, encoding that. So decoding overlaps
the model, no stage waits for a slow neighbour with answers in hand, and memory does not grow with
the folder.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from queue import Empty, Queue
from threading import Event, Thread
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np

from siglipcli import images
from siglipcli.errors import ImageError
from siglipcli.machine import available_cpus
from siglipcli.records import Failure, Source
from siglipcli.store import Entry, FileState, content_digest, file_state

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import TypeAlias

    from numpy.typing import NDArray

    from siglipcli.models import Encoder
    from siglipcli.store import Space

    Pixels: TypeAlias = NDArray[np.uint8]
    Vector: TypeAlias = NDArray[np.float32]

__all__ = ["Embedded", "Reading", "embed"]

T = TypeVar("T")

_PAUSE = 0.25
"""Seconds without a new input after which a batch goes on as it is: a list may come from a watcher."""
_CHUNK = 256
"""Inputs that the store is asked for at once."""


@dataclass(frozen=True, slots=True)
class Embedded:
    """An input and its embedding, float32[d], a unit row; `stored` if it was not encoded now."""

    source: Source
    vector: Vector
    stored: bool = False


@dataclass(frozen=True, slots=True)
class Reading:
    """How pictures are read: `workers` threads (None: one a processor), decode limits and mode.

    `verify` reads every file, even where its size and times say that the store knows it.
    """

    workers: int | None = None
    batch_size: int | None = None
    limits: images.Limits = field(default_factory=images.Limits)
    exact: bool = False
    verify: bool = False


@dataclass(frozen=True, slots=True)
class _Unread:
    """An input that the store does not know, and its file's state before it is read."""

    source: Source
    state: FileState | None


@dataclass(frozen=True, slots=True)
class _Read:
    """A picture that was read: its pixels, or its vector where the store knows its content."""

    source: Source
    state: FileState | None
    digest: bytes
    pixels: Pixels | None
    vector: Vector | None


_Item = Embedded | Failure | _Read


def embed(
    inputs: Iterable[Source | Failure],
    encoder: Encoder,
    reading: Reading,
    space: Space | None = None,
) -> Iterator[list[Embedded | Failure]]:
    """Yield batches of embeddings and failures, in input order, as they are ready.

    What `space` of the store holds is neither read nor encoded; what it does not is in it before it
    is yielded. `inputs` is run through on another thread. `reading.batch_size` becomes the encoder's.
    """
    workers = reading.workers or available_cpus()
    encoder.batch_size = reading.batch_size or encoder.batch_size

    def read(item: _Unread) -> _Read | Failure:
        return _read(item, encoder.image_size, reading, space)

    def encode(batch: list[_Item]) -> list[Embedded | Failure]:
        return _encode(batch, encoder, space)

    with _threads(workers) as readers, _threads(encoder.in_flight) as encoders:
        listing = _Ahead(inputs, _CHUNK)
        recalled = _recalled(_chunks(listing), None if reading.verify else space)
        decoding = _Ahead(_reads(recalled, readers, read), workers + encoder.batch_size)
        batches = _batches(decoding, encoder)
        encoding = _Ahead((encoders.submit(encode, b) for b in batches), encoder.in_flight)
        with closing(listing), closing(decoding), closing(encoding):
            for batch in encoding:
                if batch is not None:
                    yield batch.result()


@contextmanager
def _threads(count: int) -> Iterator[ThreadPoolExecutor]:
    """Give a pool whose waiting work is dropped, not finished, when the run ends early."""
    pool = ThreadPoolExecutor(count, thread_name_prefix="siglip")
    try:
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


@dataclass(frozen=True, slots=True)
class _End:
    """What follows a stream's last item: nothing, or the error that ended it."""

    error: BaseException | None = None


class _Ahead(Generic[T]):
    """A stream run on a thread of its own, at most `ahead` items before the one asked for.

    None stands for a pause of the stream. `close` may be called from any thread.
    """

    def __init__(self, items: Iterable[T], ahead: int) -> None:
        self._ready: Queue[T | _End] = Queue(ahead)
        self._closed = Event()
        # A daemon: nothing can wake it while `items` itself waits, and no exit should wait too.
        Thread(target=self._fill, args=(items,), name="siglip-ahead", daemon=True).start()

    def __iter__(self) -> Iterator[T | None]:
        while not self._closed.is_set():
            try:
                item = self._ready.get(timeout=_PAUSE)
            except Empty:
                yield None
                continue
            if not isinstance(item, _End):
                yield item
            elif item.error:
                raise item.error
            else:
                return

    def close(self) -> None:
        """Let the thread end after its next item, and drop what is ready."""
        self._closed.set()
        with suppress(Empty):  # a `put` that waits for room has it now, and is the last
            while True:
                self._ready.get_nowait()

    def _fill(self, items: Iterable[T]) -> None:
        end = _End()
        try:
            for item in items:
                self._ready.put(item)
                if self._closed.is_set():
                    return
        except BaseException as error:  # noqa: BLE001  # raised where the items are wanted
            end = _End(error)
        if not self._closed.is_set():
            self._ready.put(end)


def _chunks(items: Iterable[T | None]) -> Iterator[list[T]]:
    """Cut a stream into lists: the first of one item, later ones larger; a pause ends one early."""
    chunk: list[T] = []
    size = 1
    for item in items:
        if item is not None:
            chunk.append(item)
        if chunk and (item is None or len(chunk) >= size):
            yield chunk
            chunk, size = [], min(4 * size, _CHUNK)
    if chunk:
        yield chunk


def _recalled(
    chunks: Iterable[list[Source | Failure]], space: Space | None
) -> Iterator[list[Embedded | Failure] | _Unread]:
    """Tell what is to be read from what needs no reading; the latter in lists, as it is quick."""
    for chunk in chunks:
        states = [_state(item) for item in chunk] if space else [None] * len(chunk)
        known = space.files([state for state in states if state]) if space else {}
        ready: list[Embedded | Failure] = []
        for item, state in zip(chunk, states, strict=True):
            vector = known.get(state.path) if state else None
            if isinstance(item, Failure):
                ready.append(item)
            elif vector is not None:
                ready.append(Embedded(item, vector, stored=True))
            else:
                if ready:
                    yield ready
                    ready = []
                yield _Unread(item, state)
        if ready:
            yield ready


def _state(item: Source | Failure) -> FileState | None:
    if isinstance(item, Failure) or isinstance(item.content, bytes):
        return None
    return file_state(item.content)


def _reads(
    items: Iterable[list[Embedded | Failure] | _Unread],
    pool: ThreadPoolExecutor,
    read: Callable[[_Unread], _Read | Failure],
) -> Iterator[list[Embedded | Failure] | Future[_Read | Failure]]:
    """Hand what is to be read to a pool, in order."""
    for item in items:
        yield pool.submit(read, item) if isinstance(item, _Unread) else item


def _read(item: _Unread, size: int, reading: Reading, space: Space | None) -> _Read | Failure:
    source = item.source
    try:
        data = images.load_bytes(source, reading.limits)
        digest = content_digest(data) if space else b""
        vector = space.vectors([digest]).get(digest) if space else None
        if vector is not None:
            return _Read(source, item.state, digest, None, vector)
        pixels = images.decode(data, size, reading.limits, exact=reading.exact)
    except ImageError as error:
        return Failure(source, error.kind, str(error))
    return _Read(source, item.state, digest, pixels, None)


def _batches(
    decoding: Iterable[list[Embedded | Failure] | Future[_Read | Failure] | None], encoder: Encoder
) -> Iterator[list[_Item]]:
    """Cut a stream so that each batch holds at most `encoder.batch_size` pictures; the first, one.

    The first row is then out after one picture, whatever the batch size; what needs no encoding goes on
    at once unless a picture before it waits for company.
    """
    batch: list[_Item] = []
    pictures, limit = 0, 1
    for item in decoding:
        if isinstance(item, Future):
            batch.append(item.result())
            pictures += _is_new(batch[-1])
        elif item is not None:
            batch += item
        waits = 0 < pictures < limit and len(batch) < max(_CHUNK, encoder.batch_size)
        if batch and (item is None or not waits):
            yield batch
            limit = encoder.batch_size if pictures else limit
            batch, pictures = [], 0
    if batch:
        yield batch


def _is_new(item: _Item) -> bool:
    return isinstance(item, _Read) and item.pixels is not None


def _encode(batch: list[_Item], encoder: Encoder, space: Space | None) -> list[Embedded | Failure]:
    """Encode a batch's pictures and keep their vectors before anyone hears of them."""
    pixels = [item.pixels for item in batch if isinstance(item, _Read) and item.pixels is not None]
    vectors = iter(encoder.encode_images(np.stack(pixels)) if pixels else ())
    answers: list[Embedded | Failure] = []
    entries: list[Entry] = []
    for item in batch:
        if not isinstance(item, _Read):
            answers.append(item)
            continue
        vector = next(vectors) if item.vector is None else item.vector
        answers.append(_embedded(item, vector))
        if isinstance(answers[-1], Embedded):
            entries.append(Entry(item.digest, vector if _is_new(item) else None, item.state))
    if space and entries:
        space.keep(entries)
    return answers


def _embedded(item: _Read, vector: Vector) -> Embedded | Failure:
    if np.isfinite(vector).all():
        return Embedded(item.source, vector, stored=not _is_new(item))
    return Failure(item.source, "non_finite", "the model gave values that are not finite")
