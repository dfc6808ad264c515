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
    from siglipcli.evaluation.scored import Collection, Scored
    from siglipcli.outputs.html import Sheet
    from siglipcli.results import Head
    from siglipcli.scoring import LabelEmbeddings, ScoringOptions

__all__ = ["fill", "sections"]

CURVES = 8  # labels whose curves are drawn: the worst, as a drawing of more is a tangle
_CHUNK = 256  # images ranked at a time
_NONE = "–"


def fill(
    sheet: Sheet,
    found: Collection,
    answers: Scored,
    label_embeddings: LabelEmbeddings,
    head: Head,
    selection: ScoringOptions,
) -> None:
    """Put every image on the sheet with what it was scored; `selection` is a widened one.

    Where a wrong label is ranked above a right one, it is said what the image is.
    """
    for failure in found.failures:
        sheet.add(failure)
    notes = iter(_notes(answers))
    for start in range(0, len(found.sources), _CHUNK):
        part = slice(start, start + _CHUNK)
        ranked = scoring.rank(found.vectors[part], label_embeddings, head, selection)
        for source, scores in zip(found.sources[part], ranked, strict=True):
            sheet.add(Prediction(source.name, scores, source=source), next(notes))


def _notes(answers: Scored) -> list[str]:
    paths = [label.path for label in answers.labels.labels]
    notes = []
    for rank, right in zip(metrics.ranks(answers).tolist(), answers.truth, strict=True):
        names = [path for path, is_right in zip(paths, right, strict=True) if is_right]
        notes.append(f"wrong: it is {', '.join(names)}" if rank > 0 else "")
    return notes


def sections(answers: Scored, measures: Measures) -> Iterator[Section]:
    """Yield what stands before the images."""
    paths = [label.path for label in answers.labels.labels]
    rows = [_row(each) for each in measures.labels if each.examples or each.tags]
    columns = ["label", "images", "ranked first", "average precision"]
    columns += ["precision", "recall", "F1", "threshold"]
    yield Section("Measures", measured([_measure(*each) for each in _whole(measures)]))
    yield Section("Labels", table(columns, rows, caption="Measures of each label"))
    if worst := _worst(measures):
        yield Section(
            "Precision and recall",
            figure(plots.precision_recall(answers, worst)),
            "At every threshold; the labels of the least average precision.",
        )
    yield Section(
        "Calibration",
        figure(plots.reliability(measures.reliability)),
        "How often a pair of image and label is right, by its score.",
    )
    yield Section("Confusion", confusion(paths, metrics.confusion(answers)))


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
    shares = [_NONE if value is None else value for value in values]
    return [label.label, label.examples, *shares, f"{label.threshold:.4g}"]


def _worst(measures: Measures) -> list[str]:
    known = [each for each in measures.labels if each.average_precision is not None]
    return [each.label for each in sorted(known, key=_precision)[:CURVES]]


def _precision(label: LabelMeasures) -> float:
    return label.average_precision or 0.0
