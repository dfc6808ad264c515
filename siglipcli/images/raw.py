"""Camera RAW by LibRaw (rawpy, the extra `photo`): the preview that the camera made, or the sensor's samples.

The preview is what the camera's own screen shows, a JPEG of often the full size; the largest is taken. Only
where there is none that can be read the samples are developed: with the camera's white balance, in sRGB, at
half size, which spares the interpolation, or at full size where `exact`.
"""

from __future__ import annotations

import io
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from PIL import ExifTags, Image

from siglipcli.errors import ImageError
from siglipcli.images import tiff
from siglipcli.images.formats import CAMERA_RAW, DECODER_ERRORS, kind_of
from siglipcli.images.image_errors import cut_short, too_many_pixels

if TYPE_CHECKING:
    from collections.abc import Iterator

    from siglipcli.images import Limits

__all__ = ["Shot", "dimensions", "is_raw", "read"]

_ORIENTATIONS = {3: 3, 5: 8, 6: 6}
"""LibRaw's `flip` → EXIF's orientation: half a turn, a quarter to the left, to the right."""
_QUARTER_TURNS = {5, 6, 7, 8}


@dataclass(frozen=True, slots=True)
class Shot:
    """What a RAW file shows: a preview, as a JPEG file with EXIF to turn it by, or an upright image."""

    jpeg: bytes = b""
    exif: bytes = b""
    image: Image.Image | None = None


def is_raw(data: bytes) -> bool:
    """Whether a file is camera RAW, by its content."""
    return kind_of(data) == CAMERA_RAW or (data.startswith(tiff.STARTS) and tiff.is_raw(data))


def dimensions(data: bytes) -> tuple[int, int]:
    """Return the sensor's width and height as LibRaw would develop it, upright. Raises ImageError."""
    with _opened(data) as raw:
        size = raw.sizes.width, raw.sizes.height
        return size[::-1] if _ORIENTATIONS.get(raw.sizes.flip, 1) in _QUARTER_TURNS else size


def read(data: bytes, limits: Limits, *, exact: bool, with_preview: bool = True) -> Shot:
    """Return what a RAW file shows; without `with_preview` its developed samples.

    Raises ImageError: unsupported (without the library; a camera that it does not know), truncated, decode,
    too_large.
    """
    with _opened(data) as raw:
        import rawpy

        if not with_preview:
            return Shot(image=_developed(raw, limits, exact=exact))
        missing = rawpy.LibRawNoThumbnailError, rawpy.LibRawUnsupportedThumbnailError
        try:
            thumb = raw.extract_thumb()
        except (*missing, rawpy.NotSupportedError):  # the last: a kind that rawpy does not hand out
            return Shot(image=_developed(raw, limits, exact=exact))
        if isinstance(thumb.data, bytes):
            return Shot(jpeg=thumb.data, exif=_exif(thumb.data, raw.sizes))
        return Shot(image=_turned(Image.fromarray(thumb.data), raw.sizes))


def _developed(raw: Any, limits: Limits, *, exact: bool) -> Image.Image:
    """Make an image of the sensor's samples; LibRaw turns it."""
    sizes = raw.sizes
    if sizes.raw_width * sizes.raw_height > limits.max_megapixels * 1e6:
        raise too_many_pixels(limits)
    return Image.fromarray(raw.postprocess(use_camera_wb=True, half_size=not exact))


def _exif(jpeg: bytes, sizes: Any) -> bytes:
    """Return EXIF that turns a preview as the camera was held.

    LibRaw gives a preview that has no EXIF of its own the file's orientation. Some programs store previews
    that are turned already: seen where the preview is upright and the sensor lies, or the other way round.
    """
    exif = Image.Exif()
    with suppress(*DECODER_ERRORS), Image.open(io.BytesIO(jpeg), formats=("JPEG",)) as preview:
        own = preview.getexif().get(ExifTags.Base.Orientation)
        turn = own or _ORIENTATIONS.get(sizes.flip, 1)
        exif[ExifTags.Base.Orientation] = 1 if _is_turned(preview.size, sizes, turn) else turn
    return exif.tobytes()


def _is_turned(size: tuple[int, int], sizes: Any, turn: int) -> bool:
    lies = sizes.width > sizes.height
    is_square = sizes.width == sizes.height or size[0] == size[1]
    return turn in _QUARTER_TURNS and not is_square and (size[0] > size[1]) != lies


def _turned(image: Image.Image, sizes: Any) -> Image.Image:
    turn = _ORIENTATIONS.get(sizes.flip, 1)
    if _is_turned(image.size, sizes, turn):
        return image
    angles = {3: 180, 8: 90, 6: 270}
    return image.rotate(angles[turn], expand=True) if turn in angles else image


@contextmanager
def _opened(data: bytes) -> Iterator[Any]:
    """Open a RAW file with LibRaw, and make ImageErrors of what that raises."""
    try:
        import rawpy
    except ImportError:
        raise ImageError(
            "unsupported",
            "A camera RAW file needs rawpy. Install it with: pip install 'siglipcli[photo]'",
            library="rawpy",
            extra="photo",
        ) from None
    try:
        with rawpy.imread(io.BytesIO(data)) as raw:
            yield raw
    except rawpy.LibRawUnsufficientMemoryError as error:
        raise MemoryError from error
    except rawpy.LibRawTooBigError:
        raise ImageError("too_large", "The RAW image is too large for LibRaw; export it.") from None
    except rawpy.LibRawIOError:
        raise cut_short() from None
    except rawpy.LibRawFileUnsupportedError:
        raise ImageError(
            "unsupported",
            "This camera RAW is damaged, or of a kind that LibRaw does not know; export it as JPEG or TIFF.",
        ) from None
    except (rawpy.LibRawError, rawpy.NotSupportedError) as error:
        detail = error.args[0] if error.args else error
        words = detail.decode(errors="replace") if isinstance(detail, bytes) else str(detail)
        raise ImageError(
            "decode", f"The RAW file is damaged, or of a rare kind: {words}."
        ) from error
