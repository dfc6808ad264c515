"""What is said of a file that is no usable image: each function makes an ImageError."""

from __future__ import annotations

import codecs
import re
from typing import TYPE_CHECKING

from siglipcli.errors import ImageError
from siglipcli.images.formats import kind_of

if TYPE_CHECKING:
    from siglipcli.images import Limits

__all__ = ["cut_short", "says_cut_short", "too_long", "too_many_pixels"]
__all__ += ["LONGEST_SIDE", "undecodable", "unidentified"]

# Pillow's resize takes 32 bytes for each pixel of a side: an image of 1 by 60 million took 2.5 GB.
LONGEST_SIDE = 1_000_000
_CUT_SHORT = re.compile(r"truncat|broken data stream|unexpected end of file", re.IGNORECASE)
_END_MARKS = {"JPEG": b"\xff\xd9", "PNG": b"IEND", "GIF": b"\x3b"}


def unidentified(data: bytes) -> ImageError:
    """Say what a file is that no decoder recognised."""
    if kind := kind_of(data):
        return undecodable(data, ValueError(f"a {kind} file that Pillow cannot open"))
    head = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if head.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        what = "This is an HTML page, not an image: perhaps a failed download."
    elif b"<svg" in head:
        return ImageError("unsupported", "This is an SVG drawing; export it as PNG.")
    elif _is_text(head):
        what = "This is text, not an image."
    else:
        what = "No known image format begins like this; the file may be damaged."
    return ImageError("unidentified", what)


def _is_text(head: bytes) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)  # the last character may be cut
    except UnicodeDecodeError:
        return False
    return b"\0" not in head


def undecodable(data: bytes, error: Exception) -> ImageError:
    """Tell a file that was cut short from one that is damaged."""
    if says_cut_short(error) or _lacks_its_end(data):
        return cut_short()
    detail = " ".join(str(error).split())[:120] or type(error).__name__
    return ImageError("decode", f"The image is damaged, or of a rare kind: {detail}.")


def says_cut_short(error: Exception) -> bool:
    """Whether a decoder's error is about missing bytes."""
    return _CUT_SHORT.search(str(error)) is not None


def cut_short() -> ImageError:
    """Say that a part of the image is not in its file."""
    return ImageError("truncated", "The file is cut short; copy or download it again.")


def _lacks_its_end(data: bytes) -> bool:
    kind = kind_of(data)
    if kind == "WebP":  # RIFF: the length of the rest is in bytes 4 to 8
        return len(data) < int.from_bytes(data[4:8], "little") + 8
    mark = _END_MARKS.get(kind or "")
    return mark is not None and mark not in data[-64:]


def too_many_pixels(limits: Limits) -> ImageError:
    """Say that an image is larger than allowed, and how to allow it."""
    return ImageError(
        "too_large",
        f"The image has more than {limits.max_megapixels:g} megapixels;"
        " raise that limit (max_megapixels) if you trust it.",
    )


def too_long() -> ImageError:
    """Say that a side of an image is longer than any real one's."""
    return ImageError(
        "too_large", f"A side of the image is longer than {LONGEST_SIDE:,} pixels; crop it."
    )
