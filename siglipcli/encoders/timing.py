"""How many images a second a model encodes on this machine."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from siglipcli import machine
from siglipcli.encoders import open_encoder
from siglipcli.errors import SiglipError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from siglipcli.encoders import Encoder, ModelSpec

__all__ = ["building_bytes", "rate_of", "rates", "too_large"]

_BYTES_A_PARAMETER = 14  # at the peak of building an engine: torch's, the traced and the converted

_TURN = 2  # images a stream encodes before the other encoder's turn
_TURNS = 3  # at least


def building_bytes(parameters_millions: float) -> int:
    """Return about how much memory it takes to build the engine of a model, or a tower, of so many parameters."""
    return int(_BYTES_A_PARAMETER * parameters_millions * 1e6)


def too_large(parameters_millions: float) -> str:
    """Say why this machine has not the memory to build an engine of so many parameters; "" where it has."""
    needed, memory = building_bytes(parameters_millions), machine.memory()
    if needed <= memory:
        return ""
    return f"to prepare it takes about {needed / 1e9:.0f} GB of memory, and there are {memory / 1e9:.0f} GB"


def rate_of(spec: ModelSpec, seconds: float = 2.0) -> float | None:
    """Return images a second of the model that `spec` describes; None where it cannot be loaded."""
    try:
        encoder = open_encoder(spec)
        size = encoder.preprocess.size
        noise = np.random.default_rng(0).integers(0, 256, (8, size, size, 3), np.uint8)
        (rate,) = rates([encoder], noise, seconds)
    except SiglipError:
        return None
    return float(f"{rate:.3g}")


def rates(
    encoders: Sequence[Encoder], pixels: NDArray[np.uint8], seconds: float
) -> tuple[float, ...]:
    """Return images a second of each encoder, as in a folder: the median of turns, which they take one by one.

    So a slow moment of the machine is a slow moment of all. `pixels` are uint8[n, size, size, 3], used again and again.
    """
    times: list[list[float]] = [[] for _ in encoders]
    with ThreadPoolExecutor(max(encoder.in_flight for encoder in encoders)) as pool:
        for encoder in encoders:
            _turn(encoder, pixels, pool)  # what the first images cost is no part of the rate
        end = perf_counter() + seconds
        while perf_counter() < end or len(times[0]) < _TURNS:
            for encoder, taken in zip(encoders, times, strict=True):
                taken.append(_turn(encoder, pixels, pool))
    return tuple(1 / median(taken) for taken in times)


def _turn(encoder: Encoder, pixels: NDArray[np.uint8], pool: ThreadPoolExecutor) -> float:
    """Return the seconds an image takes."""
    size = min(encoder.batch_size, len(pixels))
    count = _TURN * encoder.in_flight
    batches = [np.roll(pixels, -i * size, axis=0)[:size] for i in range(count)]
    start = perf_counter()
    list(pool.map(encoder.encode_images, batches))
    return (perf_counter() - start) / (count * size)
