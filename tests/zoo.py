"""The image zoo: small makers of every kind of image file, whole and broken.

Makers return bytes, so that a test decides whether they become a file, stdin or a record.
Nothing is downloaded: photographs come from inside the scikit-image package, the rest is drawn.
"""

from __future__ import annotations

import importlib.util
import io
import os
import struct
import zlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from PIL import ExifTags, Image, ImageCms

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = [
    "EPS",
    "HTML",
    "INVERSE_TURNS",
    "ODD_NAMES",
    "PHOTOGRAPHS",
    "TEXT",
    "alpha_ramp",
    "animated",
    "as_grey",
    "claiming",
    "drawn",
    "encoded",
    "grey_png_with_clear_value",
    "heic_stub",
    "oriented",
    "palette_with_transparency",
    "photograph",
    "png",
    "sixteen_bit_rgb_png",
    "tenths",
    "tiff",
    "turned_on_its_side",
    "with_broken_exif",
    "with_broken_profile",
    "with_profile",
    "ycck",
]

PHOTOGRAPHS = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")
"""Colour photographs inside the scikit-image package: a person, a cat, a cup, a rocket."""

TEXT = "Dear diary,\nthis is not an image. Ünïcödé neither.\n".encode()
HTML = b"<!DOCTYPE html>\n<html><head><title>404 Not Found</title></head><body></body></html>\n"
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n"

ODD_NAMES: tuple[str, ...] = (
    "two\nlines.png",
    'quo"te.png',
    "com,ma.png",
    "esc\x1b[31mred.png",
    "[bold]markup[red].png",
    "=cmd|' C calc'!A0.png",
    "-leading-dash.png",
    "tab\there.png",
    " spaces .png",
    "naïve 猫 🐈.png",
    "e\u0301 decomposed.png",
    "back\\slash.png",
    "right\u202eto left.png",
    os.fsdecode(b"latin1-\xe9.png"),
)
"""File names that break careless writers; the last is not UTF-8."""


@cache
def photograph(name: str = "astronaut.png") -> Image.Image:
    """One of PHOTOGRAPHS, RGB. Shared: copy before drawing on it."""
    spec = importlib.util.find_spec("skimage")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    image: Image.Image = Image.open(Path(spec.submodule_search_locations[0]) / "data" / name)
    with image:
        return image.convert("RGB")


def drawn(width: int = 61, height: int = 43, *, step: int = 1) -> Image.Image:
    """Draw RGB with no symmetry at all: a ramp each way and a diagonal, and a bright corner.

    With `step=17` every sample is a multiple of 17, so that 4-bit depths lose nothing.
    """
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    bands = (x / max(width - 1, 1), y / max(height - 1, 1), (x + 2 * y) / (width + 2 * height))
    samples = np.stack(bands, axis=-1) * 255
    samples[: height // 4, : width // 5] = (255, 230, 20)
    return Image.fromarray((np.rint(samples / step) * step).clip(0, 255).astype(np.uint8))


def as_grey(image: Image.Image) -> NDArray[np.uint8]:
    """Return the luma of an image that spans the whole of 0 to 255: uint8[h, w]."""
    grey = np.array(image.convert("L"))
    grey[0, 0], grey[-1, -1] = 0, 255
    return grey


def encoded(image: Image.Image, file_format: str = "PNG", **options: object) -> bytes:
    """Return the image as a file of the format."""
    out = io.BytesIO()
    image.save(out, file_format, **options)
    return out.getvalue()


# --------------------------------------------------------------------------------- EXIF

INVERSE_TURNS = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""EXIF orientation → how a camera held that way stores the upright image."""


def turned_on_its_side(upright: Image.Image, orientation: int) -> Image.Image:
    """Return the pixels as a camera stores them under this EXIF orientation."""
    turn = INVERSE_TURNS[orientation]
    return upright if turn is None else upright.transpose(turn)


def oriented(
    upright: Image.Image, orientation: int, file_format: str = "PNG", **options: object
) -> bytes:
    """Return a file whose EXIF orientation (1 to 8) makes it the upright image again."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    stored = turned_on_its_side(upright, orientation)
    return encoded(stored, file_format, exif=exif.tobytes(), **options)


def with_broken_exif(image: Image.Image, file_format: str = "JPEG") -> bytes:
    """Return an image whose EXIF block is noise behind a valid first line."""
    noise = b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + bytes(range(256)) * 2
    return encoded(image, file_format, exif=noise)


def with_broken_profile(image: Image.Image, file_format: str = "JPEG") -> bytes:
    """Return an image whose colour profile is noise."""
    return encoded(image, file_format, icc_profile=b"\x00\x00\x02\x0cnoise" * 40)


def with_profile(image: Image.Image, file_format: str = "PNG") -> bytes:
    """Return an image with a valid sRGB profile."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    return encoded(image, file_format, icc_profile=profile.tobytes())


# ---------------------------------------------------------------- modes and sample depths


def alpha_ramp(image: Image.Image) -> Image.Image:
    """Return an 8-bit alpha band for the image: clear at the left, opaque at the right."""
    ramp = np.linspace(0, 255, image.width).astype(np.uint8)
    return Image.fromarray(np.tile(ramp, (image.height, 1)))


def palette_with_transparency(image: Image.Image, transparency: int | bytes) -> bytes:
    """Return a palette PNG; `transparency` is one clear entry, or an alpha for each entry."""
    return encoded(image.quantize(32, dither=Image.Dither.NONE), transparency=transparency)


def ycck(cmyk: Image.Image) -> bytes:
    """Return a JPEG in YCCK, as Photoshop writes it, of a CMYK image.

    Pillow writes CMYK only: so CMY is put through YCbCr here, and the Adobe marker told so.
    """
    cyan, magenta, yellow, black = cmyk.split()
    ycc = Image.merge("RGB", (cyan, magenta, yellow)).convert("YCbCr")
    bands = [band.point(lambda v: 255 - v) for band in ycc.split()]
    data = encoded(Image.merge("CMYK", (*bands, black)), "JPEG", quality=98)
    transform = data.index(b"Adobe") + 11
    assert data[transform] == 0
    return data[:transform] + b"\x02" + data[transform + 1 :]


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(
    width: int, height: int, depth: int, colour: int, rows: Sequence[bytes], *extra: bytes
) -> bytes:
    """Return a PNG put together by hand: colour 0 grey, 2 RGB, 4 grey + alpha, 6 RGBA."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    chunks = (_chunk(b"IHDR", header), *extra, _chunk(b"IDAT", body), _chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def sixteen_bit_rgb_png(image: Image.Image) -> bytes:
    """Return an RGB PNG with 16 bits a sample: 255 becomes 65535."""
    samples = (np.asarray(image).astype(np.uint16) * 257).astype(">u2")
    return png(image.width, image.height, 16, 2, [row.tobytes() for row in samples])


def grey_png_with_clear_value(grey: NDArray[np.uint16], clear: int) -> bytes:
    """Return a 16-bit grey PNG in which one value is transparent. Shape (h, w)."""
    rows = [row.tobytes() for row in grey.astype(">u2")]
    transparent = _chunk(b"tRNS", struct.pack(">H", clear))
    return png(grey.shape[1], grey.shape[0], 16, 0, rows, transparent)


def tiff(
    samples: NDArray[Any], *, photometric: int = 1, order: Literal["<", ">"] = "<", bands: int = 1
) -> bytes:
    """Return a TIFF put together by hand: grey, uncompressed, one strip. Shape (h, w).

    `bands` is what the header claims; more than one is a lie.
    """
    height, width = samples.shape
    kind = {"u": 1, "i": 2, "f": 3}[samples.dtype.kind]
    body = samples.astype(samples.dtype.newbyteorder(order)).tobytes()
    tags = {256: width, 257: height, 258: samples.itemsize * 8, 259: 1, 262: photometric}
    tags |= {273: 8 + 2 + 12 * 10 + 4, 277: bands, 278: height, 279: len(body), 339: kind}
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, len(tags))
    entries = b"".join(struct.pack(order + "HHII", tag, 4, 1, v) for tag, v in tags.items())
    return start + entries + b"\0" * 4 + body


def animated(first: Image.Image, file_format: str) -> bytes:
    """Return two frames (for TIFF and MPO: pages), of which the second is black."""
    second = Image.new(first.mode, first.size)
    extra = {"lossless": True} if file_format == "WEBP" else {}
    return encoded(first, file_format, save_all=True, append_images=[second], **extra)


# -------------------------------------------------------------------------------- broken


def tenths(data: bytes) -> list[bytes]:
    """Return the file cut short after one tenth, two tenths, … nine tenths."""
    return [data[: len(data) * part // 10] for part in range(1, 10)]


def claiming(width: int, height: int) -> bytes:
    """Return a tiny PNG whose header claims this size: a decompression bomb where it is large."""
    return png(width, height, 8, 2, [b"\0" * 30])


def heic_stub(brand: bytes = b"heic") -> bytes:
    """Return the beginning of a HEIF container: enough to be known by, not to be decoded."""
    return (
        struct.pack(">I", 28) + b"ftyp" + b"mif1\0\0\0\0" + b"mif1" + brand + b"miaf" + b"\0" * 64
    )
