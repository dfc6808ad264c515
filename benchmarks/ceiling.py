"""Measure the image tower alone: pixels in memory, no decoding, no results.

As many calls side by side as the pipeline makes, after the tower is loaded and warm. What a whole run
reaches is compared with this rate. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from siglipcli import encoders as models
from siglipcli import images

if TYPE_CHECKING:
    from siglipcli.encoders import Encoder

DISTINCT = 16  # images held in memory, used again and again
WARM_UP = 4  # batches for each call at a time


def rate(encoder: Encoder, count: int) -> float:
    """Return images a second over `count` images, rounded up to whole batches."""
    side, size = encoder.preprocess.size, encoder.batch_size
    rng = np.random.default_rng(0)
    shape = (max(DISTINCT, size), side, side, 3)
    pixels = rng.integers(0, 256, shape, dtype=np.uint8)

    def encode(number: int) -> int:
        start = number * size % (len(pixels) - size + 1)
        return len(encoder.encode_images(pixels[start : start + size]))

    encode(0)  # the first image of a run has a tower of its own
    with ThreadPoolExecutor(encoder.in_flight) as pool:
        list(pool.map(encode, range(min(WARM_UP * encoder.in_flight, count))))
        started = perf_counter()
        done = sum(pool.map(encode, range(-(-count // size))))
        return done / (perf_counter() - started)


def alone(encoder: Encoder, count: int, photo: Path) -> dict[str, float]:
    """Return the median seconds that a photo takes where nothing else runs: to decode, to encode."""
    data, decoding, encoding = photo.read_bytes(), [], []
    for _ in range(count):
        started = perf_counter()
        pixels = images.decode(data, encoder.preprocess.size, exact=False)
        decoded = perf_counter()
        encoder.encode_images(pixels[None])
        decoding.append(decoded - started)
        encoding.append(perf_counter() - decoded)
    return {"decode": median(decoding), "encode": median(encoding)}


def main() -> None:
    """Load the model as the command line does, and print its rate."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--cache-dir", type=Path, required=True)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--alone", type=int, default=0, help="images one after another, too")
    parser.add_argument("--photo", type=Path, help="what --alone decodes")
    parser.add_argument("--precision", default="auto")
    options = parser.parse_args()
    spec = models.ModelSpec(
        options.model, precision=options.precision, cache_dir=options.cache_dir, offline=True
    )
    encoder = models.open_encoder(spec)
    found = {
        "images_per_second": rate(encoder, options.images),
        "encoder": encoder.description,
        "precision": encoder.precision,
        "batch_size": encoder.batch_size,
        "in_flight": encoder.in_flight,
    }
    if options.alone:
        found["alone"] = alone(encoder, options.alone, options.photo)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
