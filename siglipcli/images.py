"""Bytes → upright, opaque RGB → uint8[size, size, 3], the model's own square.

The pixels are the reference chain's: Pillow's antialiased bicubic resize to size by size pixels,
both sides squeezed, nothing cropped. What the reference leaves out happens before it, so that the
picture a person sees is the picture that is scored:

    EXIF orientation → 16-bit, integer and float samples to 8 bits → transparency on white → RGB

An RGB or grey picture without EXIF comes out bit for bit as open_clip's transform makes it. Colour
profiles are not applied, as the reference applies none. Of animations and multi-page files the
first frame is read.

Every function may run in many threads at once. `decode` touches two things that belong to the
whole process, on purpose and idempotently: it keeps Pillow's own warnings off stderr, and it
raises Pillow's ceiling for decompression bombs where the caller's is higher (179 megapixels and up).
"""

from __future__ import annotations

import codecs
import ctypes
import importlib
import io
import logging
import math
import os
import re
import stat
import struct
import sys
import warnings
import zlib
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import ExifTags, Image, ImageChops, UnidentifiedImageError, _imaging

from siglipcli.errors import ImageError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from siglipcli.records import Source

__all__ = ["DEFAULT_LIMITS", "FORMATS", "Limits", "decode", "load_bytes", "read"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a picture may cost: pixels once decoded (in millions), bytes before."""

    max_megapixels: float = 100
    max_bytes: int = 1 << 30


DEFAULT_LIMITS = Limits()


def read(
    source: Source, size: int, limits: Limits = DEFAULT_LIMITS, *, exact: bool = True
) -> NDArray[np.uint8]:
    """Do `load_bytes`, then `decode`: uint8[size, size, 3], or ImageError."""
    return decode(load_bytes(source, limits), size, limits, exact=exact)


def load_bytes(source: Source, limits: Limits = DEFAULT_LIMITS) -> bytes:
    """Return the source's whole content. Never waits on a FIFO, never opens a device.

    Raises ImageError: vanished, permission, is_directory, not_a_file, unreadable, too_large.
    """
    if isinstance(source.content, bytes):
        _check_bytes(len(source.content), limits)
        return source.content
    try:
        return _read_file(source.content, limits)
    except (FileNotFoundError, NotADirectoryError):
        raise ImageError("vanished", "The file is gone: it was moved or deleted.") from None
    except PermissionError:
        raise ImageError("permission", "No permission to read this file.") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or str(error)
        raise ImageError("unreadable", f"The file cannot be read: {reason}.") from error
    except MemoryError:
        raise ImageError("too_large", "Not enough memory to read this file.") from None


def decode(
    data: bytes, size: int, limits: Limits = DEFAULT_LIMITS, *, exact: bool = True
) -> NDArray[np.uint8]:
    """Decode one picture into uint8[size, size, 3], C-contiguous and writable.

    With `exact=False` a large JPEG is decoded at a half, a quarter or an eighth of its size,
    though never below twice `size` a side: several times faster, nearly the same pixels.
    Raises ImageError: unidentified, unsupported, truncated, too_large, decode.
    """
    formats = _formats_for(data)
    _settle_pillow(limits)
    try:
        with Image.open(io.BytesIO(data), formats=formats) as image:
            if image.width * image.height > limits.max_megapixels * 1e6:
                raise _too_many_pixels(limits)
            if not exact and image.format in {"JPEG", "MPO"}:
                image.draft(None, (2 * size, 2 * size))
            image.load()
            return _square(_opaque(_upright(_eight_bit(image), image)), size)
    except Image.DecompressionBombError:
        raise _too_many_pixels(limits) from None
    except MemoryError:
        raise ImageError("too_large", "Not enough memory to decode this picture.") from None
    except UnidentifiedImageError:
        raise _unidentified(data) from None
    except _DECODER_ERRORS as error:
        raise _undecodable(data, error) from error


def _read_file(path: Path, limits: Limits) -> bytes:
    info = path.stat()  # before the open: opening a device can have effects
    if stat.S_ISDIR(info.st_mode):
        raise ImageError("is_directory", "This is a folder, not a picture.")
    if not stat.S_ISREG(info.st_mode):
        raise ImageError("not_a_file", "This is a pipe or a device; use - and send it on stdin.")
    _check_bytes(info.st_size, limits)
    with open(path, "rb", buffering=0, opener=_open_without_waiting) as file:
        data = file.readall() or b""
    _check_bytes(len(data), limits)
    return data


def _open_without_waiting(path: str, flags: int) -> int:
    # O_NONBLOCK: should a FIFO take the file's place after the check, the open returns at once.
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _check_bytes(n_bytes: int, limits: Limits) -> None:
    if n_bytes > limits.max_bytes:
        raise ImageError("too_large", f"The file has more than {limits.max_bytes >> 20} MiB.")


# ----------------------------------------------------------------------------- formats

_PLUGINS = ("Avif", "Bmp", "Gif", "Ico", "Jpeg", "Jpeg2K", "Mpo", "Png", "Ppm", "Tiff", "WebP")
for _plugin in _PLUGINS:
    with suppress(ImportError):  # a Pillow that is older, or was built without this one
        importlib.import_module(f"PIL.{_plugin}ImagePlugin")

_ALLOWED = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM", "ICO")
FORMATS = tuple(name for name in _ALLOWED if name in Image.OPEN)
"""What Pillow may open. An allow-list: EPS would start Ghostscript, TGA has no signature."""

_DECODER_ERRORS = (
    *(OSError, EOFError, SyntaxError, ValueError, TypeError),
    *(LookupError, ArithmeticError, struct.error, zlib.error),  # index, key, division, overflow
    *(RuntimeError, NotImplementedError, ImportError),  # a codec this build lacks
)
"""What decoders raise on damaged input: Pillow's own fuzzers, its issues, and ours."""

_SIGNATURES = {
    "JPEG": (b"\xff\xd8\xff",),
    "PNG": (b"\x89PNG\r\n\x1a\n",),
    "GIF": (b"GIF87a", b"GIF89a"),
    "TIFF": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    "JPEG 2000": (b"\x00\x00\x00\x0cjP  ", b"\xff\x4f\xff\x51"),
    "JPEG XL": (b"\xff\x0a", b"\x00\x00\x00\x0cJXL "),
    "PDF": (b"%PDF-",),
    "PostScript": (b"%!PS", b"\xc5\xd0\xd3\xc6"),
    "Photoshop": (b"8BPS",),
}
_HEVC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
_AVIF_BRANDS = {b"avif", b"avis"}
_FOREIGN = {"PDF", "PostScript", "Photoshop", "video or audio"}

_PLUGIN_FOR = {
    "HEIC": ("pillow_heif", "HEIF", 'pip install "siglipcli[heif]"'),
    "JPEG XL": ("pillow_jxl", "JXL", "pip install pillow-jxl-plugin"),
}
"""Kind of file → the module that teaches Pillow to read it, Pillow's name for it, the remedy."""


def _kind_of(data: bytes) -> str | None:
    """Name the format that the first bytes claim; None where they claim nothing known."""
    if data.startswith(b"RIFF"):
        return "WebP" if data[8:12] == b"WEBP" else "video or audio"
    if data[4:8] == b"ftyp":
        length = min(int.from_bytes(data[:4], "big"), 4096)
        brands = {data[8:12], *(data[i : i + 4] for i in range(16, length, 4))}
        # a container's own brand says little (`mif1`): the compatible ones name the codec
        if brands & _HEVC_BRANDS:
            return "HEIC"
        return "AVIF" if brands & _AVIF_BRANDS else "video or audio"
    return next((kind for kind, starts in _SIGNATURES.items() if data.startswith(starts)), None)


def _formats_for(data: bytes) -> tuple[str, ...]:
    """Choose what Pillow may try. Raises ImageError for what it need not be asked about."""
    if not data:
        raise ImageError("unidentified", "The file is empty (0 bytes).")
    kind = _kind_of(data)
    if kind in _FOREIGN:
        raise ImageError("unsupported", f"This is a {kind} file; export it as PNG or JPEG.")
    if kind not in _PLUGIN_FOR:
        return FORMATS
    module, name, remedy = _PLUGIN_FOR[kind]
    if not _plugin_present(module, name):
        raise ImageError("unsupported", f"{kind} needs a plugin: {remedy}, or convert it to JPEG.")
    return (name,)


def _plugin_present(module: str, name: str) -> bool:
    """Import a plugin once its kind of file is met; registering it twice is harmless."""
    try:
        plugin = importlib.import_module(module)
    except ImportError:
        return False
    getattr(plugin, "register_heif_opener", int)()  # the other plugin registers by being imported
    return name in Image.OPEN


# ---------------------------------------------------------------------------- complaints

_CUT_SHORT = re.compile(r"truncat|broken data stream|unexpected end of file", re.IGNORECASE)
_END_MARKS = {"JPEG": b"\xff\xd9", "PNG": b"IEND", "GIF": b"\x3b"}


def _unidentified(data: bytes) -> ImageError:
    """Say what a file is that no decoder recognised."""
    if kind := _kind_of(data):
        return _undecodable(data, ValueError(f"a {kind} file that Pillow cannot open"))
    head = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if head.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        what = "This is an HTML page, not a picture: perhaps a failed download."
    elif b"<svg" in head:
        return ImageError("unsupported", "This is an SVG drawing; export it as PNG.")
    elif _is_text(head):
        what = "This is text, not a picture."
    else:
        what = "No known picture format begins like this; the file may be damaged."
    return ImageError("unidentified", what)


def _is_text(head: bytes) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)  # the last character may be cut
    except UnicodeDecodeError:
        return False
    return b"\0" not in head


def _undecodable(data: bytes, error: Exception) -> ImageError:
    """Tell a file that was cut short from one that is damaged."""
    if _CUT_SHORT.search(str(error)) or _lacks_its_end(data):
        return ImageError("truncated", "The file is cut short; copy or download it again.")
    detail = " ".join(str(error).split())[:120] or type(error).__name__
    return ImageError("decode", f"The picture is damaged, or of a rare kind: {detail}.")


def _lacks_its_end(data: bytes) -> bool:
    kind = _kind_of(data)
    if kind == "WebP":  # RIFF: the length of the rest is in bytes 4 to 8
        return len(data) < int.from_bytes(data[4:8], "little") + 8
    mark = _END_MARKS.get(kind or "")
    return mark is not None and mark not in data[-64:]


def _too_many_pixels(limits: Limits) -> ImageError:
    return ImageError(
        "too_large",
        f"The picture has more than {limits.max_megapixels:g} megapixels; "
        "raise --max-megapixels if you trust it.",
    )


_HUSHED = [
    ("ignore", None, category, re.compile(r"PIL\."), 0)
    for category in (UserWarning, Image.DecompressionBombWarning)
]
# Damaged TIFFs: the plugin logs what it also raises, libtiff prints what the plugin also raises
logging.getLogger("PIL").addHandler(logging.NullHandler())
with suppress(AttributeError, OSError):  # a Pillow that does not show its libtiff (Windows)
    ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler(None)


def _settle_pillow(limits: Limits) -> None:
    """Keep Pillow's warnings off stderr, and its bomb ceiling from answering before ours.

    `warnings.catch_warnings` is not safe in threads, so the two filters stay; they name Pillow's
    modules and two categories only. The ceiling is not removed: Pillow's plugins rely on it for
    pictures inside pictures (an ICO holding a huge PNG).
    """
    if warnings.filters[: len(_HUSHED)] != _HUSHED:
        for _, _, category, _, _ in reversed(_HUSHED):
            warnings.filterwarnings("ignore", category=category, module=r"PIL\.")
    half = math.ceil(min(limits.max_megapixels * 1e6, sys.maxsize) / 2)
    if Image.MAX_IMAGE_PIXELS is not None and half > Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = half  # Pillow refuses from twice this number on


# ------------------------------------------------------------------------------- pixels

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


def _upright(image: Image.Image, tagged: Image.Image) -> Image.Image:
    """Turn `image` by the EXIF orientation of `tagged`; EXIF that cannot be read turns nothing.

    Before the resize, not after: 90° later would round differently from the upright picture.
    """
    try:
        turn = _TURNS.get(tagged.getexif().get(ExifTags.Base.Orientation, 1))
    except _DECODER_ERRORS:
        turn = None
    return image if turn is None else image.transpose(turn)


def _opaque(image: Image.Image) -> Image.Image:
    """Put the picture on white where it is transparent. Returns mode L or RGB."""
    if not image.has_transparency_data:
        return image if image.mode in {"L", "RGB"} else image.convert("RGB")
    if image.mode != "RGBA":  # La by way of LA: on the straight way Pillow drops its alpha
        image = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
    rgb = image.convert("RGB")
    rgb.paste((255, 255, 255), mask=ImageChops.invert(image.getchannel("A")))
    return rgb


def _square(image: Image.Image, size: int) -> NDArray[np.uint8]:
    # a grey picture is resized as one band: the same numbers as three, a third of the work
    small = image.resize((size, size), Image.Resampling.BICUBIC)
    return np.array(small.convert("RGB"), dtype=np.uint8)


# ------------------------------------------------------------- more than 8 bits a sample

_BITS_PER_SAMPLE, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339  # TIFF tags
_WHITE_IS_ZERO, _UNSIGNED = 0, (1,)  # values of the last two


def _eight_bit(image: Image.Image) -> Image.Image:
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
        raise ImageError("decode", "The picture holds no finite number.")
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
