"""The table: one block an image, for people to read.

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
from typing import TYPE_CHECKING, TextIO

from rich.cells import cell_len, chop_cells
from rich.console import Console
from rich.text import Text

from siglipcli.records import Failure
from siglipcli.text import visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from siglipcli.records import Prediction, Result, Score
    from siglipcli.writers import Header

__all__ = ["TableWriter", "render"]

_WIDTH = 80  # where there is no terminal to ask
_NARROWEST, _WIDEST = 32, 100  # the eye follows no longer line
_SHARE_FROM = 60  # below it the bar needs the room more than the share
_LABEL_PART, _LONGEST_LABEL = 0.4, 28  # of the line, in cells; longer labels are folded
_RANK_DIGITS = 3
_LONGEST_BAR = 36
_SCORE, _SHARE, _GAP = 6, 6, 2
_INDENT = "  "
_FOUR_DECIMALS_FROM = 1e-3
_TWO_DIGITS_FROM = 9.95e-10  # below it the exponent takes the room of the second digit
_HALF_PERCENT = 0.005


@dataclass(frozen=True, slots=True)
class _Glyphs:
    """The signs that are drawn: a bar is full cells and perhaps half a cell."""

    tag: str
    failed: str
    full: str
    half: str
    dot: str


_UNICODE = _Glyphs(tag="✓", failed="✗", full="━", half="╸", dot=" · ")
_ASCII = _Glyphs(tag="*", failed="x", full="=", half="-", dot="; ")


class TableWriter:
    """Writes one block a result, whole, and says at the end what the numbers are."""

    def __init__(self, stream: TextIO, header: Header) -> None:
        self._stream = stream
        self._console = _console(stream)
        self._sheet = _Sheet(header, self._console.width, self._console.encoding)

    def write(self, result: Result) -> None:
        """Write one block, in one piece."""
        self._emit(self._sheet.block(result))

    def close(self) -> None:
        """Write the legend, where there is something for it to explain."""
        self._emit(self._sheet.legend())

    def _emit(self, text: Text) -> None:
        with self._console.capture() as captured:
            self._console.print(text, soft_wrap=True, end="")
        self._stream.write(captured.get())
        self._stream.flush()


def render(results: Iterable[Result], header: Header, width: int = _WIDTH) -> Console:
    """Return a console that recorded the table, to export it as a picture or as text."""
    console = Console(file=io.StringIO(), width=width, record=True, color_system="standard")
    sheet = _Sheet(header, width, "utf-8")
    for result in results:
        console.print(sheet.block(result), soft_wrap=True, end="")
    console.print(sheet.legend(), soft_wrap=True, end="")
    return console


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
    """The widths of the columns, in cells. `share` is 0 where there is no room for it."""

    line: int
    rank: int
    label: int
    bar: int
    share: int

    @classmethod
    def fit(cls, labels: tuple[str, ...], width: int) -> _Columns:
        """Share a line of `width` cells out: the label takes what it needs, the bar the rest."""
        line = min(max(width, _NARROWEST), _WIDEST)
        rank = min(len(str(len(labels) or 10)), _RANK_DIGITS)
        most = min(int(line * _LABEL_PART), _LONGEST_LABEL)
        longest = max((cell_len(visible(label)) for label in labels), default=most)
        label = max(len("label"), min(longest, most))
        share = _SHARE if line >= _SHARE_FROM else 0
        taken = len(_INDENT) + rank + len(" ✓ ") + label + _GAP + _SCORE + _GAP + share
        return cls(line, rank, label, min(line - taken, _LONGEST_BAR), share)


class _Sheet:
    """Lays results out as styled text; knows nothing of where it goes."""

    def __init__(self, header: Header, width: int, encoding: str) -> None:
        self._header = header
        self._columns = _Columns.fit(header.labels, width)
        self._encoding = encoding
        self._glyphs = _UNICODE if encoding.lower().startswith("utf") else _ASCII
        self._last: Result | None = None
        self._answered = self._tagged = False

    def block(self, result: Result) -> Text:
        """Return the lines of one result, set apart from the one before."""
        lines = [Text()] if self._is_set_apart(result) else []
        if isinstance(result, Failure):
            lines += self._failure(result)
        else:
            lines += self._answer(result)
        self._last = result
        return _joined(lines)

    def legend(self) -> Text:
        """Return what the numbers mean; nothing where there were none."""
        if not self._answered:
            return Text()
        parts = [
            self._plain(self._header.model),
            "score = sigmoid: each label on its own, so they do not sum to 1",
        ]
        if self._columns.share:
            parts.append("share = softmax: which label of the set, if it must be just one")
        if self._tagged:
            parts.append(f"{self._glyphs.tag} = tag")
        lines = _packed(parts, self._glyphs.dot, self._columns.line)
        return _joined([Text(), *(Text(line, "dim") for line in lines)])

    def _is_set_apart(self, result: Result) -> bool:
        if self._last is None:
            return False
        return not (isinstance(self._last, Failure) and isinstance(result, Failure))

    def _plain(self, text: str) -> str:
        """Return `text` as this terminal can show it, without power over it."""
        text = visible(text)
        if text.isascii() or self._glyphs is _UNICODE:
            return text
        return text.encode(self._encoding, "backslashreplace").decode(self._encoding)

    def _failure(self, failure: Failure) -> list[Text]:
        name = f"{self._glyphs.failed} {self._plain(failure.source.name)}"
        told = self._plain(f"{failure.kind}: {failure.message}")
        lines = self._hanging(f"{name}  {told}", "red")
        lines[0].stylize("bold", 0, len(name))
        return lines

    def _hanging(self, text: str, style: str) -> list[Text]:
        """Fold `text` at the end of the line, with every line but the first indented."""
        lines = _folded(text, self._columns.line - len(_INDENT))
        return [Text(_INDENT * bool(n) + line, style) for n, line in enumerate(lines)]

    def _answer(self, prediction: Prediction) -> Iterator[Text]:
        if not self._answered:
            yield self._heading()
        self._answered = True
        yield from self._hanging(self._plain(prediction.source.name), "bold")
        by_set = [(name, list(scores)) for name, scores in groupby(prediction.scores, _SET)]
        if not by_set:
            yield Text(_INDENT + "no label to show", "dim")
        for name, scores in by_set:
            if len(by_set) > 1 or len(self._header.sets) > 1:
                yield Text(_INDENT + self._plain(name), "italic cyan")
            for rank, score in enumerate(scores, 1):
                yield from self._row(rank, score)

    def _heading(self) -> Text:
        columns = self._columns
        label = " " * (len(_INDENT) + columns.rank + len(" * ")) + "label".ljust(columns.label)
        score = " " * _GAP + "score".rjust(_SCORE)
        share = " " * (_GAP + columns.bar) + "share".rjust(_SHARE)
        return Text(label + score + share * bool(columns.share), "dim")

    def _row(self, rank: int, score: Score) -> Iterator[Text]:
        columns, style = self._columns, "green" if score.tag else ""
        self._tagged |= score.tag
        bar = _bar(score.score, columns.bar, self._glyphs)
        first, *rest = _folded(self._plain(score.label), columns.label)
        line = Text.assemble(
            (f"{_INDENT}{rank:>{columns.rank}} ", "dim"),
            (self._glyphs.tag if score.tag else " ", style),
            " ",
            (first + " " * (columns.label - cell_len(first)), "bold" if score.tag else ""),
            " " * _GAP + f"{_number(score.score):>{_SCORE}}" + " " * _GAP,
            (bar, style or "cyan"),
            (f"{_percent(score.share):>{_SHARE}}" if columns.share else "", "dim"),
        )
        line.rstrip()
        yield line
        for more in rest:
            yield Text(" " * (len(_INDENT) + columns.rank + len(" * ")) + more)


_SET = attrgetter("set")


def _joined(lines: Iterable[Text]) -> Text:
    return Text("\n").join([*lines, Text()])


def _folded(text: str, width: int) -> list[str]:
    """Break a name into lines of at most `width` cells, after a space or slash where one is near."""
    lines = []
    while cell_len(text) > width:
        piece = chop_cells(text, width)[0]
        near = max(piece.rfind(" "), piece.rfind("/")) + 1
        cut = near if near > len(piece) // 2 else len(piece)
        lines.append(text[:cut].rstrip())
        text = text[cut:]
    return [*lines, text]


def _packed(parts: list[str], dot: str, width: int) -> list[str]:
    """Join short statements into lines; one is broken only where a line cannot hold it."""
    lines = [""]
    for part in parts:
        longer = lines[-1] + dot + part if lines[-1] else part
        if cell_len(longer) <= width:
            lines[-1] = longer
        else:
            lines += _folded(part, width)
    return [line for line in lines if line]


def _number(score: float) -> str:
    """Write a score in 6 cells: 0.4120, or 3.2e-6 where decimals would hide which is larger."""
    if score == 0 or score >= _FOUR_DECIMALS_FROM:
        return f"{score:.4f}"
    mantissa, exponent = f"{score:.{int(score >= _TWO_DIGITS_FROM)}e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def _percent(share: float) -> str:
    if 0 < share < _HALF_PERCENT:
        return "<1%"
    return ">99%" if 1 - _HALF_PERCENT <= share < 1 else f"{share:.0%}"


def _bar(score: float, width: int, glyphs: _Glyphs) -> str:
    """Draw `score` in `width` cells, linear: 1 fills them all."""
    halves = round(min(max(score, 0.0), 1.0) * width * 2)
    return (glyphs.full * (halves // 2) + glyphs.half * (halves % 2)).ljust(width)
