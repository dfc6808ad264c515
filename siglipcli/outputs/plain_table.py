"""A table without lines for people: titles, rows of text, numbers to the right. The one builder of them."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from siglipcli.text import visible

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence
    from typing import TextIO

    from rich.console import Console
    from rich.table import Table

__all__ = ["console_on", "plain_table", "print_table"]

_IN_A_PIPE = 1000  # columns: there is no edge to fold at


def plain_table(
    titles: Sequence[str] | None,
    rows: Iterable[Sequence[str]],
    *,
    right: Collection[str] = (),
    width: int = 2,
    name_width: int | None = None,
    header_style: str = "table.header",
) -> Table:
    """Return a Rich table; `right` names the columns of numbers, `width` counts columns without titles.

    The first column is a name and stays to the left; with `name_width` it has so many cells at least, and
    only it is folded. Cells are text, never markup, and cannot act on a terminal; newlines in them stay.
    """
    from rich.table import Table

    table = Table(
        box=None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
        show_header=titles is not None,
        header_style=header_style,
    )
    for i, title in enumerate(titles or [""] * width):
        whole = name_width is not None and i > 0
        table.add_column(
            title,
            justify="right" if i and title in right else "left",
            overflow="ellipsis" if whole else "fold",
            no_wrap=whole,
            min_width=None if i else name_width,
        )
    for row in rows:
        table.add_row(*map(_cell, row))
    return table


def _cell(cell: str) -> Any:
    """Return a cell as text; what begins with blanks is padded, so that its folded lines keep them."""
    from rich.padding import Padding
    from rich.text import Text

    plain = cell.lstrip(" ")
    text = Text("\n".join(map(visible, plain.split("\n"))))
    return Padding(text, (0, 0, 0, indent)) if (indent := len(cell) - len(plain)) else text


def print_table(
    titles: Sequence[str] | None, rows: Iterable[Sequence[str]], *, right: Collection[str] = ()
) -> None:
    """Print it on standard output, as wide as the terminal; in a pipe nothing is folded."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else _IN_A_PIPE
    Console(width=width).print(plain_table(titles, rows, right=right))


@contextmanager
def console_on(stream: TextIO) -> Iterator[Console]:
    """Yield a console; what it prints goes to `stream` at the end, without the blanks that Rich fills lines with."""
    from rich.console import Console

    console = Console(file=stream, highlight=False, markup=False, emoji=False)
    with console.capture() as captured:
        yield console
    stream.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))
