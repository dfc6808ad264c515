"""Thresholds that fit: one for each label and a shift for the set, from images whose labels are known.

What is promised, each by a simulation in the tests:

- A label is fitted only if the model tells it from chance (`skill`), and if the new threshold is clearly
  better on images that it was not fitted on (`cutting`). Of labels without skill at most 5 % are fitted.
- What is reported is what the whole procedure, choice included, does on images that had no part in it (nested
  cross-validation), of labels left alone too.
- With `Aim.precision` a label is moved only to a threshold that reaches it with the stated confidence
  (`certify`); any other is left alone and marked.

Tags are those of `scoring.tags`. Where a label cannot be a tag whatever its threshold (a negative
label outranks it, or another label of an exclusive set does), the image counts as not tagged: it
moves no threshold, and is missed if the label is right.

Where the shift (`shift`) would cost a label left alone a tag, or give it one, it is not used.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from siglipcli import scoring
from siglipcli.errors import UsageError
from siglipcli.evaluation import certify, cutting, skill
from siglipcli.evaluation.metrics import relevant
from siglipcli.evaluation.moved import Moved
from siglipcli.evaluation.records import Record
from siglipcli.evaluation.shift import new_shift
from siglipcli.scoring import ScoringOptions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from siglipcli.evaluation.certify import Certificate, Tested
    from siglipcli.evaluation.cutting import Images, Judgement
    from siglipcli.evaluation.scored import Scored
    from siglipcli.labels import LabelSet

    Bools = NDArray[np.bool_]
    Floats = NDArray[np.float64]

__all__ = ["LEAST", "Aim", "Calibration", "LabelFit", "Quality", "check", "fit"]

LEAST = 3
"""Right images, others, and folds below which nothing can be fitted and judged twice."""

_FALSE = 0.05  # of the labels said to be told from chance, how many are not, at most


@dataclass(frozen=True, slots=True)
class Aim:
    """What is fitted, and how carefully.

    The threshold of best F1, or with `precision` the one of most recall that reaches it; `confidence` is the
    share of labels said to reach it that do, at least. Labels with fewer than `min_examples` right images
    are left alone: five, so that each of the five `folds` has one. `threshold` is the flat one in use
    now, if it is not the set's or the default: the gain is measured against it, and it is never written.
    """

    precision: float | None = None
    confidence: float = 0.9
    min_examples: int = 5
    folds: int = 5
    seed: int = 0
    shift: bool = True
    threshold: float | None = None


@dataclass(frozen=True, slots=True)
class Quality:
    """How good one label's tags are, each from 0 to 1; 0 too where nothing is tagged."""

    precision: float
    recall: float
    f1: float


@dataclass(frozen=True, slots=True)
class LabelFit:
    """One label: its right images, its thresholds, and the quality of its tags by each.

    `held_out` is what the whole procedure does on images that had no part in it, None where none was tried.
    `reason` says why the label is left alone, "" where it is not. `before` is by `old`, and `kept` by what the
    set itself says: they differ with `Aim.threshold` only. Both are None where no image is right.

    With `Aim.precision`, `reached` says whether the label's threshold now reaches it, and `at_least` is the
    lower confidence bound of its precision. None without, and where there are too few images.
    """

    label: str
    examples: int
    old: float
    new: float
    before: Quality | None
    held_out: Quality | None = None
    reason: str = ""
    kept: Quality | None = None
    reached: bool | None = None
    at_least: float | None = None

    @property
    def after(self) -> Quality | None:
        """The quality with `new`: what was held out, or as the set had it where it is left alone."""
        return self.kept if self.reason else self.held_out


@dataclass(frozen=True, slots=True, repr=False)
class Calibration(Record):
    """The set with its thresholds and shift filled in, and what that is worth, label by label.

    `labels` has every label but the negative ones, in the set's order.
    """

    calibrated: LabelSet
    labels: tuple[LabelFit, ...]
    old_shift: float
    aim: Aim

    def macro_f1(self) -> tuple[float, float]:
        """Return the mean F1 over labels with right images, before and held out; 0 without any.

        Labels that were tried and left alone count with what was held out, so that the choice of what to
        move does not flatter the mean. Where no label is moved nothing changes, and both are equal but for
        `Aim.threshold`.
        """
        moved = any(not fit.reason for fit in self.labels)
        after = [(fit.held_out if moved else None) or fit.kept for fit in self.labels]
        pairs = zip(self.labels, after, strict=True)
        both = [(fit.before.f1, new.f1) for fit, new in pairs if fit.before and new]
        means = np.mean(both or [(0, 0)], axis=0).tolist()
        return means[0], means[1]

    def is_unchanged(self) -> bool:
        """Whether neither a threshold nor the shift is another than before."""
        moved = any(not fit.reason for fit in self.labels)
        return not moved and self.calibrated.bias_shift == self.old_shift

    def reached(self) -> tuple[int, int]:
        """Count the labels that reach the precision asked for, and those that do not."""
        marks = [fit.reached for fit in self.labels]
        return marks.count(True), marks.count(False)


def fit(scored: Scored, aim: Aim | None = None) -> Calibration:
    """Fit thresholds and a shift; `scored.logits` are as the set gives them now, its own shift in.

    Thresholds are scores after the shift; those of labels left alone move with it. They keep every tag
    that the set gave them on these images: with a shift that would change one, it is left as it is. With
    `scored.weights` each label is fitted on the pairs that were judged, weighted, and the shift is left as it
    is: a report lists an image's best labels only, and says nothing of how often the others are right.
    Raises UsageError for an aim that makes no sense.
    """
    aim = aim or Aim()
    check(aim, is_review=scored.weights is not None)
    # A verdict is on one label alone: nothing follows for those above it.
    truth = relevant(scored) if scored.weights is None else scored.truth
    plain = _Fitting(scored, truth, aim, scored.labels.bias_shift)
    if not aim.shift or scored.weights is not None:
        return plain.result()
    shift = new_shift(scored, truth, plain.logits())
    if shift == scored.labels.bias_shift:
        return plain.result()
    shifted = _Fitting(scored, truth, aim, shift)
    return shifted.result() if shifted.keeps_tags() else plain.result()


def check(aim: Aim, *, is_review: bool = False) -> None:
    """Raise UsageError for an aim that makes no sense, or none for a review's verdicts."""
    if is_review and aim.precision is not None:
        raise UsageError(
            "a review's images are not drawn evenly, so no precision can be promised from them; fit for the best"
            " F1, or take a folder of known images"
        )
    if aim.folds < LEAST:
        raise UsageError(f"folds must be {LEAST} or more, not {aim.folds}", folds=aim.folds)
    for name in ("precision", "confidence"):
        value = getattr(aim, name)
        if value is not None and not 0 <= value <= 1:
            raise UsageError(f"{name} must be from 0 to 1, not {value}")


class _Fitting:
    """All labels fitted to scores after one shift."""

    def __init__(self, scored: Scored, truth: Bools, aim: Aim, shift: float) -> None:
        self._aim, self._truth = aim, truth
        self._weights = scored.weights
        self._moved = Moved.of(scored, aim.threshold, shift)
        labels = scored.labels.labels
        self._columns = [j for j, label in enumerate(labels) if not label.negative]
        alone = [self._alone(j) for j in self._columns]
        tried = [i for i, fit in enumerate(alone) if not fit.reason]
        changes = self._by_f1(tried) if aim.precision is None else self._by_precision(tried)
        self._fits = [
            replace(fit, **changes[i]) if i in changes else fit for i, fit in enumerate(alone)
        ]
        self._result = self._moved.filled_in(self._fits, shift)

    def result(self) -> Calibration:
        calibrated, fits = self._result
        return Calibration(calibrated, fits, self._moved.labels.bias_shift, self._aim)

    def logits(self) -> list[float]:
        """Return the thresholds in use after the fit, as logits."""
        calibrated = self._result[0]
        used = scoring.thresholds(calibrated, ScoringOptions())[self._columns].astype(np.float64)
        with np.errstate(divide="ignore"):
            return [float(x) for x in np.log(used) - np.log1p(-used)]

    def keeps_tags(self) -> bool:
        """Whether labels left alone have the tags that they had."""
        moved = self._moved
        after = scoring.tags(moved.raw, moved.scores, self._result[0], ScoringOptions())
        alone = [j for j, fit in zip(self._columns, self._fits, strict=True) if fit.reason]
        return bool((moved.tagged == after)[:, alone].all())

    def _judged(self, j: int) -> tuple[Any, Floats | None]:
        """Return what picks the images that label j is fitted on, and their weights."""
        if self._weights is None:
            return slice(None), None
        rows = self._weights[:, j] > 0
        return rows, self._weights[rows, j]

    def _alone(self, j: int) -> LabelFit:
        """Return label j as the set has it, with the reason where nothing can be tried."""
        rows, weights = self._judged(j)
        moved, right = self._moved, self._truth[rows, j]
        label, n_right = moved.labels.labels[j], int(right.sum())
        old = moved.used if label.threshold is None else label.threshold
        tags = moved.now[rows, j], moved.tagged[rows, j]
        before, kept = (_quality(tagged, right, weights) if n_right else None for tagged in tags)
        fit = LabelFit(label.path, n_right, old, old, before, kept=kept)
        reason = _too_few(n_right, len(right) - n_right, self._aim)
        return replace(fit, reason=reason)

    # --- best F1 ---

    def _by_f1(self, tried: list[int]) -> dict[int, dict[str, Any]]:
        images = [self._images(self._columns[i]) for i in tried]
        judged = [cutting.judge(own) for own in images]
        if not judged:
            return {}
        able = _able(judged, self._aim.folds)
        return {
            i: self._fitted(self._columns[i], own, judgement, able[row])
            for row, (i, own, judgement) in enumerate(zip(tried, images, judged, strict=True))
        }

    def _images(self, j: int) -> Images:
        rows, weights = self._judged(j)
        right, aim = self._truth[rows, j], self._aim
        folds = min(aim.folds, int(right.sum()), int((~right).sum()))
        fold = cutting.deal(right, folds, np.random.default_rng([aim.seed, j]))
        moved = self._moved
        return cutting.Images(
            moved.raw[rows, j],
            right,
            moved.possible[rows, j],
            moved.tagged[rows, j],
            fold,
            folds,
            weights,
        )

    def _fitted(self, j: int, images: Images, judgement: Judgement, able: Bools) -> dict[str, Any]:
        """Return what changes of the label: its threshold and what was held out, or why it is left alone."""
        moves = judgement.gains & able[: images.folds + 1]
        inner = images.possible & (images.raw >= judgement.logits[1:][images.fold])
        nested = np.where(moves[1:][images.fold], inner, images.kept)
        held_out = _quality(nested, images.right, images.weights)
        cuts = self._moved.cuts(j)
        at = cuts.holding(float(judgement.logits[0]))
        if at is None:
            return {"reason": "always outranked"}
        scores = self._moved.scores[self._judged(j)[0], j]
        tags = images.possible & (scores >= cuts.lowest(at))
        gains = moves[0] and held_out.f1 > cutting.f1(images.kept, images.right, images.weights)
        if not able[0]:
            reason = "no better than chance"
        elif (tags == images.kept).all():
            reason = "fits already"
        else:
            reason = "" if gains else "no gain"
        new = {} if reason else {"new": cuts.threshold(at)}
        return {"held_out": held_out, "reason": reason, **new}

    # --- precision ---

    def _by_precision(self, tried: list[int]) -> dict[int, dict[str, Any]]:
        risk = 1 - self._aim.confidence
        tested = [self._tested(self._columns[i], risk) for i in tried]
        believed, level = skill.benjamini_hochberg(np.array([x.p_value for x in tested]), risk)
        return {
            i: self._certified(self._columns[i], certify.settle(one, level) if reaches else None)
            for i, one, reaches in zip(tried, tested, believed, strict=True)
        }

    def _tested(self, j: int, risk: float) -> Tested:
        precision = self._aim.precision or 0.0
        cuts, right, now = self._moved.cuts(j), self._truth[:, j], self._moved.tagged[:, j]
        in_use = int(now.sum()), int((now & right).sum())
        hits = cuts.hits(right)
        return certify.test(cuts.tagged, hits, in_use, int(right.sum()), precision, risk)

    def _certified(self, j: int, certificate: Certificate | None) -> dict[str, Any]:
        """Return what changes of the label: a threshold that reaches the precision, or the mark of none."""
        if certificate is None:
            return {"reason": "precision not reached", "reached": False}
        reached = {"reached": True, "at_least": certificate.at_least}
        cuts, right = self._moved.cuts(j), self._truth[:, j]
        at = int(np.searchsorted(cuts.tagged, certificate.tagged))
        if certificate.is_in_use:
            return {"reason": "reached already", **reached}
        tags = self._moved.possible[:, j] & (self._moved.scores[:, j] >= cuts.lowest(at))
        held_out = _quality(self._as_often(j, certificate.tagged), right)
        if (tags == self._moved.tagged[:, j]).all():
            return {"reason": "reached already", **reached}
        return {"new": cuts.threshold(at), "held_out": held_out, **reached}

    def _as_often(self, j: int, tagged: int) -> Bools:
        """Return tags as frequent as so many, each fold's by a threshold taken from the others."""
        images = self._images(j)
        values = np.where(images.possible, images.raw, -np.inf)
        tags = np.zeros(len(values), np.bool_)
        for fold in range(images.folds):
            test = images.fold == fold
            others = np.sort(values[~test])[::-1]
            count = round(tagged * len(others) / len(values))
            limit = (others[max(count, 1) - 1] + others[min(max(count, 1), len(others) - 1)]) / 2
            tags[test] = images.possible[test] & (values[test] >= limit)
        return tags


def _able(judged: list[Judgement], folds: int) -> Bools:
    """Return bool[labels, 1 + folds]: which labels are told from chance, without one fold or none."""
    p_values = np.ones((len(judged), folds + 1))
    for row, judgement in zip(p_values, judged, strict=True):
        row[: len(judgement.p_values)] = judgement.p_values
    return np.stack([skill.benjamini_hochberg(p, _FALSE)[0] for p in p_values.T], axis=1)


def _too_few(n_right: int, n_wrong: int, aim: Aim) -> str:
    if n_right < max(aim.min_examples, LEAST):
        return "too few examples" if n_right else "no examples"
    return "too few others" if n_wrong < LEAST else ""


def _quality(tags: Bools, right: Bools, weights: Floats | None = None) -> Quality:
    weight = np.ones(len(right)) if weights is None else weights
    hits, tagged, n_right = (float(weight[rows].sum()) for rows in (tags & right, tags, right))
    f1 = cutting.f1(tags, right, weights)
    return Quality(hits / tagged if tagged else 0.0, hits / n_right if n_right else 0.0, f1)
