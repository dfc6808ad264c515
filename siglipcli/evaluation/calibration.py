"""Thresholds that fit: one for each label and a shift for the set, from images whose labels are known.

Three rules keep few images from fooling it. What is reported is measured on images that the
threshold was not fitted on (stratified k-fold; the counts of all folds are pooled, so that a fold
in which a label is rare weighs what it has). A fitted threshold is used only where that is better
than what the label has now. And what is used is the median of the folds' thresholds, moved to the
middle of the gap between the two scores around it: no image decides it alone, and none sits on it.
(It is chosen by the measure that is reported, which is a little too good where examples are few.)

Tags are those of `scoring.tags`. Where a label cannot be a tag whatever its threshold (a negative
label outranks it, or another label of an exclusive set does), the image counts as not tagged: it
moves no threshold, and is missed if the label is right.

The shift goes no further than fp32 can follow: scores of logits above 16.6 are all 1, and no threshold
tells them apart. Where it would still cost a label left alone a tag, or give it one, it is not used.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from siglipcli import scoring
from siglipcli.errors import UsageError
from siglipcli.evaluation.metrics import average_precision, relevant
from siglipcli.scoring import ScoringOptions

try:
    from sklearn.model_selection import StratifiedKFold
except ImportError as missing:
    raise UsageError('this needs scikit-learn: pip install "siglipcli[eval]"') from missing

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from siglipcli.evaluation.scored import Scored
    from siglipcli.labels import LabelSet

    Bools = NDArray[np.bool_]
    Floats = NDArray[np.float32]
    Places = NDArray[np.intp]

__all__ = ["Aim", "Calibration", "LabelFit", "Quality", "fit"]

_MOST = 1000.0  # what a label set's `bias_shift` may be
_HIGHEST = 12.0  # logit that a shift pushes none beyond: fp32 has 100 scores for a logit there
_SKILL = 0.5  # average precision from which a label has a say in the shift
_MARGIN = 0.5  # of a logit: how far below the lowest score a threshold lies that all of them reach


@dataclass(frozen=True, slots=True)
class Aim:
    """What is fitted, and how carefully.

    The threshold of best F1, or with `precision` the one of most recall that reaches it. Labels
    with fewer than `min_examples` right images are left alone: five, so that each of the five
    `folds` has one. `threshold` is the flat one in use now, if it is not the set's or the default: the
    gain is measured against it, and it is never written.
    """

    precision: float | None = None
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

    `fitted` is measured on held-out images; it is None where nothing was fitted. `reason` says why
    the label is left alone, "" where it is not. `before` is by `old`, and `kept` by what the set itself
    says: they differ with `Aim.threshold` only. Both are None where no image is right.
    """

    label: str
    examples: int
    old: float
    new: float
    before: Quality | None
    fitted: Quality | None = None
    reason: str = ""
    kept: Quality | None = None

    @property
    def after(self) -> Quality | None:
        """The quality with `new`: what was held out, or as the set had it where it is left alone."""
        return self.kept if self.reason else self.fitted


@dataclass(frozen=True, slots=True)
class Calibration:
    """The set with its thresholds and shift filled in, and what that is worth, label by label.

    `labels` has every label but the negative ones, in the set's order.
    """

    calibrated: LabelSet
    labels: tuple[LabelFit, ...]
    old_shift: float

    def macro_f1(self) -> tuple[float, float]:
        """Return the mean F1 over labels with right images, before and after; 0 without any."""
        both = [(fit.before.f1, fit.after.f1) for fit in self.labels if fit.before and fit.after]
        before, after = np.mean(both or [(0, 0)], axis=0).tolist()
        return before, after


def fit(scored: Scored, aim: Aim | None = None) -> Calibration:
    """Fit thresholds and a shift; `scored.logits` are as the set gives them now, its own shift in.

    Thresholds are scores after the shift; those of labels left alone move with it. They keep every tag
    that the set gave them on these images: with a shift that would change one, it is left as it is.
    """
    aim = aim or Aim()
    truth = relevant(scored)
    shift = _new_shift(scored, truth) if aim.shift else scored.labels.bias_shift
    found, keeps_tags = _fitted(scored, truth, aim, shift)
    return found if keeps_tags else _fitted(scored, truth, aim, scored.labels.bias_shift)[0]


def _fitted(scored: Scored, truth: Bools, aim: Aim, shift: float) -> tuple[Calibration, bool]:
    """Fit thresholds to the scores after `shift`; tell too whether labels left alone keep their tags."""
    moved, columns = _Moved.of(scored, aim, shift), _candidates(scored.labels)
    found = _filled_in(moved, [_fit_label(moved, truth[:, j], j, aim) for j in columns], shift)
    after = scoring.tags(moved.raw, moved.scores, found.calibrated, ScoringOptions())
    alone = [j for j, fit in zip(columns, found.labels, strict=True) if fit.reason]
    return found, bool((moved.tagged == after)[:, alone].all())


def _candidates(labels: LabelSet) -> list[int]:
    return [j for j, label in enumerate(labels.labels) if not label.negative]


def _new_shift(scored: Scored, truth: Bools) -> float:
    """Return the set's new `bias_shift`, to a hundredth; the old one where that is no likelier.

    Fitted on the labels that the data itself names and the model ranks well: images may show what
    nobody named, and no shift helps where nothing is told apart. It pushes no logit over `_HIGHEST`,
    and none up where one is there already.
    """
    old = scored.labels.bias_shift
    named = [j for j in _candidates(scored.labels) if scored.truth[:, j].any()]
    skill = {j: average_precision(truth[:, j], scored.logits[:, j]) or 0 for j in named}
    told = [j for j in named if skill[j] >= _SKILL]
    if not told:
        return old
    plain, right = scored.logits[:, told].astype(np.float64) - old, truth[:, told]
    room = max(_HIGHEST - float(scored.logits.max()), 0)
    most = min(math.floor((old + room) * 100) / 100, _MOST)
    shift = min(max(round(_likeliest_shift(plain, right), 2), -_MOST), most)
    losses = [(np.logaddexp(0, z) - right * z).mean() for z in (plain + shift, plain + old)]
    return shift if losses[0] < losses[1] else old


def _likeliest_shift(logits: NDArray[np.float64], right: Bools) -> float:
    """Return the b that makes `right` likeliest by sigmoid(logit + b), given that b is likely small.

    Platt scaling (Platt 1999, "Probabilistic Outputs for Support Vector Machines") with slope 1, and a
    normal prior of one logit around the model's own bias: images that are told apart anyway would
    else move it without end, as every shift that takes their scores nearer to 1 is likelier still.
    """
    z, n_right = logits.ravel(), int(right.sum())

    def slope(b: float) -> float:  # of the log-likelihood and the prior's logarithm; falls with b
        return n_right - float((0.5 + 0.5 * np.tanh((z + b) / 2)).sum()) - b

    low, high = -float(z.size) - 1, float(z.size) + 1  # where the prior alone decides the sign
    while high - low > 1e-4:  # noqa: PLR2004
        b = (low + high) / 2
        low, high = (b, high) if slope(b) > 0 else (low, b)
    return (low + high) / 2


@dataclass(frozen=True, slots=True)
class _Moved:
    """The scores after the shift, beside what the thresholds of now make of them before it.

    `flat` is the set's threshold, `used` the one in use in its place. The arrays are [n, n_labels]:
    `reached`, where a score reaches the set's threshold; `tagged`, where that makes a tag, and `now`,
    where that in use does; `possible`, where a low enough one would.
    """

    labels: LabelSet
    flat: float
    used: float
    delta: float
    raw: Floats
    scores: Floats
    reached: Bools
    tagged: Bools
    now: Bools
    possible: Bools

    @classmethod
    def of(cls, scored: Scored, aim: Aim, shift: float) -> _Moved:
        """Move the scores of `scored` to the set's new `bias_shift`."""
        labels, delta = scored.labels, shift - scored.labels.bias_shift
        flat = scoring.DEFAULT_THRESHOLD if labels.threshold is None else labels.threshold
        used = flat if aim.threshold is None else aim.threshold
        before = scoring.sigmoid(scored.logits)
        raw = scored.logits + np.float32(delta)
        scores = scoring.sigmoid(raw)
        any_score = replace(labels, labels=tuple(replace(x, threshold=0.0) for x in labels.labels))
        reached = before >= scoring.thresholds(labels, ScoringOptions())
        tagged = scoring.tags(scored.logits, before, labels, ScoringOptions())
        now = scoring.tags(scored.logits, before, labels, ScoringOptions(threshold=used))
        possible = scoring.tags(raw, scores, any_score, ScoringOptions())
        return cls(labels, flat, used, delta, raw, scores, reached, tagged, now, possible)

    def cuts(self, j: int, right: Bools, rows: Places) -> _Cuts:
        """Return where label j's tags can be cut off on the images `rows`, their places."""
        keep = rows[self.possible[rows, j]]
        return _Cuts(self.raw[keep, j], self.scores[keep, j], right[keep])

    def carried(self, threshold: float, columns: list[int]) -> float:
        """Return `threshold` moved with the scores: for the labels `columns`, the same are reached."""
        if not self.delta:
            return threshold
        scores, reached = self.scores[:, columns], self.reached[:, columns]
        below, above = scores[~reached].max(initial=-1), scores[reached].min(initial=2)
        with np.errstate(divide="ignore"):  # 0 and 1 are infinite logits
            logit = float(np.log(threshold) - np.log1p(-threshold))
        return _readable(logit + self.delta, float(below), float(above))


class _Cuts:
    """Every way to cut a label's tags off, the highest first.

    `raw`, `scores` and `right` are [n], of the images where it can be a tag. Cut i tags the
    `tagged[i]` of highest score, `hits[i]` of them right. Images of one score stay together.
    """

    def __init__(self, raw: Floats, scores: Floats, right: Bools) -> None:
        order = np.argsort(-raw, kind="stable")
        self.raw, self.scores = raw[order].astype(np.float64), scores[order]
        is_last = np.append(self.scores[1:] < self.scores[:-1], True)[: len(raw)]
        self.tagged = np.flatnonzero(is_last) + 1
        self.hits = right[order].cumsum()[self.tagged - 1]

    def place(self, i: int) -> float:
        """Return the logit in the middle of the gap below the lowest image of cut i."""
        n = self.tagged[i]
        lowest = self.raw[n - 1]
        return float((lowest + self.raw[n]) / 2 if n < len(self.raw) else lowest - _MARGIN)

    def threshold(self, i: int) -> float:
        """Return a readable score in that gap."""
        n = self.tagged[i]
        below = float(self.scores[n]) if n < len(self.scores) else -1.0
        return _readable(self.place(i), below, float(self.scores[n - 1]))

    def best(self, n_right: int, precision: float | None) -> float:
        """Return the logit to cut at; infinity where no cut tags anything right, or precisely enough.

        Of equals it is the one with the fewest tags: of best F1, or of most hits that are precise.
        """
        worth = self.hits * self._precise(precision)
        if precision is None:
            worth = 2 * self.hits / (self.tagged + n_right)
        return self.place(int(worth.argmax())) if worth.any() else math.inf

    def settled(self, logit: float, precision: float | None) -> int | None:
        """Return the cut whose gap holds `logit`, or the next higher one that is precise; None for no tags."""
        count = int((self.raw >= logit).sum())
        precise = np.flatnonzero(self._precise(precision))
        if count == 0 or not len(precise):
            return None
        higher = precise[precise <= np.searchsorted(self.tagged, count)]
        return int(higher[-1] if len(higher) else precise[0])

    def _precise(self, precision: float | None) -> Bools:
        if precision is None:
            return np.ones(len(self.tagged), np.bool_)
        return np.asarray((self.hits > 0) & (self.hits >= precision * self.tagged - 1e-9))


def _fit_label(moved: _Moved, right: Bools, j: int, aim: Aim) -> LabelFit:
    """Fit label j, whose images are `right`, bool[n]; or say why not."""
    label, n_right = moved.labels.labels[j], int(right.sum())
    old = moved.used if label.threshold is None else label.threshold
    now, kept = moved.now[:, j], moved.tagged[:, j]
    before, as_set = (_quality(tags, right) if n_right else None for tags in (now, kept))
    alone = LabelFit(label.path, n_right, old, old, before, kept=as_set)
    if reason := _too_few(n_right, len(right) - n_right, aim):
        return replace(alone, reason=reason)
    held_out, places = _held_out(moved, right, j, aim)
    cuts = moved.cuts(j, right, np.arange(len(right)))
    at = cuts.settled(float(np.median(places)), aim.precision)
    if at is None:
        never = "always outranked" if aim.precision is None else "precision not reached"
        return replace(alone, reason=never)
    fitted = replace(alone, fitted=_quality(held_out, right))
    tags = moved.possible[:, j] & (moved.scores[:, j] >= cuts.scores[cuts.tagged[at] - 1])
    if (tags == kept).all():
        return replace(fitted, reason="fits already")
    reason = _objection(fitted, right, aim)
    return replace(fitted, reason=reason) if reason else replace(fitted, new=cuts.threshold(at))


def _held_out(moved: _Moved, right: Bools, j: int, aim: Aim) -> tuple[Bools, list[float]]:
    """Return label j's tags, each by a threshold fitted on other folds, and these as logits."""
    tags, places, n_right = np.zeros_like(right), [], int(right.sum())
    count = min(aim.folds, n_right, len(right) - n_right)
    folds = StratifiedKFold(count, shuffle=True, random_state=aim.seed)
    for train, test in folds.split(right, right):
        place = moved.cuts(j, right, train).best(int(right[train].sum()), aim.precision)
        tags[test] = moved.possible[test, j] & (moved.raw[test, j] >= place)
        places.append(place)
    return tags, places


def _too_few(n_right: int, n_wrong: int, aim: Aim) -> str:
    if n_right < max(aim.min_examples, 2):
        return "too few examples" if n_right else "no examples"
    return "too few others" if n_wrong < 2 else ""  # noqa: PLR2004  # a fold each


def _objection(fit: LabelFit, right: Bools, aim: Aim) -> str:
    """Say why the label does better with what the set has; "" where it does not."""
    assert fit.kept
    assert fit.fitted
    if aim.precision is not None:
        old = _standing(fit.kept, aim.precision, fit.examples)
        return "" if _standing(fit.fitted, aim.precision, fit.examples) > old else "no gain"
    if fit.fitted.f1 <= fit.kept.f1:
        return "no gain"
    # Without any skill, F1 is best where everything is tagged: nobody wants that threshold.
    everything = _quality(np.ones_like(right), right)
    return "tells nothing apart" if fit.fitted.f1 <= everything.f1 else ""


def _standing(quality: Quality, precision: float, n_right: int) -> tuple[bool, float]:
    """Return what to compare by: precise tags come first, by their recall; then others, by precision."""
    if not quality.recall:
        return False, 0.0
    n_tags = quality.recall * n_right / quality.precision
    error = math.sqrt(quality.precision * (1 - quality.precision) / n_tags)
    precise = (
        quality.precision + error >= precision
    )  # held out, half of all fits are a little below
    return precise, quality.recall if precise else quality.precision


def _quality(tags: Bools, right: Bools) -> Quality:
    hits, tagged, n_right = (int(each.sum()) for each in (tags & right, tags, right))
    return Quality(hits / max(tagged, 1), hits / max(n_right, 1), 2 * hits / (tagged + n_right))


def _filled_in(moved: _Moved, fits: list[LabelFit], shift: float) -> Calibration:
    """Write thresholds into the set: fitted ones, and moved ones of labels left alone.

    Labels that use the set's threshold go on using it; it is moved for all of them together.
    """
    labels = moved.labels
    new = {fit.label: fit.new for fit in fits if not fit.reason}
    left = [(j, label) for j, label in enumerate(labels.labels) if label.path not in new]
    own = [(j, x) for j, label in left if (x := label.threshold) is not None]
    new |= {labels.labels[j].path: moved.carried(x, [j]) for j, x in own}
    users = [j for j in _candidates(labels) if labels.labels[j].path not in new]
    flat = labels.threshold
    if moved.delta and (users or flat is not None):
        flat = moved.carried(moved.flat, users)
    filled = tuple(replace(label, threshold=new.get(label.path)) for label in labels.labels)
    shown = moved.flat if flat is None else flat
    return Calibration(
        replace(labels, labels=filled, threshold=flat, bias_shift=shift),
        tuple(replace(fit, new=new.get(fit.label, shown)) for fit in fits),
        labels.bias_shift,
    )


def _readable(logit: float, below: float, above: float) -> float:
    """Return sigmoid(`logit`) with few digits, over `below` and not over `above`, in fp32 as compared.

    Three digits of the score, or of what it lacks of 1, and more where those are on the wrong side.
    """
    e = math.exp(-abs(logit))
    score = (1 if logit >= 0 else e) / (1 + e)
    rest = min(score, 1 - score)
    for digits in range(3, 10) if rest > 0 else ():
        short = round(score, digits - 1 - math.floor(math.log10(rest)))
        if below < np.float32(short) <= above:
            return short
    return score if below < np.float32(score) <= above else min(above, 1.0)
