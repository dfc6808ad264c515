"""How good a label set is on images whose labels are known.

What is right, where labels have parents (`bird` of `bird/owl`) or are marked negative:

- Ranking (acc1, acc5, recall of each class, confusions): which label comes first? What is above or below a
  right label (of an owl `bird`, of a bird `bird/owl`) is neither right nor wrong for an image, and is
  left out. Negative labels take part only if the data names them. Of equal scores the label that comes
  first in its set is ranked first.
- Labels on their own (average precision, precision, recall, F1, calibration): an owl is a bird, so the parents
  of a right label are right too. A label below the one that the data names is wrong here: name
  images as finely as the set does.

A measure of nothing (no examples, no tags) is None.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from siglipcli import scoring
from siglipcli.errors import MissingExtraError
from siglipcli.evaluation.records import Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from siglipcli.evaluation.scored import Scored
    from siglipcli.labels import LabelSet
    from siglipcli.scoring import ScoringOptions

__all__ = ["Bin", "Confusion", "LabelMeasures", "Measures", "average_precision", "confusion"]
__all__ += ["measure", "need_library", "ranked", "ranks", "relevant", "reliability", "top1"]

BINS = 15
FILES = 3  # examples of each confusion
_FIRST = 5  # acc5


@dataclass(frozen=True, slots=True)
class LabelMeasures:
    """One label.

    `examples` are the images that it is right for, itself or as a parent; `tags` those that got it as a tag.
    `recall1` is the share of images named after it in which it is ranked above every wrong label.
    """

    label: str
    examples: int
    tags: int
    threshold: float
    recall1: float | None
    average_precision: float | None
    precision: float | None
    recall: float | None
    f1: float | None


@dataclass(frozen=True, slots=True)
class Confusion:
    """A wrong label that is ranked above a right one: in how many images, and a few of them."""

    true: str
    predicted: str
    count: int
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Bin:
    """Pairs of image and label whose score lies in (`low`, `high`] (the first bin also holds 0)."""

    low: float
    high: float
    count: int
    mean_score: float | None
    fraction_right: float | None


@dataclass(frozen=True, slots=True, repr=False)
class Measures(Record):
    """Everything that `evaluate` measures on the images that could be read; each from 0 to 1.

    acc1, acc5: the share of images with a label in which a right one is among the 1 or 5 ranked first (with
    several labels an image: hit at k). acc5 is None for fewer than five labels, as in CLIP_benchmark.
    mean_per_class_recall: the mean of `recall1` over labels that occur, for one label an image the balanced
    accuracy. mean_average_precision: the mean over labels that an image has,
    itself or as a parent.

    macro_*: the mean over labels that an image has, negative ones apart, where a label without a tag counts 0;
    micro_*: over all tags.

    ece: the expected calibration error over all pairs of image and label, in 15 bins of equal width: the mean
    distance of a bin's mean score from the share of its pairs that are right, weighted by
    its count (Guo et al. 2017, arXiv 1706.04599, equation 3, of each label's sigmoid on its own). Labels
    that no image has count too, negative ones only if the data names them. `reliability` are the bins.
    """

    images: int
    acc1: float | None
    acc5: float | None
    mean_per_class_recall: float | None
    mean_average_precision: float | None
    macro_f1: float | None
    macro_precision: float | None
    macro_recall: float | None
    micro_f1: float | None
    micro_precision: float | None
    micro_recall: float | None
    ece: float | None
    labels: tuple[LabelMeasures, ...]
    confused: tuple[Confusion, ...]
    reliability: tuple[Bin, ...]


def measure(scored: Scored, selection: ScoringOptions) -> Measures:
    """Take every measure. Of `selection` the threshold counts: the shift of the bias is in the logits.

    Labels are in the set's order, confusions from the most frequent.
    """
    rank = ranks(scored)
    labelled = rank >= 0
    rows, columns, hits, wrong = _duels(scored)
    labels = _labels(scored, selection, columns, hits)
    micro_precision, micro_recall = _micro(scored, selection)
    occurring = [label for label in labels if label.recall is not None]
    bins = reliability(scored)
    return Measures(
        images=len(scored.truth),
        acc1=_mean(rank[labelled] == 0),
        acc5=_mean(rank[labelled] < _FIRST) if scored.truth.shape[1] >= _FIRST else None,
        mean_per_class_recall=_mean(label.recall1 for label in labels if label.recall1 is not None),
        mean_average_precision=_mean(
            label.average_precision for label in labels if label.average_precision is not None
        ),
        macro_f1=_mean(label.f1 or 0.0 for label in occurring),
        macro_precision=_mean(label.precision or 0.0 for label in occurring),
        macro_recall=_mean(label.recall or 0.0 for label in occurring),
        micro_f1=_f1(micro_precision, micro_recall),
        micro_precision=micro_precision,
        micro_recall=micro_recall,
        ece=_ece(bins),
        labels=labels,
        confused=_confusions(scored, rows[~hits], columns[~hits], wrong[rows[~hits]]),
        reliability=bins,
    )


def need_library() -> Any:
    """Return `sklearn.metrics`. Raises MissingExtraError."""
    try:
        from sklearn import metrics
    except ImportError as missing:
        raise MissingExtraError("Measuring", library="scikit-learn", extra="eval") from missing
    return metrics


# --- what is right --------------------------------------------------------------------------------


def relevant(scored: Scored) -> NDArray[np.bool_]:
    """Return bool[n, n_labels]: the labels that the data names, and their parents."""
    right: NDArray[np.bool_] = scored.truth.copy()
    for label, parents in _parents(scored.labels).items():
        right[:, parents] |= scored.truth[:, [label]]
    return right


def ranks(scored: Scored) -> NDArray[np.int64]:
    """Return int64[n]: how many labels are ranked above the best right one; -1 without a right one."""
    logits, truth = scored.logits, scored.truth
    if not truth.size:
        return np.full(len(truth), -1)
    best = np.where(truth, logits, -np.inf).argmax(axis=1)
    value = np.take_along_axis(logits, best[:, None], axis=1)
    before = np.arange(truth.shape[1]) < best[:, None]
    above = (logits > value) | ((logits == value) & before)
    count = (above & ranked(scored)).sum(axis=1)
    return np.where(truth.any(axis=1), count, -1)


def top1(scored: Scored) -> NDArray[np.float64]:
    """Return float64[n]: 1 where a right label is ranked first, else 0; NaN without a right one."""
    rank = ranks(scored)
    return np.where(rank < 0, np.nan, (rank == 0).astype(np.float64))


def ranked(scored: Scored) -> NDArray[np.bool_]:
    """Return bool[n, n_labels]: the labels that take part in each image's ranking."""
    related = relevant(scored)
    for label, parents in _parents(scored.labels).items():
        related[:, label] |= scored.truth[:, parents].any(axis=1)
    return np.asarray(~_unnamed(scored) & (scored.truth | ~related))


def _unnamed(scored: Scored) -> NDArray[np.bool_]:
    """Return bool[n_labels]: the negative labels that the data does not name."""
    return np.asarray(_negative(scored.labels) & ~scored.truth.any(axis=0))


def _negative(labels: LabelSet) -> NDArray[np.bool_]:
    return np.array([label.negative for label in labels.labels], dtype=np.bool_)


def _parents(labels: LabelSet) -> dict[int, list[int]]:
    """Return the positions of each label's parents, for labels that have any."""
    places = {label.path: i for i, label in enumerate(labels.labels)}
    parents_of = {}
    for i, label in enumerate(labels.labels):
        parts = label.path.split("/")
        above = ["/".join(parts[:end]) for end in range(1, len(parts))]
        if parents := [places[path] for path in above if path in places]:
            parents_of[i] = parents
    return parents_of


# --- ranking --------------------------------------------------------------------------------------


def _duels(
    scored: Scored,
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.bool_], NDArray[np.intp]]:
    """Hold each right label of an image against its best wrong one.

    Return for each right label its row, its column and whether it is ranked first, and for each row the
    wrong label's column.
    """
    rows, columns = np.nonzero(scored.truth)
    if not scored.truth.size:
        return rows, columns, np.empty(0, np.bool_), np.empty(len(scored.truth), np.intp)
    others = np.where(ranked(scored) & ~scored.truth, scored.logits, -np.inf)
    wrong = others.argmax(axis=1)
    right_value, wrong_value = scored.logits[rows, columns], others[rows, wrong[rows]]
    first = (right_value == wrong_value) & (columns < wrong[rows])
    return rows, columns, (right_value > wrong_value) | first, wrong


def confusion(scored: Scored) -> NDArray[np.int64]:
    """Return int64[n_labels, n_labels]: for each right label (row) which label (column) was ranked first.

    As `Measures.confused` counts it: a right label of an image is compared with the wrong ones only, so that a
    image with two labels counts twice. Memory is the square of the labels.
    """
    rows, columns, hits, wrong = _duels(scored)
    counts = np.zeros((scored.truth.shape[1],) * 2, np.int64)
    np.add.at(counts, (columns, np.where(hits, columns, wrong[rows])), 1)
    return counts


def _confusions(
    scored: Scored, rows: NDArray[np.intp], true: NDArray[np.intp], wrong: NDArray[np.intp]
) -> tuple[Confusion, ...]:
    """Count what was taken for what; equal counts stay in the set's order."""
    cells: dict[tuple[int, int], list[int]] = {}
    for row, *pair in zip(rows.tolist(), true.tolist(), wrong.tolist(), strict=True):
        cells.setdefault((pair[0], pair[1]), []).append(row)
    names = [label.path for label in scored.labels.labels]
    ordered = sorted(cells.items(), key=lambda item: (-len(item[1]), item[0]))
    return tuple(
        Confusion(names[j], names[k], len(at), tuple(scored.sources[i].name for i in at[:FILES]))
        for (j, k), at in ordered
    )


# --- each label on its own ------------------------------------------------------------------------


def average_precision(right: NDArray[np.bool_], values: NDArray[np.floating[Any]]) -> float | None:
    """Return the average precision of one label, from bool[n] and scores or logits [n]; None if none is right.

    Raises MissingExtraError without scikit-learn.
    """
    return float(need_library().average_precision_score(right, values)) if right.any() else None


def _labels(
    scored: Scored, selection: ScoringOptions, columns: NDArray[np.intp], hits: NDArray[np.bool_]
) -> tuple[LabelMeasures, ...]:
    right, tags = relevant(scored), _tags(scored, selection)
    thresholds = scoring.thresholds(scored.labels, selection)
    library = need_library()
    precision = _per_label(library.precision_score, right, tags)
    # What can be no tag is not missed: a negative label that the data names.
    recall = _per_label(library.recall_score, right & ~_negative(scored.labels), tags)
    first = np.bincount(columns, weights=hits, minlength=len(precision))
    rows = []
    for j, label in enumerate(scored.labels.labels):
        named = int(scored.truth[:, j].sum())
        rows.append(
            LabelMeasures(
                label=label.path,
                examples=int(right[:, j].sum()),
                tags=int(tags[:, j].sum()),
                threshold=float(f"{thresholds[j]:.6g}"),
                recall1=float(first[j]) / named if named else None,
                average_precision=average_precision(right[:, j], scored.logits[:, j]),
                precision=precision[j],
                recall=recall[j],
                f1=_f1(precision[j], recall[j]),
            )
        )
    return tuple(rows)


def _tags(scored: Scored, selection: ScoringOptions) -> NDArray[np.bool_]:
    logits = scored.logits
    if not logits.size:
        return np.zeros(logits.shape, np.bool_)
    return scoring.tags(logits, scoring.sigmoid(logits), scored.labels, selection)


def _per_label(
    function: Any, right: NDArray[np.bool_], tags: NDArray[np.bool_]
) -> list[float | None]:
    """Return one of scikit-learn's measures for each label."""
    if not right.size:
        return [None] * right.shape[1]
    # One more column, as scikit-learn takes a single one for something else.
    both = [np.pad(matrix, ((0, 0), (0, 1))) for matrix in (right, tags)]
    values = function(*both, average=None, zero_division=np.nan)[:-1]
    return [None if np.isnan(value) else float(value) for value in values]


def _micro(scored: Scored, selection: ScoringOptions) -> tuple[float | None, float | None]:
    """Return precision and recall over all tags."""
    tags, right = _tags(scored, selection), relevant(scored)
    return _mean(right[tags]), _mean(tags[right & ~_negative(scored.labels)])


def _f1(precision: float | None, recall: float | None) -> float | None:
    """Return the harmonic mean; 0 where there were examples but no tag, None where there were no examples."""
    if recall is None:
        return None
    return 2 * precision * recall / (precision + recall) if precision and recall else 0.0


# --- calibration ----------------------------------------------------------------------------------


def reliability(scored: Scored) -> tuple[Bin, ...]:
    """Sort every pair of image and label into bins of equal width by its score."""
    columns = ~_unnamed(scored)
    scores = scoring.sigmoid(scored.logits[:, columns]).ravel()
    right = relevant(scored)[:, columns].ravel()
    edges = np.linspace(0, 1, BINS + 1)
    places = np.searchsorted(edges[1:-1], scores)  # a score on an edge is of the lower bin
    counts = np.bincount(places, minlength=BINS)
    sums = np.bincount(places, weights=scores, minlength=BINS)
    hits = np.bincount(places, weights=right, minlength=BINS)
    return tuple(
        Bin(
            low=float(edges[b]),
            high=float(edges[b + 1]),
            count=int(n),
            mean_score=float(sums[b] / n) if n else None,
            fraction_right=float(hits[b] / n) if n else None,
        )
        for b, n in enumerate(counts)
    )


def _ece(bins: Sequence[Bin]) -> float | None:
    total = sum(part.count for part in bins)
    if not total:
        return None
    gaps = (
        part.count * abs(part.fraction_right - part.mean_score)
        for part in bins
        if part.fraction_right is not None and part.mean_score is not None
    )
    return sum(gaps) / total


def _mean(values: Iterable[float]) -> float | None:
    array = values if isinstance(values, np.ndarray) else list(values)
    return float(np.mean(array)) if len(array) else None
