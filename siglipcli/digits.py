"""Scores as decimal numbers that read back as the very float32 that was compared with a threshold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["shortest"]

_POWERS = 10.0 ** np.arange(23)  # all exact in float64
_LEAST, _MOST = 1e-14, 1e5  # between them a number's digits need no other power


def shortest(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return for each float32 the decimal number of the fewest digits whose nearest float32 it is.

    Same shape, float64: printed by `repr` (JSON, CSV) a number has at most 9 digits. A float32 itself,
    widened, would print 17, and one rounded to 6 may be on the other side of its threshold.
    """
    exact = values.astype(np.float64)
    magnitude = np.abs(exact)
    usual = (magnitude >= _LEAST) & (magnitude < _MOST)
    exponents = np.floor(np.log10(np.where(usual, magnitude, 1.0))).astype(np.int64)
    rounded: NDArray[np.float64] = exact.copy()
    for digits in (9, 8, 7, 6):  # 9 are always enough, and 6 or fewer always come back
        powers = _POWERS[digits - 1 - exponents]
        # A whole number divided by an exact power of ten is the double that the decimal reads as.
        shorter = np.rint(exact * powers) / powers
        rounded = np.where(shorter.astype(np.float32) == values, shorter, rounded)
    rare = ~usual
    if rare.any():
        rounded[rare] = [float(str(value)) for value in values[rare]]
    return np.asarray(rounded + 0.0, np.float64)  # -0.0 + 0.0 is 0.0
