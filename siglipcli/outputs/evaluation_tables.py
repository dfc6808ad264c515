"""The tables of `siglip evaluate`, for people: a summary, the labels from the worst, what is confused."""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from siglipcli.outputs.layout import INDENT, folded, number
from siglipcli.text import visible

if TYPE_CHECKING:
    from collections.abc import Iterator

    from siglipcli.evaluation.metrics import Confusion, LabelMeasures, Measures
    from siglipcli.evaluation.scored import Scored

__all__ = ["write"]

MOST_LABELS, MOST_PAIRS = 30, 10
_WIDEST = 100  # the eye follows no longer line
_NAME = 14  # columns for names at least; what does not fit beside them is cut


def write(stream: TextIO, answers: Scored, measures: Measures) -> None:
    """Write the tables as the terminal behind `stream` can show them. Raises OutputError."""
    console = Console(file=stream, highlight=False, markup=False, emoji=False)
    with console.capture() as captured:
        for part in _Page(console, answers, measures).parts():
            console.print(part)
    stream.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))


class _Page:
    """Lays the figures out, in letters that the terminal has and cannot be moved by."""

    def __init__(self, console: Console, answers: Scored, measures: Measures) -> None:
        self._line = min(console.width, _WIDEST)
        self._encoding = console.encoding
        self._answers = answers
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
        answers, count = self._answers, self._measures.images
        what = f"{self._plain(answers.labels.name)} on {self._plain(answers.dataset)}"
        told = [f"{count:,} image{'s' * (count != 1)}", self._plain(answers.model)]
        if answers.failures:
            told.insert(1, f"{len(answers.failures):,} failed")
        return Text.assemble((what, "bold"), (f"  {', '.join(told)}", "dim"))

    def _summary(self) -> Table:
        measures = self._measures
        table = _table("", "", "precision", "recall")
        for name, value, *more in (
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
        ):
            table.add_row(name, self._number(value), *map(self._number, more))
        error = self._none if measures.ece is None else number(measures.ece)
        table.add_row("calibration error of the scores (ECE)", error)
        return table

    def _labels(self) -> Iterator[Text | Table]:
        listed = sorted(
            (each for each in self._measures.labels if each.examples or each.tags), key=_worst
        )
        columns = ("images", "first", "AP", "precision", "recall", "F1", "from")
        table = _table("label, worst first", *columns)
        for each in listed[:MOST_LABELS]:
            table.add_row(*self._row(each))
        if listed:
            yield Text()
            yield table
        rest = len(listed) - MOST_LABELS
        unused = len(self._measures.labels) - len(listed)
        if rest > 0:
            yield self._dim(f"{rest:,} more: see --format json")
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
            yield self._dim(f"{len(pairs) - MOST_PAIRS:,} more pairs: see --format json")

    def _pair(self, pair: Confusion) -> Iterator[Text]:
        told = self._plain(pair.true) + self._for + self._plain(pair.predicted)
        for n, line in enumerate(folded(told, self._line - 6)):
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


def _table(first: str, *columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column(first, overflow="fold", min_width=_NAME)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _worst(label: LabelMeasures) -> tuple[float, float, int]:
    """Order by average precision, then F1; what has neither comes last, most tags first."""
    if label.average_precision is None:
        return (2, 0, -label.tags)
    return (label.average_precision, label.f1 or 0, -label.examples)
