"""Where to cut one label's scores, and whether that gains: cross-validation, nested once.

The threshold of best F1 on a few images follows their noise. So each image counts as right partly by its own
label and partly by a logistic curve through all of them (Platt 1999, "Probabilistic Outputs for Support
Vector Machines"); the curve's part is 60 / (60 + right images), and fades as images are added. Thresholds come
from the folds of a stratified cross-validation. Each is fitted with two folds left out: one to judge
the threshold by, one to judge by what the first judgement leads to (nested cross-validation: Varma and
Simon 2006, "Bias in error estimation when using cross-validation for model selection").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from siglipcli.evaluation.skill import rank_p_value

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Bools = NDArray[np.bool_]
    Floats = NDArray[np.float64]
    Places = NDArray[np.intp]

__all__ = ["MARGIN", "Images", "Judgement", "deal", "f1", "judge", "places"]

MARGIN = 0.5
"""Of a logit: how far below the lowest score a threshold lies that all of them reach."""

_CURVE = 60.0  # right images at which the curve and the images' own labels weigh the same
_SLOPE, _SLOPE_SPREAD = 2.0, 1.5  # normal prior of the curve's slope, in robust standard deviations
_POINTS = 200  # of the curve's fit: more images are put together, finest among the highest scores
_STEPS = 8  # of Newton's method, at most
_STILL = 1e-3  # a step so small is the last
_ERRORS = 0.6  # standard errors by which a gain must exceed 0


@dataclass(frozen=True, slots=True)
class Images:
    """All images as one label sees them; each array is [n].

    `possible`: where a low enough threshold would make a tag. `kept`: where the set as it is makes one.
    `fold`: the part that an image is dealt to, of `folds`. `weights`: float64[n], how many images each stands
    for; all the same without.
    """

    raw: NDArray[np.float32]
    right: Bools
    possible: Bools
    kept: Bools
    fold: Places
    folds: int
    weights: Floats | None = None

    @property
    def weight(self) -> Floats:
        """The weights with a mean of 1: float64[n]."""
        if self.weights is None:
            return np.ones(len(self.right))
        return np.asarray(self.weights / self.weights.mean())


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is found without one fold or another: arrays of [1 + folds], the first leaving out none.

    `logits` are thresholds, infinite where nothing right can be a tag. `p_values` are of the rank test;
    `gains`, whether the threshold is better than what is kept, on images that it was not fitted on.
    """

    logits: Floats
    p_values: Floats
    gains: Bools


def deal(right: Bools, folds: int, rng: np.random.Generator) -> Places:
    """Deal images into folds at random, each with its share of the right ones: intp[n]."""
    fold = np.empty(len(right), np.intp)
    first = 0
    for group in (right, ~right):
        members = rng.permutation(np.flatnonzero(group))
        fold[members] = (np.arange(len(members)) + first) % folds
        first = len(members)
    return fold


def f1(tags: Bools, right: Bools, weights: Floats | None = None) -> float:
    """Return the F1 of `tags`, bool[n]; 0 where there is neither tag nor right image."""
    weight = np.ones(len(right)) if weights is None else weights
    total = float(weight[tags].sum() + weight[right].sum())
    return float(2 * weight[tags & right].sum() / total) if total else 0.0


def judge(images: Images) -> Judgement:
    """Judge thresholds on all images, and again without each fold."""
    folds, fold = images.folds, images.fold
    between = places(images)
    own, apart = np.diag(between), ~np.eye(folds, dtype=np.bool_)
    inner = between[apart].reshape(folds, folds - 1)
    logits = np.append(np.median(own), [np.median(row) for row in inner])
    limits = np.column_stack([own[fold], between[:, fold].T])  # (n, 1 + folds)
    tags = images.possible[:, None] & (images.raw[:, None] >= limits)
    within = np.column_stack([np.ones(len(fold), np.bool_), fold[:, None] != np.arange(folds)])
    values = np.where(images.possible, images.raw, -np.inf)
    p_values = [rank_p_value(values[rows], images.right[rows]) for rows in within.T]
    return Judgement(logits, np.array(p_values), _gains(images, tags, within))


def _gains(images: Images, tags: Bools, within: Bools) -> Bools:
    """Return bool[1 + folds]: where the F1 of `tags` is clearly above the kept, and above tagging all.

    The standard error is the delta method's: F1 is a ratio of two sums over images.
    """
    right, weight = images.right[:, None] & within, images.weight[:, None]
    new, new_parts = _f1_parts(tags & within, right, weight)
    old, old_parts = _f1_parts(images.kept[:, None] & within, right, weight)
    every, _ = _f1_parts(within, right, weight)
    errors = np.sqrt(((new_parts - old_parts) ** 2).sum(axis=0))
    return np.asarray((new - old > _ERRORS * errors + 1e-12) & (new > every))


def _f1_parts(tags: Bools, right: Bools, weight: Floats) -> tuple[Floats, Floats]:
    """Return the F1 of each column, and each image's influence on it: [k] and [n, k]; `weight` is [n, 1]."""
    over = 2.0 * weight * (tags & right)
    under = weight * (tags.astype(np.float64) + right)
    total = under.sum(axis=0)
    total = np.where(total > 0, total, 1.0)
    value = over.sum(axis=0) / total
    return value, (over - value * under) / total


def places(images: Images) -> Floats:
    """Return float64[folds, folds]: the logit of best F1 on the images of neither fold i nor fold j."""
    order = np.argsort(-images.raw, kind="stable")
    order = order[images.possible[order]]
    raw, right = images.raw[order].astype(np.float64), images.right[order]
    fold, folds, weight = images.fold[order], images.folds, images.weight[order]
    pairs = [(i, j) for i in range(folds) for j in range(i, folds)]
    logits = np.full((folds, folds), np.inf)
    if not right.any():
        return logits
    used = np.stack([(fold != i) & (fold != j) for i, j in pairs], axis=1)  # (n, pairs)
    per_fold = np.bincount(images.fold[images.right], minlength=folds)
    n_right = np.array([per_fold.sum() - sum(per_fold[list({i, j})]) for i, j in pairs])
    curve = _curve(raw, right, weight, fold, pairs, folds)
    best = _best_rows(raw, right, used * weight[:, None], n_right, curve, _total(images, pairs))
    for column, (i, j) in enumerate(pairs):
        if (used[:, column] & right).any():
            logits[i, j] = logits[j, i] = _between(raw, used[:, column], int(best[column]))
    return logits


def _total(images: Images, pairs: list[tuple[int, int]]) -> Floats:
    """Return what the right images of neither fold of each pair weigh: float64[pairs]."""
    fold = images.fold[images.right]
    weights = np.bincount(fold, images.weight[images.right], images.folds)
    return np.array([weights.sum() - sum(weights[list({i, j})]) for i, j in pairs])


def _best_rows(
    raw: Floats, right: Bools, used: Floats, n_right: Places, curve: Floats, total: Floats
) -> Places:
    """Return for each column the row at which to cut; images of one score stay together.

    `used` has the weights of the images in use, `total` what the right ones among them weigh.
    """
    part = _CURVE / (_CURVE + n_right)
    ends = np.flatnonzero(np.append(raw[1:] < raw[:-1], True))
    worth = used * ((1 - part) * right[:, None] + part * curve)
    hits, tagged = worth.cumsum(axis=0)[ends], used.cumsum(axis=0)[ends]
    return np.asarray(ends[(2 * hits / np.maximum(tagged + total, 1e-9)).argmax(axis=0)])


def _between(raw: Floats, used: Bools, row: int) -> float:
    """Return the middle between the used images around a cut below `row`."""
    lowest = row - int(used[row::-1].argmax())
    rest = used[row + 1 :]
    if not rest.any():
        return float(raw[lowest] - MARGIN)
    return float((raw[lowest] + raw[row + 1 + int(rest.argmax())]) / 2)


def _curve(
    raw: Floats,
    right: Bools,
    weight: Floats,
    fold: Places,
    pairs: list[tuple[int, int]],
    folds: int,
) -> Floats:
    """Return float64[n, pairs]: how likely each image is right, by a logistic fit to each pair's images.

    A Newton iteration for all pairs at once; `raw` falls.
    """
    x = _standardised(raw)
    bins = np.searchsorted(_edges(len(x)), np.arange(len(x)), "right")
    count = int(bins[-1]) + 1
    middle = np.bincount(bins, x, count) / np.bincount(bins, minlength=count)
    chosen = np.array([[f not in pair for pair in pairs] for f in range(folds)], np.float64)
    spots = bins * folds + fold
    every = np.bincount(spots, weight, count * folds).reshape(count, folds) @ chosen
    hits = np.bincount(spots, weight * right, count * folds).reshape(count, folds) @ chosen
    intercept, slope = _newton(middle, every, hits)
    return np.asarray(0.5 + 0.5 * np.tanh((intercept + slope * x[:, None]) / 2))


def _newton(x: Floats, every: Floats, hits: Floats) -> tuple[Floats, Floats]:
    """Fit intercepts and slopes, [k] each, to `hits` of `every` images, [m, k], at points x, [m]."""
    n_right, n = hits.sum(axis=0), every.sum(axis=0)
    slope = np.ones(every.shape[1])
    intercept = np.log((n_right + 0.5) / (n - n_right + 0.5)) - 1
    for _ in range(_STEPS):
        likely = 0.5 + 0.5 * np.tanh((intercept + slope * x[:, None]) / 2)
        residual, weight = hits - every * likely, every * likely * (1 - likely) + 1e-9
        up = residual.sum(axis=0)
        turn = x @ residual - (slope - _SLOPE) / _SLOPE_SPREAD**2
        a, b, c = weight.sum(axis=0), x @ weight, (x * x) @ weight + 1 / _SLOPE_SPREAD**2
        determinant = a * c - b * b
        steps = np.stack([(c * up - b * turn), (a * turn - b * up)]) / determinant
        steps *= np.minimum(1, 2 / np.maximum(np.abs(steps).max(axis=0), 1e-9))  # no wild leaps
        intercept, slope = intercept + steps[0], slope + steps[1]
        if np.abs(steps).max() < _STILL:
            break
    return intercept, slope


def _standardised(raw: Floats) -> Floats:
    low, middle, high = np.percentile(raw, [25, 50, 75])
    spread = (high - low) / 1.349 or float(raw.std()) or 1.0
    return np.asarray((raw - middle) / spread)


def _edges(n: int) -> Places:
    """Return where bins begin: one image in each of the first, which score highest."""
    if n <= _POINTS:
        return np.arange(1, n)
    return np.unique(np.geomspace(1, n, _POINTS).astype(np.intp))[:-1]
