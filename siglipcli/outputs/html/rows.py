"""Which of an image's scores a report keeps, and what may become a tag as its threshold moves.

The stream is scored once, with more labels than the output shows; the output's predictions
are cut out of it unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from siglipcli.labels import LabelSet
    from siglipcli.results import Prediction, Score
    from siglipcli.scoring import ScoringOptions

__all__ = ["ALWAYS", "KEPT", "LEAST", "NONE", "Row", "kept", "narrowed", "widened"]

KEPT = 20
"""Labels of a set that an image keeps at most, beside every tag."""
ALWAYS = 5
"""The best ones, kept whatever they score."""
LEAST = 0.001
"""What the others score at least; the slider of the page ends there."""

TAG, CANDIDATE, NEVER = "t", "c", "-"
NONE = -1.0  # a floor below every threshold
_SET = attrgetter("set")

Numbers: TypeAlias = "Mapping[tuple[str, str], int]"


@dataclass(frozen=True, slots=True)
class Row:
    """An image's labels (as numbers), their scores and marks: `t` a tag, `c` could be, `-` never.

    At a threshold of `floor` or below there may be tags that are not kept.
    """

    labels: list[int]
    scores: list[float]
    marks: str
    floor: float


def widened(scoring: ScoringOptions, sets: Sequence[LabelSet]) -> ScoringOptions:
    """Return a scoring that holds what a report needs and all that `scoring` does."""
    scoring = replace(scoring, tags_only=False)
    if scoring.top is None:
        return replace(scoring, negatives=True)
    most = max((sum(label.negative for label in label_set.labels) for label_set in sets), default=0)
    return replace(scoring, top=max(scoring.top, KEPT) + most, negatives=True)


def narrowed(wide: Prediction, scoring: ScoringOptions, sets: Sequence[LabelSet]) -> Prediction:
    """Cut out of a prediction of `widened(scoring)` what `scoring` alone gives, digit by digit."""
    if scoring.top is None and scoring.negatives and not scoring.tags_only:
        return wide
    hidden = set() if scoring.negatives else _negatives(sets)
    scores: list[Score] = []
    for _, group in groupby(wide.scores, _SET):
        shown = [score for score in group if (score.set, score.label) not in hidden]
        top = len(shown) if scoring.top is None else scoring.top
        top = 0 if scoring.tags_only else top
        scores += [score for i, score in enumerate(shown) if i < top or score.tag]
    return replace(wide, scores=tuple(scores))


def _negatives(sets: Sequence[LabelSet]) -> set[tuple[str, str]]:
    return {(s.name, label.path) for s in sets for label in s.labels if label.negative}


def kept(scores: Sequence[Score], sets: Mapping[str, LabelSet], numbers: Numbers) -> Row:
    """Choose what a report keeps of a wide prediction's scores. `numbers` is (set, label) → number."""
    row = Row([], [], "", NONE)
    for name, group in groupby(scores, _SET):
        row = _joined(row, _of_set(list(group), sets[name], numbers))
    return row


def _of_set(ranked: list[Score], labels: LabelSet, numbers: Numbers) -> Row:
    marks = list(_marks(ranked, labels))
    places = [
        i
        for i, score in enumerate(ranked)
        if score.tag or i < ALWAYS or (i < KEPT and score.score >= LEAST)
    ]
    return Row(
        [numbers[ranked[i].set, ranked[i].label] for i in places],
        [ranked[i].score for i in places],
        "".join(marks[i] for i in places),
        _floor(ranked, marks, places, labels),
    )


def _marks(ranked: list[Score], labels: LabelSet) -> Iterator[str]:
    """Say of every label, best first, whether it is a tag, could be, or never: `scoring.tags`'s rules."""
    negative = {label.path for label in labels.labels if label.negative}
    rivals = [score.logit for score in ranked if score.label in negative]
    bar = max(rivals, default=float("-inf"))
    best = next((score for score in ranked if score.label not in negative), None)
    for score in ranked:
        if score.tag:
            yield TAG
        elif score.label in negative or score.logit < bar:
            yield NEVER
        else:
            yield NEVER if labels.exclusive and score is not best else CANDIDATE


def _floor(ranked: list[Score], marks: list[str], places: list[int], labels: LabelSet) -> float:
    """Return the highest score that a label left out may have and yet be a tag; NONE for none."""
    left_out = set(range(len(ranked))) - set(places)
    floor = max((ranked[i].score for i in left_out if marks[i] == CANDIDATE), default=NONE)
    if len(ranked) < len(labels.labels) and not labels.exclusive and not _has_rival(ranked, labels):
        floor = max(floor, ranked[min(KEPT, len(ranked)) - 1].score)
    return floor


def _has_rival(ranked: list[Score], labels: LabelSet) -> bool:
    """Say whether a negative label is among the best: what is not there is below it."""
    return not _negatives([labels]).isdisjoint((score.set, score.label) for score in ranked)


def _joined(one: Row, other: Row) -> Row:
    return Row(
        one.labels + other.labels,
        one.scores + other.scores,
        one.marks + other.marks,
        max(one.floor, other.floor),
    )
