"""The tables of `siglip evaluate`, for people: a summary, the labels from the worst, what is confused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TextIO

from rich.text import Text

from siglipcli.outputs.layout import INDENT, folded, number
from siglipcli.outputs.plain_table import console_on, plain_table
from siglipcli.text import visible

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console
    from rich.table import Table

    from siglipcli.evaluation.metrics import Confusion, LabelMeasures, Measures
    from siglipcli.evaluation.scored import Scored

__all__ = ["write"]

MOST_LABELS, MOST_PAIRS = 30, 10
_WIDEST = 100  # the eye follows no longer line
_NAME = 14  # columns for names at least; what does not fit beside them is cut


def write(stream: TextIO, scored: Scored, measures: Measures) -> None:
    """Write the tables as the terminal behind `stream` can show them. Raises OutputError."""
    with console_on(stream) as console:
        for part in _Page(console, scored, measures).parts():
            console.print(part)


class _Page:
    """Lays the figures out, in letters that the terminal has and cannot be moved by."""

    def __init__(self, console: Console, scored: Scored, measures: Measures) -> None:
        self._line = min(console.width, _WIDEST)
        self._encoding = console.encoding
        self._scored = scored
        self._measures = measures
        wide = self._encoding.lower().startswith("utf")
        self._none, self._for = ("–", " → ") if wide else ("-", " -> ")

    def parts(self) -> Iterator[Text | Table]:
        yield self._title()
        yield Text()
        yield self._summary()
        yield from self._labels()
        yield from self._confusions()

    def _title(self) -> Text:
        scored, count = self._scored, self._measures.images
        what = f"{self._plain(scored.labels.name)} on {self._plain(scored.dataset)}"
        parts = [f"{count:,} image{'s' * (count != 1)}", self._plain(scored.model)]
        if scored.failures:
            parts.insert(1, f"{len(scored.failures):,} failed")
        return Text.assemble((what, "bold"), (f"  {', '.join(parts)}", "dim"))

    def _summary(self) -> Table:
        measures = self._measures
        rows: list[tuple[Any, ...]] = [
            ("right label first (acc1)", measures.acc1),
            ("right label among the first 5 (acc5)", measures.acc5),
            ("mean recall of each class", measures.mean_per_class_recall),
            ("mean average precision", measures.mean_average_precision),
            (
                "F1 of the tags, mean of labels (macro)",
                *(measures.macro_f1, measures.macro_precision, measures.macro_recall),
            ),
            (
                "F1 of the tags, all together (micro)",
                *(measures.micro_f1, measures.micro_precision, measures.micro_recall),
            ),
        ]
        error = self._none if measures.ece is None else number(measures.ece)
        cells = [[name, *map(self._number, values)] for name, *values in rows]
        cells.append(["calibration error of the scores (ECE)", error])
        return _table(("", "", "precision", "recall"), cells)

    def _labels(self) -> Iterator[Text | Table]:
        listed = sorted(
            (label for label in self._measures.labels if label.examples or label.tags), key=_worst
        )
        columns = ("images", "first", "AP", "precision", "recall", "F1", "from")
        if listed:
            yield Text()
            rows = [list(self._row(label)) for label in listed[:MOST_LABELS]]
            yield _table(("label, worst first", *columns), rows)
        rest = len(listed) - MOST_LABELS
        unused = len(self._measures.labels) - len(listed)
        if rest > 0:
            yield self._dim(f"{rest:,} more: all are in the JSON format")
        if unused:
            have = "label has" if unused == 1 else "labels have"
            yield self._dim(f"{unused:,} {have} neither images nor tags")
        if listed:
            yield self._dim(
                "first = ranked first; AP = average precision; from = a tag's threshold"
            )

    def _row(self, label: LabelMeasures) -> Iterator[str]:
        yield self._plain(label.label)
        yield f"{label.examples:,}"
        for value in (
            *(label.recall1, label.average_precision),
            *(label.precision, label.recall, label.f1),
        ):
            yield self._number(value)
        yield f"{label.threshold:.4g}"

    def _confusions(self) -> Iterator[Text]:
        pairs = self._measures.confused
        if not pairs:
            return
        yield Text("\nmost confused", "bold")
        for pair in pairs[:MOST_PAIRS]:
            yield from self._pair(pair)
        if len(pairs) > MOST_PAIRS:
            yield self._dim(f"{len(pairs) - MOST_PAIRS:,} more pairs: all are in the JSON format")

    def _pair(self, pair: Confusion) -> Iterator[Text]:
        parts = self._plain(pair.true) + self._for + self._plain(pair.predicted)
        for n, line in enumerate(folded(parts, self._line - 6)):
            yield Text((f"{pair.count:>4,}" if n == 0 else " " * 4) + INDENT + line)
        for name in pair.files:
            for line in folded(self._plain(name), self._line - 6):
                yield Text(" " * 6 + line, "dim")

    def _dim(self, text: str) -> Text:
        return Text(INDENT + text, "dim")

    def _number(self, value: float | None) -> str:
        return self._none if value is None else f"{value:.3f}"

    def _plain(self, text: str) -> str:
        return visible(text).encode(self._encoding, "backslashreplace").decode(self._encoding)


def _table(titles: tuple[str, ...], rows: list[list[str]]) -> Table:
    return plain_table(titles, rows, right=titles[1:], name_width=_NAME, header_style="dim")


def _worst(label: LabelMeasures) -> tuple[float, float, int]:
    """Order by average precision, then F1; what has neither comes last, most tags first."""
    if label.average_precision is None:
        return (2, 0, -label.tags)
    return (label.average_precision, label.f1 or 0, -label.examples)
