"""JPEG markers: what stands before the pixels, where the scans end, and whether all of them are there.

Pillow keeps every segment before the first scan, and libjpeg takes an end marker for the end of the
image whatever is missing before it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from siglipcli.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["END", "START", "Header", "end_of_scans", "has_all_scans", "header", "with_end"]

START, END = b"\xff\xd8\xff", b"\xff\xd9"
_MARKER = re.compile(rb"\xff+([^\xff\x00])", re.DOTALL)
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_LOSSLESS, _PROGRESSIVE = {0xC3, 0xC7, 0xCB, 0xCF}, {0xC2, 0xC6, 0xCA, 0xCE}
_SCAN, _RESTARTS = 0xDA, 0xDD
_BETWEEN_SCANS = {_SCAN, _RESTARTS, 0xC4}
_ALONE = {0x01, *range(0xD0, 0xDA)}  # markers without a length
_COEFFICIENTS = 64
_MOST_BYTES, _MOST_SEGMENTS = 64 << 20, 10_000
"""Before the first scan: panoramas and depth photos carry 10 MB in a few hundred segments."""


class Header(NamedTuple):
    """What stands before the first scan; `frame` is the marker's number, `scan` where it begins."""

    frame: int
    width: int
    height: int
    components: tuple[int, ...]
    has_restarts: bool
    scan: int

    @property
    def is_lossless(self) -> bool:
        """Whether it cannot be decoded at a reduced scale."""
        return self.frame in _LOSSLESS

    @property
    def is_progressive(self) -> bool:
        """Whether coefficients come in several scans."""
        return self.frame in _PROGRESSIVE


def header(data: bytes) -> Header | None:
    """Read a file up to its first scan; None where there is none, or no frame before it.

    Raises ImageError (too_large) where that much stands before it that no image needs it.
    """
    frame, width, height, has_restarts = 0, 0, 0, False
    components: tuple[int, ...] = ()
    for count, (marker, start, stop) in enumerate(_segments(data)):
        if start > _MOST_BYTES or count > _MOST_SEGMENTS:
            raise ImageError(
                "too_large",
                f"More than {_MOST_BYTES >> 20} MiB or {_MOST_SEGMENTS:,} segments stand before the"
                " image's pixels; it may be hostile, so look where it comes from.",
            )
        if marker in _FRAMES:
            frame, height = marker, int.from_bytes(data[start + 3 : start + 5], "big")
            width = int.from_bytes(data[start + 5 : start + 7], "big")
            components = tuple(data[start + 8 : stop : 3])
        has_restarts |= marker == _RESTARTS
        if marker == _SCAN:
            where = start - 2
            return Header(frame, width, height, components, has_restarts, where) if frame else None
    return None


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield a segment's marker, and where its content, which begins with its length, starts and stops."""
    position = 2
    while match := _MARKER.search(data, position):
        start = stop = match.end()
        if match[1][0] not in _ALONE:
            stop = start + int.from_bytes(data[start : start + 2], "big")
        yield match[1][0], start, stop
        position = max(stop, start)


def end_of_scans(data: bytes, head: Header) -> int:
    """Return where the end marker stands; the file's length if it has none.

    What follows the marker (a film, padding) is no part of the image. A file that ends in a marker
    is not searched, which would take some ms: it ends there, or with a second image.
    """
    if data.endswith(END):
        return len(data) - len(END)
    position = data.find(END, head.scan)
    return len(data) if position < 0 else position


def with_end(data: bytes, head: Header) -> bytes:
    """Return a file that has its end marker, where it lacks one without a segment that was cut off."""
    if END in data[-64:] or end_of_scans(data, head) < len(data):
        return data
    for match in _MARKER.finditer(data, max(head.scan, len(data) - 0xFFFF)):
        length = int.from_bytes(data[match.end() : match.end() + 2], "big")
        if match[1][0] in _BETWEEN_SCANS and match.end() + max(length, 2) > len(data):
            return data[: match.start()] + END
    return data.rstrip(b"\xff") + END


def has_all_scans(data: bytes, head: Header, end: int) -> bool:
    """Whether the scans before `end` give every coefficient of every component to its last bit.

    Of a file that is not progressive: whether each component has a scan.
    """
    last_bits = {name: [-1] * _COEFFICIENTS for name in head.components}
    position = head.scan
    while 0 <= position < end and any(any(bits) for bits in last_bits.values()):
        for name, first, last, bit in _scan(data[position + 2 : position + 16], head):
            if name in last_bits:
                last_bits[name][first : last + 1] = [bit] * (last + 1 - first)
        position = data.find(bytes([0xFF, _SCAN]), position + 2, end)
    return not any(any(bits) for bits in last_bits.values())


def _scan(content: bytes, head: Header) -> Iterator[tuple[int, int, int, int]]:
    """Yield component, first and last coefficient, and the bit down to which a scan gives them."""
    count = content[2] if len(content) > 2 else 0  # noqa: PLR2004  # after the length
    ends = content[3 + 2 * count :]
    if len(ends) < 3:  # noqa: PLR2004  # first, last, bits
        return
    first, last, bits = ends[:3] if head.is_progressive else (0, _COEFFICIENTS - 1, 0)
    for i in range(count):
        yield content[3 + 2 * i], first, min(last, _COEFFICIENTS - 1), bits & 15
