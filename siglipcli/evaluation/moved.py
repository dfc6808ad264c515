"""A set's scores after a shift: where each label's tags can be cut off, and the set with what was fitted."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from siglipcli import scoring
from siglipcli.evaluation.cutting import MARGIN
from siglipcli.scoring import ScoringOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from typing_extensions import Self

    from siglipcli.evaluation.calibration import LabelFit
    from siglipcli.evaluation.scored import Scored
    from siglipcli.labels import LabelSet

    Bools = NDArray[np.bool_]
    Floats = NDArray[np.float32]

__all__ = ["Cuts", "Moved", "readable"]


@dataclass(frozen=True, slots=True)
class Moved:
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
    def of(cls, scored: Scored, threshold: float | None, shift: float) -> Self:
        """Move the scores of `scored` to the set's new `bias_shift`; `threshold` is the flat one in use."""
        labels, delta = scored.labels, shift - scored.labels.bias_shift
        flat = scoring.DEFAULT_THRESHOLD if labels.threshold is None else labels.threshold
        used = flat if threshold is None else threshold
        before = scoring.sigmoid(scored.logits)
        raw = scored.logits + np.float32(delta)
        scores = scoring.sigmoid(raw)
        any_score = replace(labels, labels=tuple(replace(x, threshold=0.0) for x in labels.labels))
        reached = before >= scoring.thresholds(labels, ScoringOptions())
        tagged = scoring.tags(scored.logits, before, labels, ScoringOptions())
        now = scoring.tags(scored.logits, before, labels, ScoringOptions(threshold=used))
        possible = scoring.tags(raw, scores, any_score, ScoringOptions())
        return cls(labels, flat, used, delta, raw, scores, reached, tagged, now, possible)

    def cuts(self, j: int) -> Cuts:
        """Return where label j's tags can be cut off."""
        return Cuts(self.raw[:, j], self.scores[:, j], self.possible[:, j])

    def filled_in(
        self, fits: Sequence[LabelFit], shift: float
    ) -> tuple[LabelSet, tuple[LabelFit, ...]]:
        """Write thresholds into the set: fitted ones, and moved ones of labels left alone.

        Labels that use the set's threshold go on using it; it is moved for all of them together.
        """
        labels = self.labels
        new = {fit.label: fit.new for fit in fits if not fit.reason}
        left = [(j, label) for j, label in enumerate(labels.labels) if label.path not in new]
        own = [(j, x) for j, label in left if (x := label.threshold) is not None]
        new |= {labels.labels[j].path: self._carried(x, [j]) for j, x in own}
        users = [j for j, x in enumerate(labels.labels) if not x.negative and x.path not in new]
        flat = labels.threshold
        if self.delta and (users or flat is not None):
            flat = self._carried(self.flat, users)
        filled = tuple(replace(label, threshold=new.get(label.path)) for label in labels.labels)
        shown = self.flat if flat is None else flat
        return (
            replace(labels, labels=filled, threshold=flat, bias_shift=shift),
            tuple(replace(fit, new=new.get(fit.label, shown)) for fit in fits),
        )

    def _carried(self, threshold: float, columns: list[int]) -> float:
        """Return `threshold` moved with the scores: for the labels `columns`, the same are reached."""
        if not self.delta:
            return threshold
        scores, reached = self.scores[:, columns], self.reached[:, columns]
        below, above = scores[~reached].max(initial=-1), scores[reached].min(initial=2)
        with np.errstate(divide="ignore"):  # 0 and 1 are infinite logits
            logit = float(np.log(threshold) - np.log1p(-threshold))
        return readable(logit + self.delta, float(below), float(above))


class Cuts:
    """Every way to cut a label's tags off, the highest first; images of one score stay together.

    Cut i tags the `tagged[i]` of highest score.
    """

    def __init__(self, raw: Floats, scores: Floats, possible: Bools) -> None:
        order = np.argsort(-raw, kind="stable")
        self._order = order[possible[order]]
        self._raw, self._scores = raw[self._order].astype(np.float64), scores[self._order]
        is_last = np.append(self._scores[1:] < self._scores[:-1], True)[: len(self._order)]
        self.tagged = np.flatnonzero(is_last) + 1

    def hits(self, right: Bools) -> NDArray[np.int64]:
        """Count the right images of each cut."""
        return np.asarray(right[self._order].cumsum()[self.tagged - 1])

    def holding(self, logit: float) -> int | None:
        """Return the cut whose gap holds `logit`; None where nothing reaches it."""
        count = int((self._raw >= logit).sum())
        return int(np.searchsorted(self.tagged, count)) if count else None

    def lowest(self, i: int) -> np.float32:
        """Return the lowest score of cut i."""
        lowest: np.float32 = self._scores[self.tagged[i] - 1]
        return lowest

    def threshold(self, i: int) -> float:
        """Return a readable score in the middle of the gap below the lowest image of cut i."""
        n = self.tagged[i]
        raw, lowest = self._raw, self._raw[n - 1]
        place = (lowest + raw[n]) / 2 if n < len(raw) else lowest - MARGIN
        below = float(self._scores[n]) if n < len(raw) else -1.0
        return readable(float(place), below, float(self._scores[n - 1]))


def readable(logit: float, below: float, above: float) -> float:
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
