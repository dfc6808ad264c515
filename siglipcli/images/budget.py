"""Memory for what is decoded at once: what needs more than is free waits for its turn.

What an image takes is read off its first bytes, before any decoder runs.
"""

from __future__ import annotations

from collections import deque
from threading import Condition
from typing import TYPE_CHECKING

from siglipcli import machine

if TYPE_CHECKING:
    from typing import Literal

    from siglipcli.images import Limits, jpeg

__all__ = ["Budget", "Claim", "DecodingMemory", "decoding_bytes"]

_BYTES_A_PIXEL = 10
"""Transparent and palette images are the dearest: 4 as stored, 4 as RGB, and two masks."""
_COEFFICIENT_BYTES = (
    6  # a pixel of a progressive JPEG, which is held whole: 3 components of 2 bytes
)
_UNKNOWN_PIXELS = 25_000_000
"""For formats whose size takes a parser to find: TIFF, AVIF, JPEG 2000, HEIC, ICO, PPM."""
_LEAST, _MOST, _PART = 256 << 20, 1 << 30, 8  # bytes; of the memory


class Budget:
    """So many bytes for all who share them, handed out in the order in which they are asked for."""

    def __init__(self, total: int) -> None:
        self.total = total
        self._free = total
        self._queue: deque[object] = deque()
        self._changed = Condition()

    def claim(self, count: int) -> Claim:
        """Wait until `count` bytes are free, or all of them if it is more than there are."""
        claim = Claim(self, min(count, self.total))
        with self._changed:
            self._queue.append(claim)
            while self._queue[0] is not claim or self._free < claim.count:
                self._changed.wait()
            self._queue.popleft()
            self._free -= claim.count
            self._changed.notify_all()
        return claim

    def release(self, claim: Claim) -> None:
        """Give a claim's bytes back; again does nothing."""
        with self._changed:
            self._free += claim.count
            claim.count = 0
            self._changed.notify_all()


class Claim:
    """Bytes of a budget that are in use."""

    def __init__(self, budget: Budget, count: int) -> None:
        self.count = count
        self._budget = budget

    def release(self) -> None:
        """Give them back."""
        self._budget.release(self)


class DecodingMemory:
    """What may be in memory at once, in this process and in workers: files as read, and decoded pixels.

    Claim for the file first, then for the pixels: who holds pixels waits for nothing, so nobody waits
    for ever. `total` bytes, of which files get a quarter; by default an eighth of the memory that this
    machine or cgroup has, from 256 MiB to 1 GiB.
    """

    def __init__(self, total: int | None = None) -> None:
        if total is None:
            total = min(max(machine.memory() // _PART, _LEAST), _MOST)
        self.files = Budget(total // 4)
        self.pixels = Budget(total - total // 4)


def decoding_bytes(data: bytes, size: int, limits: Limits, *, exact: bool) -> int:
    """Estimate what decoding takes, for an image that becomes `size` pixels wide, from the file's header.

    Raises ImageError (too_large) for a JPEG with more before its pixels than any image needs.
    """
    from siglipcli.images import jpeg

    most = limits.max_megapixels * 1e6
    if data.startswith(jpeg.START):
        head = jpeg.header(data)
        return _jpeg_bytes(head, 0 if exact else 2 * size, most) if head else 0
    width, height = _dimensions(data)
    pixels = width * height if width else _UNKNOWN_PIXELS
    return int(min(pixels, most)) * _BYTES_A_PIXEL


def _jpeg_bytes(head: jpeg.Header, least_side: int, most: float) -> int:
    pixels = min(head.width * head.height, most)
    reduced = pixels
    if least_side and not head.is_lossless:  # a half, a quarter or an eighth, as in `images.decode`
        scale = min(head.width, head.height) // least_side
        reduced /= next((n * n for n in (8, 4, 2) if scale >= n), 1)
    coefficients = pixels * _COEFFICIENT_BYTES if head.is_progressive else 0
    return int(reduced * _BYTES_A_PIXEL + coefficients)


def _dimensions(data: bytes) -> tuple[int, int]:
    """Return width and height as the first bytes tell them; 0, 0 where that takes a parser."""
    from siglipcli.images import png

    if data.startswith(png.SIGNATURE):
        return _pair(data, 16, 4, "big")
    if data.startswith(b"GIF8"):
        return _pair(data, 6, 2, "little")
    if data.startswith(b"BM"):
        width, height = _pair(data, 18, 4, "little")
        return width, min(height, (1 << 32) - height)  # upside down where negative
    return _webp_dimensions(data) if data[8:12] == b"WEBP" else (0, 0)


def _webp_dimensions(data: bytes) -> tuple[int, int]:
    if data[12:16] == b"VP8X":
        width, height = _pair(data, 24, 3, "little")
        return width + 1, height + 1
    if data[12:16] == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = _pair(data, 26, 2, "little")
    return width & 0x3FFF, height & 0x3FFF


def _pair(data: bytes, start: int, length: int, order: Literal["big", "little"]) -> tuple[int, int]:
    first, second = data[start : start + length], data[start + length : start + 2 * length]
    return int.from_bytes(first, order), int.from_bytes(second, order)
