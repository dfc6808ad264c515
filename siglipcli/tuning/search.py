"""Which int8 engine: the fastest of a few recipes that holds the floors on images kept for choosing.

Recipes come in the order of their speed: first all layers in 8 bits, with one `alpha` of SmoothQuant after another;
then, with the best of these, more and more layers left at higher precision. The first one that holds is taken.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from siglipcli.encoders.workshop import Recipe
from siglipcli.tuning import check

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from siglipcli.encoders.workshop import Candidate, Layers
    from siglipcli.results import Head
    from siglipcli.scoring import LabelEmbeddings
    from siglipcli.tuning.records import Agreement, Floors

__all__ = ["ALPHAS", "Chosen", "Sample", "search"]

ALPHAS = (0.6, 0.85, 0.4)
"""SmoothQuant's alpha: how much of an activation's outliers its weights take over."""

_PARTS = (0.0, 0.1, 0.25, 0.5)  # of the layers, the worst: left out beside the ends
_WORTH = 0.25  # of the layers, that SmoothQuant has to change for another alpha to be worth a try
_SPARE = (
    0.5  # of what the floor lets the best label lose: the kept images have to show more than these
)

logger = logging.getLogger("siglipcli")


@dataclass(frozen=True, slots=True)
class Sample:
    """Images to choose by: pixels, uint8[n, size, size, 3], their exact embeddings, and label sets."""

    pixels: NDArray[np.uint8]
    exact: NDArray[np.float32]
    sets: Sequence[LabelEmbeddings]
    head: Head

    def agreement(self, candidate: Candidate) -> Agreement:
        """Compare a candidate's embeddings with the exact ones."""
        rows = [candidate.encoder.encode_images(image[None]) for image in self.pixels]
        return check.agreement(self.exact, np.concatenate(rows), self.sets, self.head)


@dataclass(frozen=True, slots=True)
class Chosen:
    """The candidate that is taken, and after how many tries; `holds` tells whether the floors are held."""

    candidate: Candidate
    tries: int
    holds: bool


def search(
    make: Callable[[Recipe], Candidate],
    sample: Sample,
    floors: Floors,
    until: float,
    report: Callable[[str], None],
) -> Chosen:
    """Try recipes until one holds the floors, or the next would not end by `until` (of `perf_counter`).

    At least one is tried; where none holds, the one of the highest median cosine is taken. `report`
    is called with each in words.
    """
    tried: list[tuple[float, Candidate]] = []
    longest = 0.0
    for recipe in _recipes(tried):
        start = perf_counter()
        if tried and start + longest > until:
            break
        report(_words(recipe))
        candidate = make(recipe)
        result = sample.agreement(candidate)
        longest = max(longest, perf_counter() - start)
        logger.debug("%s: %s", _words(recipe), result)
        tried.append((result.median_cosine, candidate))
        if _holds(result, floors):
            return Chosen(candidate, len(tried), holds=True)
    return Chosen(_best(tried), len(tried), holds=False)


def _recipes(tried: list[tuple[float, Candidate]]) -> Iterator[Recipe]:
    """Yield recipes, the fastest first; what is left out depends on what was tried."""
    for alpha in ALPHAS:
        yield Recipe(alpha)
        layers = tried[0][1].layers
        if layers.smoothed < _WORTH * len(layers.every):
            break
    best = _best(tried)
    for part in _PARTS:
        yield Recipe(best.recipe.alpha, _left(best.layers, part))


def _best(tried: list[tuple[float, Candidate]]) -> Candidate:
    return max(tried, key=lambda one: -1.0 if math.isnan(one[0]) else one[0])[1]


def _left(layers: Layers, part: float) -> tuple[str, ...]:
    count = round(part * len(layers.every))
    return tuple(dict.fromkeys([*layers.ends, *layers.worst[:count]]))


def _holds(result: Agreement, floors: Floors) -> bool:
    aim = 1 - _SPARE * (1 - floors.best_label)
    return (
        result.median_cosine >= floors.median_cosine
        and result.lowest_cosine >= floors.lowest_cosine
        and all(one.best_label.value >= aim for one in result.sets)
    )


def _words(recipe: Recipe) -> str:
    left = f", {len(recipe.left)} layers at higher precision" if recipe.left else ""
    return f"quantizing with alpha {recipe.alpha:g}{left}"
