"""Camera RAW for tests: small DNG files written by hand, as cameras do, with previews or without.

A DNG is a TIFF: its first directory holds a small thumbnail or a preview, those below it the sensor's samples
(a colour filter array) and more previews, each a JPEG.
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

__all__ = ["Directory", "cfa", "dng", "jpeg", "tiff"]

_SHORT, _LONG, _BYTE, _ASCII, _SRATIONAL, _UNDEFINED = 3, 4, 1, 2, 10, 7
_FORMATS = {_BYTE: "B", _UNDEFINED: "B", _SHORT: "H", _LONG: "I", _SRATIONAL: "i"}
_EXIF, _DATE = 34665, 36867


@dataclass
class Directory:
    """One TIFF directory: tags, the bytes of its only strip, directories below it, and EXIF."""

    tags: dict[int, tuple[int, Any]]
    strip: bytes = b""
    below: list[Directory] = field(default_factory=list)
    exif: Directory | None = None


def tiff(first: Directory, order: str = "<", magic: int = 42) -> bytes:
    """Write a TIFF structure."""
    data = bytearray((b"II" if order == "<" else b"MM") + struct.pack(order + "HI", magic, 0))
    where = _write(first, data, order)
    data[4:8] = struct.pack(order + "I", where)
    return bytes(data)


def _write(directory: Directory, data: bytearray, order: str) -> int:
    tags = dict(directory.tags)
    if directory.strip:
        tags |= {
            273: (_LONG, [_append(data, directory.strip)]),
            279: (_LONG, [len(directory.strip)]),
        }
    if directory.below:
        tags[330] = (_LONG, [_write(each, data, order) for each in directory.below])
    if directory.exif:
        tags[_EXIF] = (_LONG, [_write(directory.exif, data, order)])
    entries = b""
    for tag, (kind, value) in sorted(tags.items()):
        raw = _packed(kind, value, order)
        count = len(value) // (2 if kind == _SRATIONAL else 1)
        if len(raw) > 4:
            raw = struct.pack(order + "I", _append(data, raw))
        entries += struct.pack(order + "HHI", tag, kind, count) + raw.ljust(4, b"\0")
    return _append(data, struct.pack(order + "H", len(tags)) + entries + bytes(4))


def _packed(kind: int, value: Any, order: str) -> bytes:
    return value if kind == _ASCII else struct.pack(f"{order}{len(value)}{_FORMATS[kind]}", *value)


def _append(data: bytearray, more: bytes) -> int:
    data += bytes(len(data) % 2)
    where = len(data)
    data += more
    return where


def jpeg(image: Image.Image, orientation: int | None = None) -> bytes:
    """Encode a preview, with EXIF that tells its orientation where one is given."""
    stream = io.BytesIO()
    exif = Image.Exif()
    if orientation:
        exif[274] = orientation
    image.save(stream, "JPEG", quality=95, exif=exif if orientation else b"")
    return stream.getvalue()


def cfa(image: Image.Image) -> Directory:
    """Return the sensor's samples of a scene: uint16, the pattern RGGB."""
    rgb = np.asarray(image.convert("RGB")).astype(np.uint16) * 200 + 100
    samples = rgb[..., 1].copy()
    samples[::2, ::2], samples[1::2, 1::2] = rgb[::2, ::2, 0], rgb[1::2, 1::2, 2]
    height, width = samples.shape
    return Directory(
        {
            254: (_LONG, [0]), 256: (_LONG, [width]), 257: (_LONG, [height]), 258: (_SHORT, [16]),
            259: (_SHORT, [1]), 262: (_SHORT, [32803]), 277: (_SHORT, [1]), 278: (_LONG, [height]),
            284: (_SHORT, [1]), 33421: (_SHORT, [2, 2]), 33422: (_BYTE, [0, 1, 1, 2]),
            50717: (_LONG, [65535]),
        },
        samples.astype("<u2").tobytes(),
    )  # fmt: skip


def preview(data: bytes, size: tuple[int, int], *, kind: int = 1) -> Directory:
    """Return a directory that holds a JPEG."""
    return Directory(
        {
            254: (_LONG, [kind]), 256: (_LONG, [size[0]]), 257: (_LONG, [size[1]]),
            258: (_SHORT, [8, 8, 8]), 259: (_SHORT, [7]), 262: (_SHORT, [6]), 277: (_SHORT, [3]),
            278: (_LONG, [size[1]]),
        },
        data,
    )  # fmt: skip


def dng(
    scene: Image.Image,
    *previews: tuple[bytes, tuple[int, int]],
    orientation: int = 1,
    order: str = "<",
    taken: str | None = None,
    samples: Directory | None = None,
) -> bytes:
    """Write a DNG of a scene as the sensor sees it: the first directory is the sensor's, as phones do it."""
    first = samples or cfa(scene)
    if order == ">":
        first.strip = np.frombuffer(first.strip, "<u2").astype(">u2").tobytes()
    matrix = [3133856, -1616867, -490615, -978768, 1916142, 33454, 71945, -228991, 1405243]
    first.tags |= {
        271: (_ASCII, b"Drawn\0"), 272: (_ASCII, b"By hand\0"), 274: (_SHORT, [orientation]),
        50706: (_BYTE, [1, 4, 0, 0]), 50707: (_BYTE, [1, 1, 0, 0]), 50708: (_ASCII, b"Drawn By hand\0"),
        50721: (_SRATIONAL, [part for value in matrix for part in (value, 1_000_000)]),
        50778: (_SHORT, [21]),
    }  # fmt: skip
    first.below = [preview(*each) for each in previews]
    if taken:
        first.exif = Directory({_DATE: (_ASCII, taken.encode() + b"\0")})
    return tiff(first, order)
