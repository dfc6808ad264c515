"""Bytes → upright, opaque RGB → uint8[size, size, 3], the model's own square.

The pixels are the reference chain's: Pillow's antialiased bicubic resize to size by size pixels,
both sides squeezed, nothing cropped. What the reference leaves out happens before it, so that the
image a person sees is the image that is scored:

    EXIF orientation → 16-bit, integer and float samples to 8 bits → transparency on white → RGB

and one thing after it: colours of another profile are converted to sRGB. An RGB or grey image
without EXIF and profile comes out bit for bit as open_clip's transform makes it, any RGB or grey
image without EXIF where `color_management` is off. Of animations and multi-page files the first
frame is read.

Every function may run in many threads at once. `decode` touches two things that belong to the
whole process, on purpose and idempotently: it keeps Pillow's own warnings off stderr, and it
raises Pillow's ceiling for decompression bombs where the caller's is higher (179 megapixels and up).
"""

from __future__ import annotations

import io
import math
import re
import sys
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from PIL import Image, UnidentifiedImageError

from siglipcli.errors import ImageError
from siglipcli.images import DEFAULT_LIMITS, jpeg, load_bytes, png, raw, tiff
from siglipcli.images.colour import profile_of
from siglipcli.images.containers import has_repeated_colours
from siglipcli.images.formats import DECODER_ERRORS, formats_for
from siglipcli.images.frames import first_frame, on_clear_canvas
from siglipcli.images.image_errors import (
    LONGEST_SIDE,
    cut_short,
    says_cut_short,
    too_long,
    too_many_pixels,
    undecodable,
    unidentified,
)
from siglipcli.images.pixels import eight_bit, forget_xmp, opaque, square, upright
from siglipcli.images.truncation import is_cut_short

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray
    from PIL.ImageFile import ImageFile

    from siglipcli.images import Limits
    from siglipcli.results import Source

__all__ = ["Header", "decode", "header", "read", "settle_pillow"]

_DAMAGED = {"decode", "truncated", "unidentified"}


def read(
    source: Source,
    size: int,
    limits: Limits = DEFAULT_LIMITS,
    *,
    exact: bool = True,
    color_management: bool = True,
    allow_truncated: bool = False,
) -> NDArray[np.uint8]:
    """Do `load_bytes`, then `decode`: uint8[size, size, 3], or ImageError."""
    data = load_bytes(source, limits)
    return decode(
        data,
        size,
        limits,
        exact=exact,
        color_management=color_management,
        allow_truncated=allow_truncated,
    )


def decode(
    data: bytes,
    size: int,
    limits: Limits = DEFAULT_LIMITS,
    *,
    exact: bool = True,
    color_management: bool = True,
    allow_truncated: bool = False,
) -> NDArray[np.uint8]:
    """Decode one image into uint8[size, size, 3], C-contiguous and writable.

    With `exact=False` a large JPEG is decoded at a half, a quarter or an eighth of its size,
    though never below twice `size` a side: several times faster, nearly the same pixels. With
    `color_management=False` colour profiles are passed over, as open_clip's transform does. With
    `allow_truncated` what is there of a file that was cut short is the image, and the rest is what
    its decoder leaves: grey in a JPEG, black in most.
    Of camera RAW the largest embedded preview is the image, developed samples where none can be read.
    Raises ImageError: unidentified, unsupported, truncated, too_large, decode.
    """

    def decoded(content: bytes, exif: bytes | None = None) -> NDArray[np.uint8]:
        options = {"color_management": color_management, "allow_truncated": allow_truncated}
        return _decoded(content, size, limits, exif, exact=exact, **options)

    with _translated(data, limits):
        if not raw.is_raw(data):
            return decoded(data)
        shot = raw.read(data, limits, exact=exact)
        if shot.image is None:
            try:
                return decoded(shot.jpeg, shot.exif)
            except ImageError as error:
                if error.kind not in _DAMAGED:
                    raise
                shot = raw.read(data, limits, exact=exact, with_preview=False)
        assert shot.image
        return square(opaque(shot.image), size)


def _decoded(
    data: bytes,
    size: int,
    limits: Limits,
    exif: bytes | None,
    *,
    exact: bool,
    color_management: bool,
    allow_truncated: bool,
) -> NDArray[np.uint8]:
    """Decode an image that is no RAW file, with EXIF of another source where there is some."""
    with _translated(data, limits):
        formats = formats_for(data)
        head = jpeg.header(data) if data.startswith(jpeg.START) else None
        read = partial(_loaded, formats=formats, limits=limits, reduced_to=None if exact else size)
        with read(data, head, allow_truncated=allow_truncated) as image:
            if head and not allow_truncated and is_cut_short(image, data, head, read):
                raise cut_short()
            if exif is not None:
                image.info["exif"] = exif
            profile = profile_of(image, data) if color_management else None
            whole = on_clear_canvas(eight_bit(image), image.info.get("first_frame"))
            whole = opaque(upright(whole, image), keep_cmyk=profile is not None)
            return square(whole, size, profile)


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of its image before a pixel is decoded: Pillow's name of the format, pixels."""

    format: str
    width: int
    height: int

    @property
    def pixels(self) -> int:
        """Return how many pixels the whole image has."""
        return self.width * self.height


def header(data: bytes, limits: Limits = DEFAULT_LIMITS) -> Header:
    """Read an image's header: a ms or two, and no memory for pixels.

    Raises what `decode` would raise for the header's sake.
    """
    with _translated(data, limits):
        if raw.is_raw(data):
            return Header("RAW", *raw.dimensions(data))
        head = jpeg.header(data) if data.startswith(jpeg.START) else None
        with _opened(data, head, formats_for(data), limits) as image:
            return Header(image.format or "", image.width, image.height)


@contextmanager
def _translated(data: bytes, limits: Limits) -> Iterator[None]:
    """Make ImageErrors of what Pillow and its decoders raise."""
    settle_pillow(limits)
    try:
        yield
    except Image.DecompressionBombError:
        raise too_many_pixels(limits) from None
    except MemoryError:
        raise ImageError("too_large", "Not enough memory to decode this image.") from None
    except UnidentifiedImageError:
        raise unidentified(data) from None
    except DECODER_ERRORS as error:
        raise undecodable(data, error) from error


def _loaded(
    data: bytes,
    head: jpeg.Header | None = None,
    *,
    formats: tuple[str, ...],
    limits: Limits,
    reduced_to: int | None,
    allow_truncated: bool = False,
) -> Image.Image:
    """Decode a file as it is stored, a JPEG (which has a `head`) at about twice `reduced_to`."""
    image = _opened(data, head, formats, limits)
    if reduced_to and head and not head.is_lossless:
        image.draft(None, (2 * reduced_to, 2 * reduced_to))
    if frame := first_frame(image, data):
        image.info["first_frame"] = frame
    try:
        image.load()
    except OSError as error:
        if not (allow_truncated and says_cut_short(error)):
            raise
        image.tile = []  # so that what was decoded of it is the image
        image.load()
    forget_xmp(image)  # again: some plugins find more of it in the file's end
    return image


def _opened(
    data: bytes, head: jpeg.Header | None, formats: tuple[str, ...], limits: Limits
) -> ImageFile:
    """Read an image's header, no pixels."""
    colours: dict[str, Any] = {}
    if data.startswith(png.SIGNATURE):
        data, colours = png.stripped(data)
    elif head:
        data = jpeg.with_end(data, head)
    elif data.startswith(tiff.STARTS):
        tiff.check(data)
    image = Image.open(io.BytesIO(data), formats=formats)
    tiff.seek_full_size(image)
    if image.format == "JPEG2000" and image.mode in {"P", "PA"} and has_repeated_colours(data):
        raise ImageError(
            "unsupported",
            "This JPEG 2000's palette has a colour twice, which is read wrongly; save it as PNG.",
        )
    forget_xmp(image)
    image.info.update(colours)
    if image.width * image.height > limits.max_megapixels * 1e6:
        raise too_many_pixels(limits)
    if max(image.size) > LONGEST_SIDE:
        raise too_long()
    return image


_HUSHED = [
    ("ignore", None, category, re.compile(r"PIL\."), 0)
    for category in (UserWarning, Image.DecompressionBombWarning)
]


def settle_pillow(limits: Limits) -> None:
    """Keep Pillow's warnings off stderr, and its bomb ceiling from answering before ours.

    `warnings.catch_warnings` is not safe in threads, so the two filters stay; they name Pillow's
    modules and two categories only. The ceiling is not removed: Pillow's plugins rely on it for
    images inside images (an ICO holding a huge PNG).
    """
    if warnings.filters[: len(_HUSHED)] != _HUSHED:
        for _, _, category, _, _ in reversed(_HUSHED):
            warnings.filterwarnings("ignore", category=category, module=r"PIL\.")
    half = math.ceil(min(limits.max_megapixels * 1e6, sys.maxsize) / 2)
    if Image.MAX_IMAGE_PIXELS is not None and half > Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = half  # Pillow refuses from twice this number on
