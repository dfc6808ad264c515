"""First frames that do not fill their canvas: what they leave free is transparent, so white.

Pillow fills it with a GIF's background colour, which no viewer does, and with a WebP's black.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

    Box = tuple[int, int, int, int]

__all__ = ["first_frame", "on_clear_canvas"]

_HEADER = 12  # RIFF, the length, WEBP
_MOST_CHUNKS = 1000
_POSITION = 12  # bytes of ANMF that say where its frame is


def first_frame(image: ImageFile, data: bytes) -> Box | None:
    """Return where the first frame of a GIF or WebP is (left, top, right, bottom); None: all over."""
    box = None
    if image.format == "GIF" and image.tile:
        box = image.tile[0][1]
    elif image.format == "WEBP" and getattr(image, "is_animated", False):
        box = _first_of_webp(data)
    if box is None or box == (0, 0, *image.size):
        return None
    left, top, right, bottom = box
    return left, top, min(right, image.width), min(bottom, image.height)


def _first_of_webp(data: bytes) -> Box | None:
    """Read the first ANMF chunk: its frame's left and top by two, width and height less one."""
    position = _HEADER
    for _ in range(_MOST_CHUNKS):
        kind, size = data[position : position + 4], data[position + 4 : position + 8]
        content = data[position + 8 : position + 8 + _POSITION]
        if len(content) < _POSITION:
            return None
        if kind == b"ANMF":
            x, y, width, height = (
                int.from_bytes(content[i : i + 3], "little") for i in range(0, _POSITION, 3)
            )
            return 2 * x, 2 * y, 2 * x + width + 1, 2 * y + height + 1
        length = int.from_bytes(size, "little")
        position += 8 + length + length % 2
    return None


def on_clear_canvas(image: Image.Image, frame: Box | None) -> Image.Image:
    """Return the image with all but its frame transparent; itself where the frame is all over."""
    if frame is None:
        return image
    canvas = Image.new("RGBA", image.size)
    canvas.paste(image.convert("RGBA").crop(frame), frame)
    return canvas
