"""Thresholds whose precision is promised: exact binomial tests of a few cuts, corrected for all that were looked at.

A cut is a number of tags: the images that score highest. Given the score of the next image, those above it are
a plain sample of all images that score so high, so that the right ones among them are binomial, and the test
of "fewer than P of these tags are right" is exact. The cuts are set before a label's images are looked
at, from the most certain down; a cut that passes hands its share of the risk to the next (the fallback
procedure of Wiens and Dmitrienko 2005, a form of the tests in Angelopoulos et al. 2021, "Learn then Test",
arXiv 2110.01052). Over labels it is Benjamini and Hochberg's: of the labels said to reach P, at most
the stated risk does not, on average.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from siglipcli.errors import MissingExtraError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Counts = NDArray[np.int64]

__all__ = ["Certificate", "Tested", "fewest_right", "interval", "settle", "test"]

_CUTS = 4  # at least, where so many can pass
_APART = 1.35  # how many times the tags of one cut the next has, at most
_NOW = 0.2  # of the risk, for the threshold in use; the cuts share the rest


@dataclass(frozen=True, slots=True)
class Tested:
    """One label's cuts: how many tags and hits each has, and its p-value; the last is what is in use."""

    tagged: Counts
    hits: Counts
    p_values: NDArray[np.float64]
    shares: NDArray[np.float64]

    @property
    def p_value(self) -> float:
        """That of "no cut reaches it"."""
        return float(min((self.p_values / self.shares).min(initial=1.0), 1.0))


@dataclass(frozen=True, slots=True)
class Certificate:
    """The cut that reaches the precision with the most tags; `at_least` is its lower confidence bound.

    `is_in_use`: it is the threshold that the label has.
    """

    tagged: int
    hits: int
    at_least: float
    is_in_use: bool


def fewest_right(precision: float, risk: float) -> float:
    """Return how many right images, at least, a precision takes; infinite for 1.0."""
    return math.inf if precision >= 1 else max(_needed(precision, (1 - _NOW) * risk), 1)


def test(
    tagged: Counts, hits: Counts, now: tuple[int, int], n_right: int, precision: float, risk: float
) -> Tested:
    """Test a label's cuts; `tagged` and `hits` count what lies above each distinct score, the highest first.

    `now` are the tags and hits of the threshold in use.
    """
    cuts = _cuts(n_right, precision, risk)
    at = np.searchsorted(tagged, cuts, "right") - 1  # images of one score stay together
    n = np.append(np.where(at >= 0, tagged[at], 0) if tagged.size else 0 * cuts, now[0])
    k = np.append(np.where(at >= 0, hits[at], 0) if tagged.size else 0 * cuts, now[1])
    shares = np.append(np.full(len(cuts), (1 - _NOW) / max(len(cuts), 1)), _NOW)
    return Tested(n, k, _tail(n, k, precision), shares)


def settle(tested: Tested, level: float) -> Certificate | None:
    """Choose the cut of most hits that passes at a level of risk; None where none does."""
    carried, passed = 0.0, []
    for i, share in enumerate(tested.shares[:-1] * level):
        carried += share
        if tested.p_values[i] <= carried:
            passed.append((i, carried))
        else:
            carried = 0.0
    if tested.p_values[-1] <= tested.shares[-1] * level:
        passed.append((len(tested.shares) - 1, float(tested.shares[-1] * level)))
    if not passed:
        return None
    most = max(int(tested.hits[i]) for i, _ in passed)
    equals = [candidate for candidate in passed if tested.hits[candidate[0]] == most]
    last = len(tested.shares) - 1
    i, used = equals[-1] if equals[-1][0] == last else equals[0]  # what is in use, or the strictest
    n, k = int(tested.tagged[i]), int(tested.hits[i])
    return Certificate(n, k, _lower_bound(n, k, used), i == last)


def _cuts(n_right: int, precision: float, risk: float) -> Counts:
    """Return the numbers of tags to test: as many cuts as so few right images can still pass.

    From the fewest tags that pass if all are right, to the most that could be precise enough.
    """
    if precision >= 1:
        return np.empty(0, np.int64)
    most = int(n_right / max(precision, 1e-9))
    finest = math.log(max(most / _needed(precision, (1 - _NOW) * risk), 1)) / math.log(_APART)
    for count in range(max(_CUTS, math.ceil(finest) + 1), 0, -1):
        first = _needed(precision, (1 - _NOW) * risk / count)
        if first <= n_right:
            between = np.geomspace(first, max(most, first), count) if count > 1 else [first]
            return np.unique(np.round(between).astype(np.int64))
    return np.empty(0, np.int64)


def _needed(precision: float, risk: float) -> int:
    """Return how many tags, all of them right, pass the test."""
    return max(math.ceil(math.log(risk) / math.log(precision) - 1e-9), 1) if precision > 0 else 1


def _tail(tagged: Counts, hits: Counts, precision: float) -> NDArray[np.float64]:
    """Return the chance of so many hits or more if `precision` of tags were right; 1 without a tag."""
    special = _special()
    chance = special.bdtrc(np.maximum(hits, 1) - 1.0, np.maximum(tagged, 1), precision)
    return np.where(hits > 0, chance, 1.0)


def _lower_bound(tagged: int, hits: int, risk: float) -> float:
    """Return Clopper and Pearson's (1934) one-sided bound of hits / tagged."""
    return float(_special().betaincinv(hits, tagged - hits + 1, risk))


def interval(hits: int, of: int, confidence: float) -> tuple[float, float]:
    """Return Clopper and Pearson's (1934) interval of hits / of, two-sided; (0, 1) of nothing."""
    risk = (1 - confidence) / 2
    low = _lower_bound(of, hits, risk) if hits else 0.0
    high = 1 - _lower_bound(of, of - hits, risk) if hits < of else 1.0
    return low, high


def _special() -> Any:
    try:
        from scipy import special
    except ImportError as missing:
        raise MissingExtraError("Calibration", library="scipy", extra="eval") from missing
    return special
