"""From a decoded image to the model's square: 8 bits a sample, upright, opaque, resized."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import ExifTags, Image, ImageChops

from siglipcli.errors import ImageError
from siglipcli.images.colour import to_srgb
from siglipcli.images.formats import DECODER_ERRORS

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["eight_bit", "forget_xmp", "opaque", "square", "upright"]

_T = Image.Transpose
_TURNS = {
    2: _T.FLIP_LEFT_RIGHT,
    3: _T.ROTATE_180,
    4: _T.FLIP_TOP_BOTTOM,
    5: _T.TRANSPOSE,
    6: _T.ROTATE_270,
    7: _T.TRANSVERSE,
    8: _T.ROTATE_90,
}


def forget_xmp(image: Image.Image) -> None:
    """Drop XMP before Pillow reads an orientation from it: viewers turn by EXIF alone."""
    for name in ("xmp", "XML:com.adobe.xmp", "Raw profile type exif"):
        image.info.pop(name, None)


def upright(image: Image.Image, tagged: Image.Image) -> Image.Image:
    """Turn `image` by the EXIF orientation of `tagged`; EXIF that cannot be read turns nothing.

    HEIC's own turns are done by its decoder, AVIF's are in EXIF's place when Pillow has opened it,
    and a TIFF is turned by Pillow. Before the resize, not after: 90° later would round differently from the upright image.
    """
    try:
        exif = Image.Exif()  # not `getexif`, which may have looked into XMP when it was opened
        exif.load(tagged.info.get("exif", b""))
        turn = _TURNS.get(exif.get(ExifTags.Base.Orientation, 1))
    except DECODER_ERRORS:
        turn = None
    return image if turn is None else image.transpose(turn)


def opaque(image: Image.Image, *, keep_cmyk: bool = False) -> Image.Image:
    """Put the image on white where it is transparent. Returns mode L or RGB; CMYK on demand."""
    if not image.has_transparency_data:
        kept = {"L", "RGB", "CMYK"} if keep_cmyk else {"L", "RGB"}
        return image if image.mode in kept else image.convert("RGB")
    if image.mode != "RGBA":  # La by way of LA: on the straight way Pillow drops its alpha
        image = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
    rgb = image.convert("RGB")
    rgb.paste((255, 255, 255), mask=ImageChops.invert(image.getchannel("A")))
    return rgb


def square(image: Image.Image, size: int, profile: bytes | None = None) -> NDArray[np.uint8]:
    """Squeeze mode L, RGB or CMYK into uint8[size, size, 3], in sRGB where `profile` leads there.

    A grey image is resized as one band: the same numbers as three, a third of the work. Colours are
    converted after the reduction: so many fewer of them.
    """
    small = image.resize((size, size), Image.Resampling.BICUBIC)
    return np.array(to_srgb(small, profile).convert("RGB"), dtype=np.uint8)


# ------------------------------------------------------------- more than 8 bits a sample

_BITS_PER_SAMPLE, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339  # TIFF tags
_WHITE_IS_ZERO, _UNSIGNED = 0, (1,)  # values of the last two


def eight_bit(image: Image.Image) -> Image.Image:
    """Bring 16-bit, 32-bit integer and float samples (h, w) to mode L, by their range.

    The range is the declared depth's where the file says it (16-bit: 65535 becomes 255). Else
    the smallest of 0..1 (floats), 0..255 and 0..65535 that holds every sample; failing these,
    from the least sample to the greatest. NaN becomes black, infinities the ends of the range.
    """
    if image.mode not in {"I", "F"} and not image.mode.startswith("I;16"):
        return image
    tags = getattr(image, "tag_v2", {})
    samples = np.asarray(image)  # (h, w)
    if image.mode == "I" and tags.get(_SAMPLE_FORMAT, _UNSIGNED if tags else ()) == _UNSIGNED:
        samples = samples.view(np.uint32)  # Pillow has no such mode: it wraps at 2**31
    low, high = _range(image, samples)
    grey = _rescaled(samples, low, high)
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        grey = 255 - grey
    if isinstance(clear := image.info.get("transparency"), int):
        grey[samples == clear] = 255
    return Image.fromarray(grey)


def _range(image: Image.Image, samples: NDArray[np.number]) -> tuple[float, float]:
    """Find which samples are black and which are white."""
    if image.mode.startswith("I;16"):
        bits = getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, (16,))
        return 0, (1 << bits[0]) - 1
    if image.mode == "I" and image.format in {"PNG", "PPM"}:  # Pillow scales these to 16 bits
        return 0, 65535
    usable = samples[np.isfinite(samples)] if image.mode == "F" else samples
    if usable.size == 0:
        raise ImageError("decode", "The image holds no finite number.")
    low, high = float(usable.min()), float(usable.max())
    steps = (1, 255, 65535) if image.mode == "F" else (255, 65535)
    return next(((0, top) for top in steps if low >= 0 and high <= top), (low, high))


def _rescaled(samples: NDArray[np.number], low: float, high: float) -> NDArray[np.uint8]:
    """Map low..high to 0..255, rounded and clipped. Shapes (h, w)."""
    scale = 255 / (high - low) if high > low else 0.0
    if samples.dtype.char == "H":  # 16 bits, either byte order: by table, a tenth of the memory
        table = np.rint((np.arange(65536) - low) * scale).clip(0, 255).astype(np.uint8)
        grey: NDArray[np.uint8] = table[samples.astype(np.uint16, copy=False)]
        return grey
    with np.errstate(invalid="ignore"):  # NaN, on its way to black
        scaled = samples.astype(np.float64)
        scaled -= low
        scaled *= scale
    np.nan_to_num(scaled, copy=False, nan=0.0)
    np.rint(scaled, out=scaled)
    return scaled.clip(0, 255, out=scaled).astype(np.uint8)
