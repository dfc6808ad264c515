"""A table without lines for people: titles, rows of text, numbers to the right. The one builder of them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from siglipcli.text import visible

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

__all__ = ["plain_table", "print_table"]

_IN_A_PIPE = 1000  # columns: there is no edge to fold at


def plain_table(
    titles: Sequence[str] | None,
    rows: Iterable[Sequence[str]],
    *,
    right: Collection[str] = (),
    width: int = 2,
) -> Any:
    """Return a Rich table; `right` names the columns of numbers, `width` counts columns without titles.

    Cells are text, never markup, and cannot act on a terminal; newlines in them stay.
    """
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=titles is not None)
    for title in titles or [""] * width:
        table.add_column(title, justify="right" if title in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text("\n".join(map(visible, cell.split("\n")))) for cell in row))
    return table


def print_table(
    titles: Sequence[str] | None, rows: Iterable[Sequence[str]], *, right: Collection[str] = ()
) -> None:
    """Print it on standard output, as wide as the terminal; in a pipe nothing is folded."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else _IN_A_PIPE
    Console(width=width).print(plain_table(titles, rows, right=right))
