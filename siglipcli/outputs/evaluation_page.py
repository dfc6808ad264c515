"""The page of `siglip evaluate --report`: the figures, drawn, before the images that they are of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from siglipcli import scoring
from siglipcli.evaluation import metrics, plots
from siglipcli.outputs.html import Section, confusion, figure, table
from siglipcli.outputs.html import metrics as measured
from siglipcli.results import Prediction

if TYPE_CHECKING:
    from collections.abc import Iterator

    from siglipcli.evaluation.metrics import LabelMeasures, Measures
    from siglipcli.evaluation.run import Run
    from siglipcli.evaluation.scored import Scored
    from siglipcli.outputs.html import ReportSink

__all__ = ["fill", "sections"]

CURVES = 8  # labels whose curves are drawn: the worst, as a drawing of more is a tangle
_CHUNK = 256  # images ranked at a time
_NONE = "–"


def fill(sink: ReportSink, run: Run, measures: Measures) -> None:
    """Write every image of the run's first label set, with its scores, and the figures to the report.

    Where a wrong label is ranked above a right one, it is said what the image is.
    """
    collection, scored = run.collection, run.scored[0]
    for failure in collection.failures:
        sink.write(failure)
    notes = iter(_notes(scored))
    for start in range(0, len(collection.sources), _CHUNK):
        part = slice(start, start + _CHUNK)
        ranked = scoring.rank(collection.vectors[part], run.embeddings[0], run.head, sink.scoring)
        for source, scores in zip(collection.sources[part], ranked, strict=True):
            sink.write(Prediction(source.name, scores, source=source), next(notes))
    sink.sections.extend(sections(scored, measures))


def _notes(scored: Scored) -> list[str]:
    paths = [label.path for label in scored.labels.labels]
    notes = []
    for rank, right in zip(metrics.ranks(scored).tolist(), scored.truth, strict=True):
        names = [path for path, is_right in zip(paths, right, strict=True) if is_right]
        notes.append(f"wrong: it is {', '.join(names)}" if rank > 0 else "")
    return notes


def sections(scored: Scored, measures: Measures) -> Iterator[Section]:
    """Yield what stands before the images."""
    paths = [label.path for label in scored.labels.labels]
    rows = [_row(label) for label in measures.labels if label.examples or label.tags]
    columns = ["label", "images", "ranked first", "average precision"]
    columns += ["precision", "recall", "F1", "threshold"]
    yield Section("Measures", measured([_measure(*row) for row in _whole(measures)]))
    yield Section("Labels", table(columns, rows, caption="Measures of each label"))
    if worst := _worst(measures):
        yield Section(
            "Precision and recall",
            figure(plots.precision_recall(scored, worst)),
            "At every threshold; the labels of the least average precision.",
        )
    yield Section(
        "Calibration",
        figure(plots.reliability(measures.reliability)),
        "How often a pair of image and label is right, by its score.",
    )
    yield Section("Confusion", confusion(paths, metrics.confusion(scored)))


def _whole(measures: Measures) -> Iterator[tuple[str, float | None, str]]:
    yield "right label first", measures.acc1, "acc1: the best label is one of the right ones"
    yield "right label among 5", measures.acc5, "acc5: one of the best five labels is"
    yield "mean recall of classes", measures.mean_per_class_recall, "of the best label"
    yield "mean average precision", measures.mean_average_precision, "over all thresholds"
    yield "macro F1", measures.macro_f1, "of the tags, mean of the labels"
    yield "micro F1", measures.micro_f1, "of the tags, all together"
    yield "calibration error", measures.ece, "ECE: how far scores are from how often they are right"


def _measure(name: str, value: float | None, meaning: str) -> tuple[str, float | str, str]:
    return name, _NONE if value is None else value, meaning


def _row(label: LabelMeasures) -> list[str | float]:
    values = (
        *(label.recall1, label.average_precision),
        *(label.precision, label.recall, label.f1),
    )
    measures = [_NONE if value is None else value for value in values]
    return [label.label, label.examples, *measures, f"{label.threshold:.4g}"]


def _worst(measures: Measures) -> list[str]:
    known = [label for label in measures.labels if label.average_precision is not None]
    return [label.label for label in sorted(known, key=_precision)[:CURVES]]


def _precision(label: LabelMeasures) -> float:
    return label.average_precision or 0.0
