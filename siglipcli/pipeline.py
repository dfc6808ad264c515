"""The one loop: list, look up, read ahead, encode in batches, yield embeddings in input order.

Stages run side by side, each a bounded number of items before the next: listing the inputs and asking
the store for them, reading and decoding what it does not have, encoding that. So decoding overlaps
the model, no stage waits for a slow neighbour with results in hand, and memory does not grow with
the folder. What the store knows travels in columns: no object is made for each of its rows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import chain, groupby
from typing import TYPE_CHECKING, cast

import numpy as np

from siglipcli import images
from siglipcli.embeddings import Batch, Embedded
from siglipcli.errors import ImageError, UsageError
from siglipcli.images.readers import Readers, Task
from siglipcli.images.worker import too_slow
from siglipcli.machine import available_cpus
from siglipcli.prefetch import Prefetcher
from siglipcli.resources import Resources
from siglipcli.results import Failure, Source
from siglipcli.store import Entry, FileState, content_digest, file_states

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from concurrent.futures import Future, ThreadPoolExecutor
    from pathlib import Path
    from typing import TypeAlias

    from numpy.typing import NDArray

    from siglipcli.encoders import Encoder, Preprocess
    from siglipcli.images.decoders import Decoder
    from siglipcli.store import Space

    Pixels: TypeAlias = NDArray[np.uint8]
    Vector: TypeAlias = NDArray[np.float32]

__all__ = ["Batch", "Embedded", "LoadOptions", "batches", "embed"]
__all__ += ["Part", "Unread", "encode", "read"]

_CHUNK = 256
"""Inputs that the store is asked for at once, at most."""
_LISTED = 4_096
"""Inputs that are listed ahead, at most. Listing is quick, but takes turns with the look-up of what was
listed, which it slows: in bursts it does so seldom."""
_MOST_SECONDS = 86_400
_NO_VECTORS = np.empty((0, 0), np.float32)


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How images are read: `workers` threads (None: one per processor), decode limits and mode.

    `batch_size`: images encoded at a time (None: what suits the device). `color_management` converts
    colours to sRGB by the file's profile; without it they are open_clip's. `allow_truncated` takes what is
    there of files that were cut short. `verify` reads every file, even where its size and times say that
    the store knows it. `timeout`: seconds an image may take to be read and decoded, at most a day; 0 for
    any. `isolate`: whether images are decoded in worker processes, which a decoder may kill: all, none, or
    (None) all but JPEG and PNG. Raises UsageError for a timeout that is out of bounds.
    """

    workers: int | None = None
    batch_size: int | None = None
    limits: images.Limits = field(default_factory=images.Limits)
    exact: bool = False
    color_management: bool = True
    allow_truncated: bool = False
    verify: bool = False
    timeout: float = 60.0
    isolate: bool | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.timeout <= _MOST_SECONDS:  # nor NaN
            raise UsageError(
                f"a time limit of {self.timeout} s for an image: give from 0 (none) to {_MOST_SECONDS:,}"
            )


@dataclass(frozen=True, slots=True)
class Unread:
    """An input that the store does not know, and its file's state before it is read."""

    source: Source
    state: FileState | None


@dataclass(frozen=True, slots=True)
class _Read:
    """An image that was read: its pixels, or its vector where the store knows its content."""

    source: Source
    state: FileState | None
    digest: bytes
    pixels: Pixels | None
    vector: Vector | None


Part = Batch | _Read
"""A part of a batch that is being put together."""


class _Encoding:
    """Hands batches to the threads that encode; what waits there is dropped when the run ends."""

    def __init__(self, pool: ThreadPoolExecutor, encode: Callable[[list[Part]], Batch]) -> None:
        self._pool = pool
        self._encode = encode
        self._waiting: set[Future[Batch]] = set()

    def submit(self, parts: list[Part]) -> Batch | Future[Batch]:
        """Return the batch where nothing is to be encoded, else what will be the batch."""
        done = [part for part in parts if isinstance(part, Batch)]
        if len(done) == len(parts):
            return _joined(done)
        future = self._pool.submit(self._encode, parts)
        self._waiting.add(future)
        future.add_done_callback(self._waiting.discard)
        return future

    def close(self) -> None:
        """Drop what waits."""
        for future in list(self._waiting):
            future.cancel()


def embed(
    inputs: Iterable[Source | Failure],
    encoder: Encoder,
    load_options: LoadOptions,
    space: Space | None = None,
) -> Iterator[list[Embedded | Failure]]:
    """Yield what `batches` does, as lists of one record an input."""
    for batch in batches(inputs, encoder, load_options, space):
        yield list(batch.embedded())


def batches(
    inputs: Iterable[Source | Failure],
    encoder: Encoder,
    load_options: LoadOptions,
    space: Space | None = None,
    resources: Resources | None = None,
) -> Iterator[Batch]:
    """Yield embeddings and failures, in input order, as they are ready.

    What `space` of the store holds is neither read nor encoded; what it does not is in it before it
    is yielded. `inputs` is run through on another thread. `resources` are left as they are; without
    them the run has its own.
    """
    workers = load_options.workers or available_cpus()
    if resources is None:
        own = Resources(encoder.in_flight, workers)
        try:
            yield from batches(inputs, encoder, load_options, space, own)
        finally:
            own.close(wait=False)
        return

    def decode(item: Unread, decoder: Decoder) -> Part:
        return read(item, encoder.preprocess, load_options, space, decoder)

    def late(item: Unread) -> Part:
        return _refused(item.source, too_slow(load_options.timeout))

    def batch_size() -> int:
        return min(load_options.batch_size or encoder.batch_size, encoder.batch_limit)

    readers = Readers(
        workers,
        decode,
        late,
        seconds=load_options.timeout,
        isolate=load_options.isolate,
        pool=resources.decoders,
    )
    listing = Prefetcher(inputs, _LISTED, refill=_LISTED // 2, is_heavy=_holds_bytes)
    recalled = _recalled(listing.chunks(_CHUNK), space, verify=load_options.verify)
    decoding = Prefetcher(_reads(recalled, readers), workers + batch_size())
    encoding = _Encoding(resources.encoding, lambda parts: encode(parts, encoder, space))
    encoded = Prefetcher(map(encoding.submit, _cut(decoding, batch_size)), encoder.in_flight)
    with resources.run(readers, encoding, listing, decoding, encoded):
        for batch in encoded:
            if batch is not None:
                yield batch if isinstance(batch, Batch) else batch.result()


def _recalled(
    chunks: Iterable[list[Source | Failure]], space: Space | None, *, verify: bool
) -> Iterator[Batch | Unread]:
    """Tell what is to be read from what needs no reading; the latter together, as it is quick."""
    for chunk in chunks:
        states = file_states(map(_path, chunk)) if space else [None] * len(chunk)
        positions, vectors = space.known(states) if space and not verify else ([], _NO_VECTORS)
        known, row = set(positions), 0
        unread = [i not in known and isinstance(item, Source) for i, item in enumerate(chunk)]
        for is_unread, group in groupby(range(len(chunk)), unread.__getitem__):
            if is_unread:
                yield from (Unread(cast("Source", chunk[i]), states[i]) for i in group)
                continue
            items = [chunk[i] for i in group]
            count = sum(isinstance(item, Source) for item in items)
            yield Batch(items, vectors[row : row + count], [True] * count)
            row += count


def _holds_bytes(item: Source | Failure) -> bool:
    return isinstance(item, Source) and isinstance(item.origin, bytes)


def _path(item: Source | Failure) -> str | Path | None:
    if isinstance(item, Failure) or isinstance(item.origin, bytes):
        return None
    return item.origin or item.name


def _reads(
    items: Iterable[Batch | Unread], readers: Readers[Unread, Part]
) -> Iterator[Batch | Task[Unread, Part]]:
    """Hand what is to be read to the readers, in order."""
    for item in items:
        yield readers.submit(item) if isinstance(item, Unread) else item


def read(
    item: Unread,
    preprocess: Preprocess,
    load_options: LoadOptions,
    space: Space | None,
    decoder: Decoder,
) -> Part:
    """Read and decode an image, unless `space` knows its content; one that fails is a batch of its failure."""
    source = item.source
    try:
        data = decoder.load(source, load_options.limits)
        digest = content_digest(data) if space else b""
        vector = space.vectors([digest]).get(digest) if space else None
        if vector is not None:
            return _Read(source, item.state, digest, None, vector)
        pixels = decoder.decode(
            data,
            preprocess.size,
            load_options.limits,
            exact=load_options.exact,
            color_management=load_options.color_management,
            allow_truncated=load_options.allow_truncated,
        )
    except ImageError as error:
        return _refused(source, error)
    return _Read(source, item.state, digest, pixels, None)


def _refused(source: Source, error: ImageError) -> Batch:
    return _failed(source, error.kind, str(error))


def _failed(source: Source, kind: str, message: str) -> Batch:
    return Batch([Failure(source.name, kind, message)], _NO_VECTORS, [])


def _cut(
    decoding: Iterable[Batch | Task[Unread, Part] | None], batch_size: Callable[[], int]
) -> Iterator[list[Part]]:
    """Cut a stream so that each part holds at most `batch_size` images; the first, one.

    The first row is then out after one image, whatever the batch size; what needs no encoding goes on
    at once unless an image before it waits for company.
    """
    parts: list[Part] = []
    inputs, images, limit = 0, 0, 1
    for item in decoding:
        if item is not None:
            part = item.result() if isinstance(item, Task) else item
            parts.append(part)
            inputs += len(part.items) if isinstance(part, Batch) else 1
            images += _is_new(part)
        waits = 0 < images < limit and inputs < max(_CHUNK, batch_size())
        if parts and (item is None or not waits):
            yield parts
            limit = batch_size() if images else limit
            parts, inputs, images = [], 0, 0
    if parts:
        yield parts


def _is_new(part: Part) -> bool:
    return isinstance(part, _Read) and part.pixels is not None


def encode(parts: list[Part], encoder: Encoder, space: Space | None) -> Batch:
    """Encode the images and keep their vectors before anyone hears of them; in order, one record a part."""
    pixels = [p.pixels for p in parts if isinstance(p, _Read) and p.pixels is not None]
    vectors = iter(encoder.encode_images(np.stack(pixels)) if pixels else ())
    done: list[Batch] = []
    entries: list[Entry] = []
    for part in parts:
        if isinstance(part, Batch):
            done.append(part)
            continue
        vector = next(vectors) if part.vector is None else part.vector
        done.append(_embedded(part, vector))
        if done[-1].stored and (_is_new(part) or part.state) and part.digest:
            entries.append(Entry(part.digest, vector if _is_new(part) else None, part.state))
    if space and entries:
        space.keep(entries)
    return _joined(done)


def _embedded(part: _Read, vector: Vector) -> Batch:
    if np.isfinite(vector).all():
        return Batch([part.source], vector[None], [not _is_new(part)])
    return _failed(part.source, "non_finite", "the model gave values that are not finite")


def _joined(done: Sequence[Batch]) -> Batch:
    if len(done) == 1:
        return done[0]
    return Batch(
        list(chain.from_iterable(batch.items for batch in done)),
        np.concatenate([batch.vectors for batch in done if batch.stored] or [_NO_VECTORS]),
        list(chain.from_iterable(batch.stored for batch in done)),
    )
