"""What an encoder asks of an image, without any model library: sent to decoders in other processes."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Preprocess"]


@dataclass(frozen=True, slots=True)
class Preprocess:
    """How an upright sRGB image becomes the array that an image tower takes.

    `size` is the side in pixels of the square uint8[size, size, 3]. `resize_mode` and `interpolation` are
    open_clip's names: `squash` ignores the aspect ratio. `mean` and `std` are per channel, for RGB in
    [0, 1]: the encoder applies them itself, so nothing else needs floating-point pixels.
    """

    size: int
    resize_mode: str = "squash"
    interpolation: str = "bicubic"
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
