"""The table of a search: a line per image, the most similar first."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from rich.text import Text

from siglipcli.outputs.layout import GAP, NUMBER, Layout, bar, folded, number

if TYPE_CHECKING:
    from collections.abc import Iterator

    from siglipcli.results import Match, ScoredImage

__all__ = ["RankingLayout"]

_RANK = 4
_BAR = 12
_BAR_FROM = 60  # below it the name needs the space more than the bar


class RankingLayout(Layout):
    """Rank, score (or similarity, where a score would mean nothing), a bar, the image's name."""

    lines_only = True
    _scored = True

    @property
    def _least(self) -> float | None:
        """The score that every match reaches; None where none was asked for."""
        return self.header.thresholds.get(("", ""))

    def heading(self) -> Iterator[Text]:
        """Put off to the first result, which tells whether there are scores."""
        yield from ()

    def rows(self, result: ScoredImage) -> Iterator[Text]:
        """Return the line of one match; more where its name is folded."""
        match = cast("Match", result)
        if match.rank == 1:
            self._scored = match.score is not None
            yield Text(" " * (_RANK + 1) + self._title, "dim")
        value = match.similarity if match.score is None else match.score
        shown = number(value, self._least) if self._scored else f"{value:.4f}"
        drawn = bar(value, _BAR, self.glyphs) + " " * GAP if self.line >= _BAR_FROM else ""
        head = Text.assemble(
            (f"{match.rank:>{_RANK}} ", "dim"),
            f"{shown:>{len(self._title)}}" + " " * GAP,
            (drawn, "cyan"),
        )
        indent = head.cell_len
        first, *rest = folded(self.plain(match.file), self.line - indent)
        yield head.append(first, "bold")
        for more in rest:
            yield Text(" " * indent + more, "bold")

    @property
    def _title(self) -> str:
        return "score".rjust(NUMBER) if self._scored else "similarity"

    def meaning(self) -> list[str]:
        """Say what the number is."""
        if self._scored:
            return ["score = sigmoid: how well the text fits, each image on its own"]
        return ["similarity = cosine of image and query, from -1 to 1"]
