"""The one loop: read ahead, encode in batches, yield embeddings in input order.

Two bounded stages follow each other, reading on threads and encoding beside it, so decoding overlaps
the model and memory does not grow with the folder.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from siglipcli import images
from siglipcli.errors import ImageError
from siglipcli.machine import available_cpus
from siglipcli.records import Failure, Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future

    from numpy.typing import NDArray

    from siglipcli.models import Encoder

    Pixels = NDArray[np.uint8]
    Vector = NDArray[np.float32]

__all__ = ["Embedded", "Reading", "embed"]

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Embedded:
    """An input and its embedding, float32[d], a unit row."""

    source: Source
    vector: Vector


@dataclass(frozen=True, slots=True)
class Reading:
    """How pictures are read: `workers` threads (None: one a processor), decode limits and mode."""

    workers: int | None = None
    batch_size: int | None = None
    limits: images.Limits = field(default_factory=images.Limits)
    exact: bool = False


def embed(
    inputs: Iterable[Source | Failure], encoder: Encoder, reading: Reading
) -> Iterator[list[Embedded | Failure]]:
    """Yield batches of embeddings and failures, in input order, as they are ready."""
    workers = reading.workers or available_cpus()
    batch_size = reading.batch_size or encoder.batch_size

    def read(item: Source | Failure) -> tuple[Source, Pixels] | Failure:
        return item if isinstance(item, Failure) else _read(item, encoder.image_size, reading)

    def encode(batch: list[tuple[Source, Pixels] | Failure]) -> list[Embedded | Failure]:
        return _encode(batch, encoder)

    with _threads(workers) as readers, _threads(encoder.in_flight) as encoders:
        decoded = _ordered(readers, read, inputs, ahead=workers + batch_size)
        yield from _ordered(encoders, encode, _batches(decoded, batch_size), encoder.in_flight)


@contextmanager
def _threads(count: int) -> Iterator[ThreadPoolExecutor]:
    """Give a pool whose waiting work is dropped, not finished, when the run ends early."""
    pool = ThreadPoolExecutor(count, thread_name_prefix="siglip")
    try:
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _ordered(
    pool: ThreadPoolExecutor, function: Callable[[T], R], items: Iterable[T], ahead: int
) -> Iterator[R]:
    """Map on threads, results in order, at most `ahead` items begun beyond the one awaited."""
    pending: deque[Future[R]] = deque()
    for item in items:
        pending.append(pool.submit(function, item))
        while pending and (len(pending) > ahead or pending[0].done()):
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


def _read(source: Source, size: int, reading: Reading) -> tuple[Source, Pixels] | Failure:
    try:
        return source, images.read(source, size, reading.limits, exact=reading.exact)
    except ImageError as error:
        return Failure(source, error.kind, str(error))


def _batches(
    items: Iterable[tuple[Source, Pixels] | Failure], size: int
) -> Iterator[list[tuple[Source, Pixels] | Failure]]:
    """Cut a stream so that each batch holds at most `size` pictures; the first holds one.

    The first row is then out after one picture, whatever the batch size.
    """
    batch: list[tuple[Source, Pixels] | Failure] = []
    pictures, limit = 0, 1
    for item in items:
        batch.append(item)
        pictures += not isinstance(item, Failure)
        if pictures == limit or len(batch) == size:
            yield batch
            batch, pictures, limit = [], 0, size
    if batch:
        yield batch


def _encode(
    batch: list[tuple[Source, Pixels] | Failure], encoder: Encoder
) -> list[Embedded | Failure]:
    pixels = [item[1] for item in batch if not isinstance(item, Failure)]
    vectors = iter(encoder.encode_images(np.stack(pixels)) if pixels else ())
    return [
        item if isinstance(item, Failure) else _embedded(item[0], next(vectors)) for item in batch
    ]


def _embedded(source: Source, vector: Vector) -> Embedded | Failure:
    if np.isfinite(vector).all():
        return Embedded(source, vector)
    return Failure(source, "non_finite", "the model gave values that are not finite")
