"""The table: one block per image, for people to read.

Columns are laid out once, from the labels that can occur, so that they line up from the first
image to the last. What the numbers mean is said once, after the last block, where it is still on
the screen. Only the terminal's own palette is used, and nothing is said by colour alone.
"""

from __future__ import annotations

import io
import os
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, TextIO, cast

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from siglipcli.outputs.layout import GAP, INDENT, NUMBER, Layout, bar, folded, number, percent
from siglipcli.results import ImageTextScores, Match, Prediction
from siglipcli.text import visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from siglipcli.outputs import Header
    from siglipcli.results import Result, Score, ScoredImage

__all__ = ["TableSink", "render"]

_WIDTH = 80  # where there is no terminal to ask
_SOFTMAX_FROM = 60  # below it the bar needs the space more than the softmax
_LABEL_PART, _LONGEST_LABEL = 0.4, 28  # of the line, in cells; longer labels are folded
_RANK_DIGITS = 3
_LONGEST_BAR = 36
_SOFTMAX = 6


class TableSink:
    """Writes one block per result, whole, and says at the end what the numbers are."""

    def __init__(self, stream: TextIO, header: Header) -> None:
        self._stream = stream
        self._console = _console(stream)
        self._layout = _layout(header, self._console.width, self._console.encoding)

    def write(self, result: Result) -> None:
        """Write one block, in one piece."""
        self._emit(self._layout.block(result))

    def close(self) -> None:
        """Write the legend, where there is something for it to explain."""
        self._emit(self._layout.legend())

    def _emit(self, text: Text) -> None:
        with self._console.capture() as captured:
            self._console.print(text, soft_wrap=True, end="")
        self._stream.write(captured.get())
        self._stream.flush()


def render(results: Iterable[Result], header: Header, width: int = _WIDTH) -> Console:
    """Return a console that recorded the table, to export it as an image or as text."""
    console = Console(file=io.StringIO(), width=width, record=True, color_system="standard")
    layout = _layout(header, width, "utf-8")
    for result in results:
        console.print(layout.block(result), soft_wrap=True, end="")
    console.print(layout.legend(), soft_wrap=True, end="")
    return console


def _layout(header: Header, width: int, encoding: str) -> Layout:
    """Choose the layout for a kind of results."""
    if issubclass(header.kind, Match):
        from siglipcli.outputs.ranking import RankingLayout

        return RankingLayout(header, width, encoding)
    if issubclass(header.kind, ImageTextScores):
        from siglipcli.outputs.matrix import MatrixLayout

        return MatrixLayout(header, width, encoding)
    return _LabelLayout(header, width, encoding)


def _console(stream: TextIO) -> Console:
    # Rich decides about colour: terminal or not, TERM, NO_COLOR.
    return Console(file=stream, width=_width(stream), highlight=False, markup=False, emoji=False)


def _width(stream: TextIO) -> int:
    """Return the columns of COLUMNS, else of the terminal, else 80."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns):
        return int(columns)
    with suppress(OSError, ValueError):
        if stream.isatty():
            return os.get_terminal_size(stream.fileno()).columns or _WIDTH
    return _WIDTH


@dataclass(frozen=True, slots=True)
class _Columns:
    """The widths of the columns, in cells. `softmax` is 0 where there is no space for it."""

    rank: int
    label: int
    bar: int
    softmax: int

    @classmethod
    def fit(cls, labels: tuple[str, ...], line: int) -> _Columns:
        """Divide a line of `line` cells: the label takes what it needs, the bar the rest."""
        rank = min(len(str(len(labels) or 10)), _RANK_DIGITS)
        most = min(int(line * _LABEL_PART), _LONGEST_LABEL)
        longest = max((cell_len(visible(label)) for label in labels), default=most)
        label = max(len("label"), min(longest, most))
        softmax = _SOFTMAX if line >= _SOFTMAX_FROM else 0
        taken = len(INDENT) + rank + len(" ✓ ") + label + GAP + NUMBER + GAP + softmax
        return cls(rank, label, min(line - taken, _LONGEST_BAR), softmax)


class _LabelLayout(Layout):
    """A block per image, a line per label."""

    def __init__(self, header: Header, width: int, encoding: str) -> None:
        super().__init__(header, width, encoding)
        self._columns = _Columns.fit(header.labels, self.line)
        self._tagged = False

    def heading(self) -> Iterator[Text]:
        """Return the names of the columns."""
        columns = self._columns
        label = " " * (len(INDENT) + columns.rank + len(" * ")) + "label".ljust(columns.label)
        score = " " * GAP + "score".rjust(NUMBER)
        softmax = " " * (GAP + columns.bar) + "softmax".rjust(_SOFTMAX)
        yield Text(label + score + softmax * bool(columns.softmax), "dim")

    def rows(self, result: ScoredImage) -> Iterator[Text]:
        """Return the image's name and a line per label."""
        prediction = cast("Prediction", result)
        yield from self.hanging(self.plain(prediction.file), "bold")
        by_set = [(name, list(scores)) for name, scores in groupby(prediction.scores, _SET)]
        if not by_set:
            yield Text(INDENT + "no label to show", "dim")
        for name, scores in by_set:
            if len(by_set) > 1 or len(self.header.sets) > 1:
                yield Text(INDENT + self.plain(name), "italic cyan")
            for rank, score in enumerate(scores, 1):
                yield from self._row(rank, score)

    def meaning(self) -> list[str]:
        """Say what score, softmax and the sign for a tag are."""
        parts = ["score = sigmoid: each label on its own, so they do not sum to 1"]
        if self._columns.softmax:
            parts.append("softmax: which label of the set, if it must be just one")
        if self._tagged:
            parts.append(f"{self.glyphs.tag} = tag")
        return parts

    def _row(self, rank: int, score: Score) -> Iterator[Text]:
        columns, style = self._columns, "green" if score.tag else ""
        self._tagged |= score.tag
        limit = self.header.thresholds.get((score.set, score.label))
        first, *rest = folded(self.plain(score.label), columns.label)
        line = Text.assemble(
            (f"{INDENT}{rank:>{columns.rank}} ", "dim"),
            (self.glyphs.tag if score.tag else " ", style),
            " ",
            (first + " " * (columns.label - cell_len(first)), "bold" if score.tag else ""),
            " " * GAP + f"{number(score.score, limit):>{NUMBER}}" + " " * GAP,
            (bar(score.score, columns.bar, self.glyphs), style or "cyan"),
            (f"{percent(score.softmax):>{_SOFTMAX}}" if columns.softmax else "", "dim"),
        )
        line.rstrip()
        yield line
        for more in rest:
            yield Text(" " * (len(INDENT) + columns.rank + len(" * ")) + more)


_SET = attrgetter("set")
