"""The images drawn, read and divided: to quantize on, to choose a recipe by, and kept back for the check."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from siglipcli import pipeline
from siglipcli.results import Failure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from siglipcli.encoders import Encoder
    from siglipcli.pipeline import LoadOptions
    from siglipcli.results import Source

    Encode: TypeAlias = Callable[[NDArray[np.uint8]], NDArray[np.float32]]

__all__ = ["KEPT", "MOST_OTHERS", "Encoded", "Kept", "Parts", "divided", "encoded"]

KEPT = 3
"""One image in so many is kept back, at least."""
_CHOOSING = 0.25  # of the others, to choose a recipe by
_MOST_CHOOSING, _MOST_CALIBRATING = 64, 128
MOST_OTHERS = _MOST_CHOOSING + _MOST_CALIBRATING
"""Images that quantizing and choosing can use: all others are kept back."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """An image with its pixels, uint8[size, size, 3], and what was computed of them, float32[k]."""

    source: Source
    pixels: NDArray[np.uint8]
    vector: NDArray[np.float32]

    @property
    def digest(self) -> bytes:
        """Equal for images of equal pixels."""
        return hashlib.sha256(self.pixels.tobytes()).digest()


@dataclass(frozen=True, slots=True)
class Kept:
    """An image kept back, and the digest of its pixels."""

    source: Source
    digest: bytes


@dataclass(frozen=True, slots=True)
class Parts:
    """Images drawn, each in one part: pixels are uint8[n, size, size, 3].

    `failed` could not be read; `copies` have the pixels of another one, and are in no part.
    """

    calibrating: NDArray[np.uint8]
    choosing: NDArray[np.uint8]
    kept: tuple[Kept, ...]
    failed: int
    copies: int

    def __len__(self) -> int:
        return len(self.calibrating) + len(self.choosing) + len(self.kept)


def divided(
    sources: Sequence[Source],
    encoder: Encoder,
    load_options: LoadOptions,
    progress: Callable[[int], None],
) -> Parts:
    """Read images for `encoder`, which encodes none of them, and divide them.

    Copies are left out, as one in two parts would be quantized on and checked with. `progress` is called with
    how many are done.
    """
    seen: set[bytes] = set()
    rows: list[Kept] = []
    pixels: list[NDArray[np.uint8]] = []  # of the first rows
    failed = copies = 0
    for item in encoded(sources, encoder, load_options, progress, _nothing):
        if isinstance(item, Failure):
            failed += 1
        elif (digest := item.digest) in seen:
            copies += 1
        else:
            seen.add(digest)
            rows.append(Kept(item.source, digest))
            if len(rows) <= MOST_OTHERS:
                pixels.append(item.pixels)
    others = min(len(rows) - -(-len(rows) // KEPT), MOST_OTHERS)
    choosing = min(round(_CHOOSING * others), _MOST_CHOOSING)
    return Parts(
        _stacked(pixels[choosing:others]),
        _stacked(pixels[:choosing]),
        tuple(rows[others:]),
        failed,
        copies,
    )


def _nothing(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.empty((len(pixels), 0), np.float32)


def encoded(
    sources: Sequence[Source],
    encoder: Encoder,
    load_options: LoadOptions,
    progress: Callable[[int], None],
    encode: Encode,
) -> Iterator[Encoded | Failure]:
    """Yield images with what `encode` gives for their pixels, in the order of `sources`; see `divided` for `progress`.

    They are read as `encoder` takes them. A row that is not finite is a Failure.
    """
    recorder = _Recorder(encoder, encode)
    done = 0
    for batch in pipeline.batches(sources, recorder, load_options):
        for item in batch.embedded():
            if isinstance(item, Failure):
                yield item
            else:
                yield Encoded(item.source, recorder.pixels(item.vector), item.vector[:-1])
        done += len(batch.items)
        progress(done)


class _Recorder:
    """An encoder with another `encode`, which keeps the pixels it is called with until they are taken.

    Its rows have one more column, the number of the row: batches are encoded side by side, in any order.
    """

    def __init__(self, encoder: Encoder, encode: Encode) -> None:
        self._encoder = encoder
        self._encode = encode
        self._lock = Lock()
        self._count = 0
        self._pixels: dict[int, NDArray[np.uint8]] = {}

    def encode_images(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Encode uint8[n, size, size, 3] → float32[n, k + 1]."""
        vectors = self._encode(pixels)
        with self._lock:
            numbers = range(self._count, self._count + len(pixels))
            self._count += len(pixels)
            rows = zip(numbers, vectors, pixels, strict=True)
            # Of others the pipeline makes failures, whose pixels nobody takes.
            self._pixels.update((i, row) for i, vector, row in rows if np.isfinite(vector).all())
        return np.column_stack([vectors, np.array(numbers, np.float32)])  # exact up to 2 ** 24

    def pixels(self, vector: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Take the pixels that a vector is of."""
        return self._pixels.pop(int(vector[-1]))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._encoder, name)


def _stacked(rows: Sequence[NDArray[Any]]) -> NDArray[Any]:
    return np.stack(rows) if rows else np.empty(0)
