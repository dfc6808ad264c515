"""`siglipcli.evaluate`, `calibrate` and `compare`: label sets on images whose labels are known, for Python.

The data is a folder per class, a CSV or JSONL manifest, or rows: `(path, label)` or `(path, [label, …])`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from siglipcli.arguments import as_label_sets
from siglipcli.errors import UsageError
from siglipcli.evaluation import calibration, comparison, metrics
from siglipcli.evaluation import run as runs
from siglipcli.labels import LabelSet
from siglipcli.scoring import ScoringOptions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from siglipcli.api import Classifier
    from siglipcli.arguments import Labels
    from siglipcli.evaluation.calibration import Aim, Calibration
    from siglipcli.evaluation.comparison import SetComparison
    from siglipcli.evaluation.metrics import Measures
    from siglipcli.evaluation.run import Known, Row, Run

    Data = str | os.PathLike[str] | Iterable[Row]

__all__ = ["calibrate", "compare", "evaluate"]


def evaluate(
    classifier: Classifier,
    data: Data,
    labels: Labels,
    *,
    threshold: float | None = None,
    renames: Mapping[str, str] | None = None,
) -> Measures:
    """Measure one label set on images whose labels are known.

    `labels` is what `Classifier.classify` takes, one set; `threshold` replaces the set's own; `renames` maps a name
    in the data to a label. Images that cannot be read are left out, and counted by `Measures.images` only.
    Raises UsageError for data and names that cannot be used, MissingExtraError without scikit-learn.
    """
    metrics.need_library()
    run = _run(classifier, data, [labels], renames)
    return metrics.measure(run.scored[0], ScoringOptions(threshold=threshold))


def calibrate(
    classifier: Classifier,
    data: Data,
    labels: Labels,
    *,
    aim: Aim | None = None,
    renames: Mapping[str, str] | None = None,
) -> Calibration:
    """Fit one label set's thresholds and shift; `result.calibrated` is the new LabelSet.

    `aim` says what is fitted: thresholds of best F1 without one. See `evaluate` for the other arguments and
    for what is raised.
    """
    metrics.need_library()
    run = _run(classifier, data, [labels], renames)
    return run.signed(calibration.fit(run.scored[0], aim))


def compare(
    classifier: Classifier,
    data: Data,
    a: Labels,
    b: Labels,
    *,
    resamples: int = 1000,
    seed: int = 0,
    renames: Mapping[str, str] | None = None,
) -> SetComparison:
    """Compare two label sets on the same images, label by label, with 95 % intervals of b - a.

    See `evaluate` for the arguments and for what is raised.
    """
    run = _run(classifier, data, [a, b], renames)
    counts = comparison.draw(len(run.collection.sources), resamples, seed)
    first, second = run.scored
    return comparison.compare(first, second, counts)


def _run(
    classifier: Classifier,
    data: Data,
    labels: Sequence[Labels],
    renames: Mapping[str, str] | None,
) -> Run:
    return runs.run(classifier, _known(data, [_one(each) for each in labels], renames))


def _known(data: Any, sets: list[LabelSet], renames: Mapping[str, str] | None) -> Known:
    if isinstance(data, (str, os.PathLike)):
        return runs.read(os.fspath(data), sets, renames=renames)
    if not isinstance(data, Iterable):
        kind = type(data).__name__
        raise TypeError(f"the data is a folder, a manifest or rows of (path, label), not {kind}")
    return runs.of_rows(data, sets, renames=renames)


def _one(labels: Any) -> LabelSet:
    sets = as_label_sets(labels)
    if len(sets) != 1:
        raise UsageError(f"one label set is measured at a time, not {len(sets)}")
    (one,) = sets
    return one if isinstance(one, LabelSet) else one.labels
