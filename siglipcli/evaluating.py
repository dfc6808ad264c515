"""`evaluate`, `calibrate` and `compare`: label sets on images whose labels are known.

data + label sets ─> evaluation/run.py, one run ─> a record with `to_dict()` and `to_frame()`
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from siglipcli.arguments import as_label_sets
from siglipcli.errors import UsageError
from siglipcli.evaluation import calibration, comparison, metrics, review
from siglipcli.evaluation import run as runs
from siglipcli.labels import LabelSet
from siglipcli.scoring import ScoringOptions

if TYPE_CHECKING:
    from siglipcli.api import Classifier
    from siglipcli.arguments import Labels
    from siglipcli.evaluation.calibration import Aim, Calibration
    from siglipcli.evaluation.comparison import SetComparison
    from siglipcli.evaluation.metrics import Measures
    from siglipcli.evaluation.run import Known, Row, Run

    KnownImages: TypeAlias = str | os.PathLike[str] | Iterable[Row]

__all__ = ["calibrate", "compare", "evaluate"]


def evaluate(
    classifier: Classifier,
    data: KnownImages,
    labels: Labels,
    *,
    threshold: float | None = None,
    bias_shift: float = 0.0,
    renames: Mapping[str, str] | None = None,
    ignored: Sequence[str] = (),
) -> Measures:
    """Measure a label set on images whose labels are known.

    `data` is a folder with a folder per class, a CSV or JSONL manifest, or rows: (path, label) or
    (path, [label, …]). `labels` is one set, as `Classifier.classify` takes it. `threshold` replaces the set's
    own, `bias_shift` is added to every logit. `renames` maps a name in the data to a label; images of the
    names in `ignored` are left out, as are those that cannot be read (`Measures.images` counts the others).

    Raises TypeError or ValueError for what is no data or no label set, and for a name that no label matches;
    MissingExtraError without scikit-learn; ModelError.

    >>> from siglipcli import evaluate
    >>> known = [(demo.IMAGES / "blue-heart.jpg", "heart"), (demo.IMAGES / "green-star.png", "star")]
    >>> evaluate(clf, known, ["heart", "star", "circle"]).acc1
    1.0
    """
    metrics.need_library()
    options = ScoringOptions(threshold=threshold, bias_shift=bias_shift)
    run = _run(classifier, data, [labels], renames, ignored, bias_shift)
    return metrics.measure(run.scored[0], options)


def calibrate(
    classifier: Classifier,
    data: KnownImages,
    labels: Labels,
    aim: Aim | None = None,
    *,
    renames: Mapping[str, str] | None = None,
    ignored: Sequence[str] = (),
) -> Calibration:
    """Fit a label set's thresholds and shift to images whose labels are known.

    `Calibration.calibrated` is the `LabelSet` with what was fitted. `aim` says what is fitted, and how
    carefully; without one, thresholds of best F1. `data` may also be a review that a report saved, a .json
    file: thresholds are fitted to its verdicts, weighted by how they were sampled, and the shift stays.
    Everything else, and what is raised, as in `evaluate`.

    >>> from siglipcli import calibrate
    >>> result = calibrate(clf, known, ["heart", "star"])
    >>> [(label.label, label.examples, label.reason) for label in result.labels][0]
    ('heart', 1, 'too few examples')
    """
    metrics.need_library()
    if isinstance(data, (str, os.PathLike)) and os.fspath(data).lower().endswith(".json"):
        reviewed = review.read(os.fspath(data), _one(labels))
        calibration.check(aim or calibration.Aim(), is_review=True)
        run = runs.run(classifier, reviewed)
    else:
        run = _run(classifier, data, [labels], renames, ignored)
    return run.signed(calibration.fit(run.scored[0], aim))


def compare(
    classifier: Classifier,
    data: KnownImages,
    a: Labels,
    b: Labels,
    *,
    resamples: int = 1000,
    seed: int = 0,
    renames: Mapping[str, str] | None = None,
    ignored: Sequence[str] = (),
) -> SetComparison:
    """Compare two label sets on the same images, label by label, with 95 % intervals of b - a.

    Intervals of average precision are by `resamples` of the images, drawn from `seed`. Everything else, and
    what is raised, as in `evaluate`; scikit-learn is not needed.

    >>> from siglipcli import compare
    >>> result = compare(clf, known, ["heart", "star"], ["heart", "star", "circle"])
    >>> result.acc1.value, result.only_b
    (0.0, ('circle',))
    """
    if resamples < 1:
        raise UsageError(f"{resamples} resamples: there must be at least one")
    run = _run(classifier, data, [a, b], renames, ignored)
    counts = comparison.draw(len(run.collection.sources), resamples, seed)
    first, second = run.scored
    return comparison.compare(first, second, counts)


def _run(
    classifier: Classifier,
    data: KnownImages,
    labels: Sequence[Labels],
    renames: Mapping[str, str] | None,
    ignored: Sequence[str],
    bias_shift: float = 0.0,
) -> Run:
    sets = [_one(label_set) for label_set in labels]
    known = _known(data, sets, renames, ignored)
    return runs.run(classifier, known, bias_shift=bias_shift)


def _known(
    data: Any, sets: list[LabelSet], renames: Mapping[str, str] | None, ignored: Sequence[str]
) -> Known:
    if isinstance(data, (str, os.PathLike)):
        return runs.read(os.fspath(data), sets, renames=renames, ignored=ignored)
    if isinstance(data, (bytes, Mapping)) or not isinstance(data, Iterable):
        kind = type(data).__name__
        raise TypeError(f"the data is a folder, a manifest or rows of (path, label), not {kind}")
    return runs.of_rows(data, sets, renames=renames, ignored=ignored)


def _one(labels: Labels) -> LabelSet:
    sets = as_label_sets(labels)
    if len(sets) != 1:
        raise UsageError(f"one label set is measured at a time, not {len(sets)}")
    (one,) = sets
    return one if isinstance(one, LabelSet) else one.labels
