"""Small upright images for the page, made beside the run and kept in a temporary file.

Decoding is the run's own: its formats, its limits, its time limit, its worker processes and memory. An
image that cannot be read fails only its own thumbnail.
"""

from __future__ import annotations

import base64
import io
import logging
import tempfile
from collections import deque
from typing import TYPE_CHECKING, Final

from PIL import ExifTags, Image

from siglipcli import images
from siglipcli.errors import ImageError
from siglipcli.images.decoding import settle_pillow
from siglipcli.images.formats import DECODER_ERRORS, formats_for
from siglipcli.images.readers import Readers
from siglipcli.machine import available_cpus
from siglipcli.outputs.output import translated

if TYPE_CHECKING:
    from collections.abc import Iterator

    from siglipcli.images.decoders import Decoder, DecoderPool
    from siglipcli.images.readers import Task
    from siglipcli.pipeline import LoadOptions
    from siglipcli.results import Source

__all__ = ["CHUNK", "MIME", "SIDE", "Thumbnails", "thumbnail"]

SIDE: Final = 200
"""Pixels of a thumbnail's long side."""
CHUNK: Final = 96
"""Thumbnails that the page reads together: those of about one sheet."""

_FORMAT = "WEBP" if "WEBP" in images.FORMATS else "JPEG"
_HOW: Final = {"quality": 72, "method": 2}  # half the time of WebP's usual 4, a few bytes more
MIME: Final = f"image/{_FORMAT.lower()}"

_THREADS = 4
_WAITING = 32  # thumbnails in the making: what they hold in memory is bounded by it
_IN_MEMORY = 8 << 20  # bytes kept before a file is made
_SIDEWAYS = {5, 6, 7, 8}  # EXIF orientations
_SLIMMEST = 24  # pixels: of a panorama, or of a dot, so much is seen

logger = logging.getLogger("siglipcli")


def thumbnail(source: Source, decoder: Decoder, limits: images.Limits) -> bytes | None:
    """Return an image as a small WebP (or JPEG), upright, on white where it is transparent.

    None where it cannot be read, or decoded within `limits`.
    """
    try:
        data = decoder.load(source, limits)
        pixels = decoder.decode(data, SIDE, limits, exact=False)  # uint8[SIDE, SIDE, 3]
        small = Image.fromarray(pixels).resize(_size(data, limits), Image.Resampling.BICUBIC)
        written = io.BytesIO()
        small.save(written, _FORMAT, **_HOW)
    except (ImageError, OSError, ValueError, MemoryError) as error:
        logger.debug("no thumbnail of %s: %s", source.name, error)
        return None
    return written.getvalue()


def _size(data: bytes, limits: images.Limits) -> tuple[int, int]:
    """Return a thumbnail's width and height: the proportions of an image that was just decoded."""
    settle_pillow(limits)
    try:
        with Image.open(io.BytesIO(data), formats=formats_for(data)) as image:
            width, height = image.size
            turned = _orientation(image) in _SIDEWAYS
    except (*DECODER_ERRORS, ImageError, Image.DecompressionBombError):
        return SIDE, SIDE
    width, height = (height, width) if turned else (width, height)
    scale = min(1, SIDE / max(width, height))
    return max(round(width * scale), _SLIMMEST), max(round(height * scale), _SLIMMEST)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except DECODER_ERRORS:  # EXIF that cannot be read turns nothing
        return 1


class Thumbnails:
    """Makes the thumbnails of the first `most` images in a few threads, in order.

    `add` waits only where too many are in the making. `close` drops what is. `decoders` are those that the
    run uses, whose processes and memory are then shared.
    """

    def __init__(
        self, most: int, load_options: LoadOptions, decoders: DecoderPool | None = None
    ) -> None:
        self._most, self._count = most, 0
        self._making: deque[Task[Source, bytes | None]] = deque()
        self._readers: Readers[Source, bytes | None] = Readers(
            min(_THREADS, load_options.workers or available_cpus()),
            lambda source, decoder: thumbnail(source, decoder, load_options.limits),
            lambda _: None,
            seconds=load_options.timeout,
            isolate=load_options.isolate,
            pool=decoders,
        )
        self._file = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115  # `close` is ours

    def __len__(self) -> int:
        return self._count

    def add(self, source: Source) -> None:
        """Have the next image's thumbnail made, if it is to have one. Raises OutputError."""
        if self._count >= self._most:
            return
        self._count += 1
        self._making.append(self._readers.submit(source))
        if len(self._making) >= _WAITING:
            self._keep()

    def chunks(self) -> Iterator[list[str | None]]:
        """Yield the thumbnails in base64, `CHUNK` at a time; None for what could not be made."""
        while self._making:
            self._keep()
        with translated("temporary file"):
            self._file.seek(0)
            lines = (line.decode("ascii").rstrip("\n") or None for line in self._file)
            for start in range(0, self._count, CHUNK):
                count = min(CHUNK, self._count - start)
                yield [next(lines) for _ in range(count)]

    def close(self) -> None:
        """Let the threads and the temporary file go."""
        self._readers.close()
        self._file.close()

    def _keep(self) -> None:
        made = self._making.popleft().result()
        with translated("temporary file"):
            self._file.write(base64.b64encode(made or b"") + b"\n")
