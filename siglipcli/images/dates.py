"""When an image was taken, by its EXIF: without decoding, and without the decoders of rare formats."""

from __future__ import annotations

import io
import mmap
import re
from datetime import datetime
from typing import TYPE_CHECKING

from PIL import ExifTags, Image

from siglipcli.images.formats import DECODER_ERRORS

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["taken"]

_LONGEST = 1 << 18
"""Bytes of an EXIF block that are read: JPEG's segments end at 64 KiB."""
_FIRST = 64 << 20
"""Bytes of a file that are searched for it."""
_TIFF = re.compile(rb"II[*RU]\0|II\x55\0|MM\0\*|IIRO|IIRS|MMOR")
_BLOCK = re.compile(rb"(?:Exif\0\0|eXIf|CMT2|EXIF....(?:Exif\0\0)?)(?=II\*\0|MM\0\*)", re.DOTALL)
"""What stands before EXIF: in JPEG, HEIC and AVIF; PNG; CR3; WebP."""
_DATE = re.compile(r"(\d{4})[:-](\d\d)[:-](\d\d)[ T](\d\d):(\d\d)(?::(\d\d))?")


def taken(path: Path) -> datetime | None:
    """Return EXIF's DateTimeOriginal, in the camera's own time; None where there is none to be read."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            if _TIFF.match(data):
                return _date(Image.Exif(), data[:_FIRST] if len(data) > _FIRST else data[:])
            if match := _BLOCK.search(data, 0, _FIRST):
                return _date(Image.Exif(), data[match.end() : match.end() + _LONGEST])
    except (*DECODER_ERRORS, MemoryError):
        return None
    return None


def _date(exif: Image.Exif, block: bytes) -> datetime | None:
    """Read a TIFF structure whose first directory is EXIF's or leads to it."""
    exif.load_from_fp(io.BytesIO(_as_tiff(block)))
    tag = ExifTags.Base.DateTimeOriginal
    value = exif.get_ifd(ExifTags.IFD.Exif).get(tag) or exif.get(tag)
    match = _DATE.match(value) if isinstance(value, str) else None
    return datetime(*(int(part or 0) for part in match.groups())) if match else None  # type: ignore[arg-type]  # noqa: DTZ001


def _as_tiff(block: bytes) -> bytes:
    """Give Panasonic's and Olympus's RAW the signature of the TIFF that they are otherwise."""
    return (b"MM\0*" if block.startswith(b"MM") else b"II*\0") + block[4:]
