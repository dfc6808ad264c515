"""What the tables share: signs, folding, numbers and bars, and how a failure looks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from typing import TYPE_CHECKING

from rich.cells import cell_len, chop_cells
from rich.text import Text

from siglipcli.results import Failure
from siglipcli.text import visible

if TYPE_CHECKING:
    from collections.abc import Iterable

    from siglipcli.outputs import Header
    from siglipcli.results import Result, ScoredImage

__all__ = ["GAP", "INDENT", "NUMBER", "Glyphs", "Layout"]
__all__ += ["bar", "folded", "joined", "number", "packed", "percent"]

_NARROWEST, _WIDEST = 32, 100  # the eye follows no longer line
NUMBER, GAP = 6, 2  # cells
INDENT = "  "
_FOUR_DECIMALS_FROM = 1e-3
_TWO_DIGITS_FROM = 1e-9  # below it the exponent takes the space of the second digit
_HALF_PERCENT = 0.005


@dataclass(frozen=True, slots=True)
class Glyphs:
    """The signs that are drawn: a bar is full cells and perhaps half a cell."""

    tag: str
    failed: str
    full: str
    half: str
    dot: str


_UNICODE = Glyphs(tag="✓", failed="✗", full="━", half="╸", dot=" · ")
_ASCII = Glyphs(tag="*", failed="x", full="=", half="-", dot="; ")


class Layout(ABC):
    """Lays results out as styled text; knows nothing of where it goes."""

    def __init__(self, header: Header, width: int, encoding: str) -> None:
        self.header = header
        self.line = min(max(width, _NARROWEST), _WIDEST)
        self.glyphs = _UNICODE if encoding.lower().startswith("utf") else _ASCII
        self._encoding = encoding
        self._last: Result | None = None
        self._has_result = False

    def block(self, result: Result) -> Text:
        """Return the lines of one result, set apart from the one before."""
        lines = [Text()] if self._is_set_apart(result) else []
        if isinstance(result, Failure):
            lines += self._failure(result)
        else:
            lines += [] if self._has_result else self.heading()
            lines += self.rows(result)
            self._has_result = True
        self._last = result
        return joined(lines)

    def legend(self) -> Text:
        """Return what the numbers mean; nothing where there were none."""
        if not self._has_result:
            return Text()
        parts = [self.plain(self.header.model), *self.meaning()]
        lines = packed(parts, self.glyphs.dot, self.line)
        return joined([Text(), *(Text(line, "dim") for line in lines)])

    @abstractmethod
    def heading(self) -> Iterable[Text]:
        """Return what stands above the first result."""

    @abstractmethod
    def rows(self, result: ScoredImage) -> Iterable[Text]:
        """Return the lines of one result."""

    @abstractmethod
    def meaning(self) -> list[str]:
        """Say what the numbers are, in short statements."""

    def _is_set_apart(self, result: Result) -> bool:
        """Say whether a line is left free: between blocks, and where failures end or begin."""
        if self._last is None:
            return False
        both = isinstance(self._last, Failure), isinstance(result, Failure)
        return both[0] != both[1] or not (both[0] or self.lines_only)

    lines_only = False  # a result is a line, not a block: one follows the other

    def plain(self, text: str) -> str:
        """Return `text` as this terminal can show it, without power over it."""
        text = visible(text)
        if text.isascii() or self.glyphs is _UNICODE:
            return text
        return text.encode(self._encoding, "backslashreplace").decode(self._encoding)

    def hanging(self, text: str, style: str) -> list[Text]:
        """Fold `text` at the end of the line, with every line but the first indented."""
        lines = folded(text, self.line - len(INDENT))
        return [Text(INDENT * bool(n) + line, style) for n, line in enumerate(lines)]

    def _failure(self, failure: Failure) -> list[Text]:
        name = f"{self.glyphs.failed} {self.plain(failure.file)}"
        reason = self.plain(f"{failure.kind}: {failure.message}")
        lines = self.hanging(f"{name}  {reason}", "red")
        lines[0].stylize("bold", 0, len(name))
        return lines


def joined(lines: Iterable[Text]) -> Text:
    """Return lines as one text, each ended."""
    return Text("\n").join([*lines, Text()])


def folded(text: str, width: int) -> list[str]:
    """Break a name into lines of at most `width` cells, after a space or slash where one is near."""
    lines = []
    while cell_len(text) > width:
        piece = chop_cells(text, width)[0]
        near = max(piece.rfind(" "), piece.rfind("/")) + 1
        cut = near if near > len(piece) // 2 else len(piece)
        lines.append(text[:cut].rstrip())
        text = text[cut:]
    return [*lines, text]


def packed(parts: list[str], dot: str, width: int) -> list[str]:
    """Join short statements into lines; one is broken only where a line cannot hold it."""
    lines = [""]
    for part in parts:
        longer = lines[-1] + dot + part if lines[-1] else part
        if cell_len(longer) <= width:
            lines[-1] = longer
        else:
            lines += folded(part, width)
    return [line for line in lines if line]


def number(score: float, threshold: float | None = None) -> str:
    """Write a score in 6 cells: 0.4120, or 3.2e-6 where decimals would hide which is larger.

    A score below its `threshold` is never rounded to it or above, nor one that reaches it below it.
    """
    text = _rounded(score, ROUND_HALF_EVEN)
    if threshold is None or (float(text) >= threshold) == (score >= threshold):
        return text
    return _rounded(score, ROUND_CEILING if score >= threshold else ROUND_FLOOR)


def _rounded(score: float, rounding: str) -> str:
    if score == 0 or score >= _FOUR_DECIMALS_FROM:
        return f"{Decimal(score).quantize(Decimal('0.0001'), rounding):f}"
    exact = Decimal(score)
    digits = int(score >= _TWO_DIGITS_FROM)
    last = Decimal(1).scaleb(exact.adjusted() - digits)
    mantissa, exponent = f"{exact.quantize(last, rounding):.{digits}e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def percent(softmax: float) -> str:
    """Write a softmax in at most 4 cells, never 0% or 100% where it is neither."""
    if 0 < softmax < _HALF_PERCENT:
        return "<1%"
    return ">99%" if 1 - _HALF_PERCENT <= softmax < 1 else f"{softmax:.0%}"


def bar(score: float, width: int, glyphs: Glyphs) -> str:
    """Draw `score` in `width` cells, linear: 1 fills them all."""
    halves = round(min(max(score, 0.0), 1.0) * width * 2)
    return (glyphs.full * (halves // 2) + glyphs.half * (halves % 2)).ljust(width)
