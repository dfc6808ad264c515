"""Which labels the model can tell apart at all: a rank test for each label, corrected for many labels."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["benjamini_hochberg", "rank_p_value"]


def rank_p_value(values: NDArray[np.floating], right: NDArray[np.bool_]) -> float:
    """Return how likely right images would rank this high if their scores said nothing.

    The one-sided Mann-Whitney test of `values`, float[n], for `right`, bool[n]: normal approximation
    with the corrections for ties and continuity (Lehmann 1975, "Nonparametrics: Statistical Methods Based on Ranks"). 1.0 where all
    values are equal, or all images are alike.
    """
    n, n_right = len(values), int(right.sum())
    ordered, wanted = np.sort(values), values[right]
    below = np.searchsorted(ordered, wanted, "left")
    ranks = (below + np.searchsorted(ordered, wanted, "right") + 1) / 2
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    ties = np.diff(np.append(starts, n)).astype(np.float64)
    spread = n + 1 - float((ties**3 - ties).sum()) / max(n * (n - 1), 1)
    variance = n_right * (n - n_right) / 12 * spread
    if variance <= 0:
        return 1.0
    mean = n_right * (n + 1) / 2
    z = (float(ranks.sum()) - mean - 0.5) / math.sqrt(variance)
    return 0.5 * math.erfc(z / math.sqrt(2))


def benjamini_hochberg(
    p_values: NDArray[np.float64], rate: float
) -> tuple[NDArray[np.bool_], float]:
    """Return which of the p-values to believe, bool[n], and the level that each was held to.

    Of what is believed, a share of `rate` is wrong at most, on average (Benjamini and Hochberg 1995,
    "Controlling the False Discovery Rate"). The level is `rate` times the share that is believed, at which
    further statements about these labels stay as sure (Benjamini and Yekutieli 2005).
    """
    count = len(p_values)
    steps = rate * np.arange(1, count + 1) / max(count, 1)
    believed = np.flatnonzero(np.sort(p_values) <= steps)
    level = float(steps[believed[-1]]) if believed.size else 0.0
    return np.asarray((p_values <= level) & (level > 0)), level
