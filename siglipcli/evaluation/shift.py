"""One number added to every logit of a set, so that scores come nearer to how often they are right.

It is Platt scaling with its slope fixed at 1 (Platt 1999, "Probabilistic Outputs for Support Vector Machines"),
with a normal prior of one logit around the model's own bias: images that are told apart anyway would else
move it without end, as every shift that takes their scores nearer to 1 is likelier still.

No threshold is pushed above a logit of 12, as fp32 has 100 scores for a logit there, and one from 16.6 on. The
bound hangs on thresholds, which settle as images are added, and not on the highest score, which does not.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from siglipcli.evaluation.metrics import average_precision

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from siglipcli.evaluation.scored import Scored

__all__ = ["HIGHEST", "new_shift"]

HIGHEST = 12.0
"""The logit above which no threshold is pushed."""

_MOST = 1000.0  # what a label set's `bias_shift` may be
_SKILL = 0.5  # average precision from which a label has a say


def new_shift(scored: Scored, right: NDArray[np.bool_], thresholds: Iterable[float]) -> float:
    """Return the set's new `bias_shift`, to a hundredth; the old one where that is no likelier.

    `right` is bool[n, n_labels]; `thresholds` are logits with the set's own shift in them, of which infinite
    ones do not count. Only labels that the data names and the model ranks well have a say: images may
    show what nobody named, and no shift helps where nothing is told apart.
    """
    old = scored.labels.bias_shift
    used = [j for j in _named(scored) if _skill(scored, right, j) >= _SKILL]
    if not used:
        return old
    plain, truth = scored.logits[:, used].astype(np.float64) - old, right[:, used]
    highest = max((threshold for threshold in thresholds if math.isfinite(threshold)), default=0.0)
    most = min(math.floor((old + max(HIGHEST - highest, 0)) * 100) / 100, _MOST)
    shift = min(max(round(_likeliest(plain, truth), 2), -_MOST), most)
    losses = [(np.logaddexp(0, z) - truth * z).mean() for z in (plain + shift, plain + old)]
    return shift if losses[0] < losses[1] else old


def _named(scored: Scored) -> list[int]:
    labels = scored.labels.labels
    return [j for j, x in enumerate(labels) if not x.negative and scored.truth[:, j].any()]


def _skill(scored: Scored, right: NDArray[np.bool_], j: int) -> float:
    return average_precision(right[:, j], scored.logits[:, j]) or 0.0


def _likeliest(logits: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    """Return the b that makes `right` likeliest by sigmoid(logit + b), by bisection."""
    z, n_right = logits.ravel(), int(right.sum())

    def slope(b: float) -> float:  # of the log-likelihood and the prior's logarithm; falls with b
        return n_right - float((0.5 + 0.5 * np.tanh((z + b) / 2)).sum()) - b

    low, high = -float(z.size) - 1, float(z.size) + 1  # where the prior alone decides the sign
    while high - low > 1e-4:  # noqa: PLR2004
        b = (low + high) / 2
        low, high = (b, high) if slope(b) > 0 else (low, b)
    return (low + high) / 2
