"""Which of two label sets is better, label by label, on the same images, and how sure that is.

Average precision judges how a label's prompts order the images and needs no threshold. How sure a difference is
comes from resampling the images with replacement, the same resamples for both sets (a paired bootstrap:
Efron and Tibshirani, An Introduction to the Bootstrap, chapter 13). Percentile intervals alone are too short
where images are few, so each is joined with the one of the bootstrap's standard deviation and Student's t. Where
fewer than ten images are right, or fewer than three of them are ranked differently, resampling says
nothing honest, and no interval is given: near perfection all resamples are perfect, too.

Accuracy differs in the images that one set has right and the other wrong. Its interval is Tango's score interval for
paired shares (Tango 1998, "Equivalence test and confidence interval for the difference in proportions for the
paired-sample design", Statistics in Medicine 17), which holds its promise for few images and near 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from siglipcli.evaluation import metrics
from siglipcli.evaluation.records import Record

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from siglipcli.evaluation.scored import Scored

__all__ = [
    "CONFIDENCE",
    "DIFFERING",
    "FEWEST",
    "Difference",
    "LabelComparison",
    "Means",
    "SetComparison",
    "average_precisions",
    "compare",
    "difference",
    "differing",
    "draw",
    "paired_shares",
]

CONFIDENCE = 0.95
"""How often an interval holds the true difference."""

FEWEST = 10
"""Right images below which a label's interval would say more than is known."""

DIFFERING = 3
"""Right images that must be ranked differently, for the same reason."""

_EQUAL = 1e-9  # precisions nearer than this are one
_CELLS = 4_000_000  # worked on at a time: 16 MB of float32


@dataclass(frozen=True, slots=True)
class Difference:
    """One measure of the same images taken twice, and how sure it is that `b` is not `a`.

    Measures are None where no image has the label; `interval`, of `b - a`, where there are too
    few to tell.
    """

    a: float | None = None
    b: float | None = None
    interval: tuple[float, float] | None = None

    @property
    def value(self) -> float | None:
        """How much `b` is above `a`."""
        return None if self.a is None or self.b is None else self.b - self.a

    @property
    def sign(self) -> int:
        """1 where b is clearly above a, -1 where it is clearly below, 0 where neither is sure."""
        if self.interval is None:
            return 0
        low, high = self.interval
        return int(low > 0) - int(high < 0)


@dataclass(frozen=True, slots=True)
class LabelComparison:
    """A label of both sets: how many images it is right for, and its average precision in each."""

    label: str
    examples: int
    average_precision: Difference


@dataclass(frozen=True, slots=True, repr=False)
class SetComparison(Record):
    """Two label sets on the same images.

    `labels` are in both, in the first set's order, and `mean_average_precision` is over those that
    an image has; `acc1` lets each set choose among all its own labels.
    """

    acc1: Difference
    mean_average_precision: Difference
    labels: tuple[LabelComparison, ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]


def compare(a: Scored, b: Scored, counts: NDArray[np.uint8]) -> SetComparison:
    """Compare two sets on the same images; `counts` is of `draw`, for as many."""
    columns_a, columns_b = _columns(a), _columns(b)
    right_a, right_b = metrics.relevant(a), metrics.relevant(b)
    labels = []
    means = Means(counts.shape[1])
    for label in (label for label in columns_a if label in columns_b):
        i, j = columns_a[label], columns_b[label]
        right = right_a[:, i] | right_b[:, j]  # one set may know more of a label's children
        before = average_precisions(a.logits[:, i], right, counts)
        after = average_precisions(b.logits[:, j], right, counts)
        examples = int(right.sum())
        apart = differing(a.logits[:, i], b.logits[:, j], right)
        change = difference(before, after, examples, apart)
        labels.append(LabelComparison(label, examples, change))
        means.add(before, after, examples, apart)
    return SetComparison(
        paired_shares(metrics.top1(a), metrics.top1(b)),
        means.difference(),
        tuple(labels),
        tuple(label for label in columns_a if label not in columns_b),
        tuple(label for label in columns_b if label not in columns_a),
    )


def _columns(scored: Scored) -> dict[str, int]:
    return {label.path: i for i, label in enumerate(scored.labels.labels)}


def paired_shares(a: NDArray[np.floating[Any]], b: NDArray[np.floating[Any]]) -> Difference:
    """Compare the means of two columns of 0 and 1, float[n], on the same images; NaN is left out.

    The interval is Tango's (1998); with fewer images than FEWEST none is given.
    """
    judged = ~np.isnan(a) & ~np.isnan(b)
    n = int(judged.sum())
    if not n:
        return Difference()
    gained, lost = int((b > a)[judged].sum()), int((b < a)[judged].sum())
    sides = (float(ranks[judged].mean(dtype=np.float64)) for ranks in (a, b))
    before, after = sides
    return Difference(before, after, _tango(gained, lost, n) if n >= FEWEST else None)


def _tango(gained: int, lost: int, n: int) -> tuple[float, float]:
    """Return the differences whose score test is not rejected, by bisection."""
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)

    def score(d: float) -> float:  # falls with d
        b, c = (2 * n - gained + lost) * d - gained - lost, -lost * d * (1 - d)
        likely = (math.sqrt(max(b * b - 8 * n * c, 0)) - b) / (4 * n)  # share lost, given d
        spread = math.sqrt(max(n * (2 * likely + d * (1 - d)), 1e-12))
        return (gained - lost - n * d) / spread

    return _where(lambda d: score(d) > z), _where(lambda d: score(d) > -z)


def _where(above: Callable[[float], bool]) -> float:
    """Return where in [-1, 1] a statement stops to hold."""
    low, high = -1.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if above(middle) else (low, middle)
    return (low + high) / 2


def differing(a: NDArray[np.float32], b: NDArray[np.float32], right: NDArray[np.bool_]) -> int:
    """Count the right images at which the precision is not the same by two columns of scores, [n]."""
    if not right.any():
        return 0
    return int((np.abs(_precisions(a, right) - _precisions(b, right)) > _EQUAL).sum())


def _precisions(scores: NDArray[np.float32], right: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return for each right image the share of right ones among all that score as much or more."""
    falling, hits = np.sort(scores), np.sort(scores[right])
    every = len(falling) - np.searchsorted(falling, scores[right], "left")
    return np.asarray((len(hits) - np.searchsorted(hits, scores[right], "left")) / every)


def draw(images: int, resamples: int, seed: int) -> NDArray[np.uint8]:
    """Resample the images with replacement: uint8[images, 1 + resamples], how often each is drawn.

    The first column is no resample: it holds every image once, so that a statistic of the columns
    begins with its value on the images themselves.
    """
    rng = np.random.default_rng(seed)
    counts = np.ones((images, 1 + resamples), np.uint8)
    for column in range(1, 1 + resamples):
        drawn = rng.integers(0, images, images)
        counts[:, column] = np.bincount(drawn, minlength=images)
    return counts


def average_precisions(
    scores: NDArray[np.float32], right: NDArray[np.bool_], counts: NDArray[np.uint8]
) -> NDArray[np.float64]:
    """Return the average precision under each column of `counts`; NaN where it holds nothing right.

    `scores` and `right` are [n]; equal to scikit-learn's `average_precision_score` with a column as
    `sample_weight`: AP = Σ wᵢ · precision(scoreᵢ) / Σ wᵢ over the right images, where precision(s)
    is the weight of the right among all that score s or more.
    """
    order = np.argsort(-scores, kind="stable")
    falling = -scores[order]
    at = np.flatnonzero(right[order])
    if not at.size:
        return np.full(counts.shape[1], np.nan)
    # Equal scores share a threshold, so each is judged at the last of its equals. What comes after
    # the last right image never counts.
    ends = np.searchsorted(falling, falling[at], side="right") - 1
    last = np.searchsorted(falling[at], falling[at], side="right") - 1
    order = order[: ends[-1] + 1]
    step = max(1, _CELLS // len(order))
    parts = []
    for first in range(0, counts.shape[1], step):
        drawn = counts[order, first : first + step].astype(np.float32)  # whole numbers: exact
        hits = drawn[at].astype(np.float64)
        above = np.cumsum(drawn, axis=0, out=drawn)[ends]
        precision = np.cumsum(hits, axis=0)[last] / np.maximum(above, 1)
        parts.append(_quotient((hits * precision).sum(axis=0), hits.sum(axis=0)))
    return np.concatenate(parts)


def difference(
    a: NDArray[np.float64], b: NDArray[np.float64], examples: int, apart: int
) -> Difference:
    """Compare a statistic with itself; both begin with their value on the images themselves.

    A resample that holds no right image (NaN) is left out. With fewer `examples` than FEWEST, or fewer than
    DIFFERING of them ranked differently (`apart`), no interval is given.
    """
    if np.isnan(a[0]) or np.isnan(b[0]):
        return Difference()
    value, change = float(b[0] - a[0]), (b - a)[1:]
    change = change[~np.isnan(change)]
    if examples < FEWEST or apart < DIFFERING or not change.size:
        return Difference(float(a[0]), float(b[0]))
    tail = 50 * (1 - CONFIDENCE)  # percent at each end
    low, high = np.percentile(change, [tail, 100 - tail])
    reach = _student(examples - 1) * float(change.std()) * math.sqrt(examples / (examples - 1))
    interval = min(float(low), value - reach), max(float(high), value + reach)
    return Difference(float(a[0]), float(b[0]), interval)


def _student(freedom: int) -> float:
    """Return the quantile of Student's t at CONFIDENCE, to three digits from 9 degrees of freedom on.

    Cornish and Fisher's expansion (Abramowitz and Stegun 26.7.5).
    """
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    first, second = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96
    return z + first / freedom + second / freedom**2


class Means:
    """The means over labels of two statistics; a resample's are over the labels that it holds."""

    def __init__(self, columns: int) -> None:
        self.labels = 0
        self._examples = self._apart = 0
        self._sums = np.zeros((2, columns))
        self._counts = np.zeros(columns)

    def add(
        self, a: NDArray[np.float64], b: NDArray[np.float64], examples: int, apart: int
    ) -> None:
        """Take in a label that so many images have, so many ranked differently; of none, it does not count."""
        if examples:
            drawn = ~np.isnan(a)
            self.labels += 1
            self._examples += examples
            self._apart += apart
            self._sums[:, drawn] += [a[drawn], b[drawn]]
            self._counts += drawn

    def difference(self) -> Difference:
        """Compare them."""
        a, b = (_quotient(sums, self._counts) for sums in self._sums)
        return difference(a, b, self._examples, self._apart)


def _quotient(values: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return values / weights, [n]; NaN where there is no weight."""
    nothing = np.full(len(weights), np.nan)
    return np.asarray(np.divide(values, weights, out=nothing, where=weights > 0))
