"""Make JPEGs to measure with, from the real photographs that scikit-image ships.

Each is another crop, mirrored or not, brighter or darker, with grain of its own, so that files differ
in content and in size as a camera's do.

    python benchmarks/photos.py --out photos/ --count 200 --size 500x375 --quality 90
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

GRAIN = 5.0  # standard deviation of the noise, of 255
LEAST_CROP = 0.6  # of the largest crop that has the wanted shape


def originals() -> list[Image.Image]:
    """Return the photographs, RGB, 451 to 1,411 pixels wide."""
    from skimage import data as untyped

    data: Any = untyped
    names = ("astronaut", "chelsea", "coffee", "rocket", "hubble_deep_field")
    arrays = [getattr(data, name)() for name in names] + [data.stereo_motorcycle()[0]]
    return [Image.fromarray(array).convert("RGB") for array in arrays]


def vary(photo: Image.Image, size: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    """Return a random crop of a photograph at `size` (width, height), with light and grain of its own."""
    cropped = photo.resize(size, Image.Resampling.BICUBIC, box=_crop(photo.size, size, rng))
    if rng.random() < 1 / 2:
        cropped = cropped.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    pixels: Any = np.asarray(cropped, dtype=np.float32) * rng.uniform(0.8, 1.1)
    grain = rng.standard_normal(pixels.shape[:2], dtype=np.float32) * GRAIN  # in light, not colour
    return Image.fromarray(np.clip(pixels + grain[..., None], 0, 255).astype(np.uint8))


def _crop(
    have: tuple[int, int], want: tuple[int, int], rng: np.random.Generator
) -> tuple[float, float, float, float]:
    """Return left, upper, right, lower of a crop of the wanted shape, somewhere in the image."""
    scale = min(have[0] / want[0], have[1] / want[1]) * rng.uniform(LEAST_CROP, 1)
    width, height = want[0] * scale, want[1] * scale
    left, upper = rng.uniform(0, have[0] - width), rng.uniform(0, have[1] - height)
    return left, upper, left + width, upper + height


def write(folder: Path, count: int, size: tuple[int, int], quality: int) -> None:
    """Write `count` JPEGs; the same arguments give the same images."""
    folder.mkdir(parents=True, exist_ok=True)
    known = originals()
    for i in range(count):
        photo = vary(known[i % len(known)], size, np.random.default_rng(i))
        photo.save(folder / f"photo{i:05}.jpg", quality=quality)


def main() -> None:
    """Write JPEGs into --out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--size", default="500x375", help="width x height in pixels")
    parser.add_argument("--quality", type=int, default=90)
    options = parser.parse_args()
    width, height = (int(side) for side in options.size.split("x"))
    write(options.out, options.count, (width, height), options.quality)


if __name__ == "__main__":
    main()
