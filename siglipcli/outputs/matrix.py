"""The table of the scores of images and texts: a row per image, a column per text."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from rich.cells import cell_len
from rich.text import Text

from siglipcli.outputs.layout import GAP, INDENT, NUMBER, Layout, folded, number

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from siglipcli.results import ImageTextScores, ScoredImage

__all__ = ["MatrixLayout"]

_NAME_PART = 0.4  # of the line; longer names are folded
_CELL = GAP + NUMBER


class MatrixLayout(Layout):
    """Texts are listed once, with a number each; the numbers head the columns.

    More texts than a line has space for go on in the next line, under the same columns.
    """

    lines_only = True

    @property
    def _name(self) -> int:
        """Cells for an image's name: what the columns leave, or its part where there are many."""
        return max(int(self.line * _NAME_PART), self.line - _CELL * len(self.header.labels))

    def heading(self) -> Iterator[Text]:
        """List the texts, then the columns' heads."""
        digits = len(str(len(self.header.labels)))
        for position, text in enumerate(self.header.labels, 1):
            head = f"{position:>{digits}}  "
            lines = folded(self.plain(text), self.line - len(head))
            yield Text.assemble((head, "dim"), lines[0])
            for more in lines[1:]:
                yield Text(" " * len(head) + more)
        yield Text()
        count = range(1, len(self.header.labels) + 1)
        for row in self._lines([str(position) for position in count]):
            yield Text(" " * self._name + row, "dim")

    def rows(self, result: ScoredImage) -> Iterator[Text]:
        """Return an image's name beside its scores."""
        scores = cast("ImageTextScores", result)
        names = folded(self.plain(scores.file), self._name - len(INDENT))
        names = [names[0], *(INDENT + name for name in names[1:])]
        lines = list(self._lines([number(pair.score) for pair in scores.pairs]))
        for i in range(max(len(names), len(lines))):
            name = names[i] if i < len(names) else ""
            gap = " " * (self._name - cell_len(name))
            line = Text.assemble((name, "bold"), gap + lines[i] if i < len(lines) else "")
            line.rstrip()
            yield line

    def _lines(self, cells: Sequence[str]) -> Iterator[str]:
        """Divide cells into lines."""
        fits = max(1, (self.line - self._name) // _CELL)
        for start in range(0, len(cells), fits):
            yield "".join(f"{cell:>{_CELL}}" for cell in cells[start : start + fits])

    def meaning(self) -> list[str]:
        """Say what the numbers are."""
        return ["score = sigmoid: each pair on its own"]
