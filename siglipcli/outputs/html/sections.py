"""Parts of a report beside its images: tables, a confusion matrix, figures.

Each helper returns markup, with every text from outside escaped; a `Section` holds such markup.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING

import numpy as np

from siglipcli.outputs.html.templates import part

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from siglipcli.outputs.html.templates import Html

__all__ = ["Section", "confusion", "figure", "metrics", "table"]

_MOST_LABELS = 40
_TAG = re.compile(r"<[^<>]+>")
_REFERENCE = re.compile(r'(\sid="|href="#|url\(#)')


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page: a title, a body of our own markup, and a line that says what it shows."""

    title: str
    body: Html
    summary: str = ""


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str | float]],
    *,
    caption: str,
    css: str = "",
) -> Html:
    """Return a table: the first cell of a row heads it, numbers are aligned to the right.

    Numbers are written with four decimals, whole ones as they are. `caption` is read, not shown.
    """
    numeric = [bool(rows) and not isinstance(cell, str) for cell in (rows[0] if rows else columns)]
    return part("table", columns=columns, numeric=numeric, rows=rows, caption=caption, css=css)


def metrics(rows: Sequence[tuple[str, float | str, str]], *, caption: str = "Metrics") -> Html:
    """Return a table of measures: name, value, and what it means."""
    return table(["measure", "value", "what it is"], rows, caption=caption, css="metrics")


def confusion(
    labels: Sequence[str], counts: NDArray[np.int64], *, most: int = _MOST_LABELS
) -> Html:
    """Return a confusion matrix as a table: `counts` is [true, predicted], int[n_labels, n_labels].

    Of many labels only the `most` with the most confusions are shown, and that is said; the others
    are left out, not added up. A cell is shaded by its part of the row's images (its root, so that few are seen).
    """
    order = sorted(_most_confused(counts)[:most])
    totals = counts.sum(axis=1)
    rows = [[_cell(int(counts[i][j]), int(totals[i]), right=i == j) for j in order] for i in order]
    shown = [labels[i] for i in order]
    return part("confusion", labels=shown, rows=rows, left_out=len(labels) - len(order))


def figure(svg: str, *, caption: str = "", label: str = "") -> Html:
    """Return an SVG drawing as a figure; `label` names it where it has no title of its own.

    `svg` is a drawing of our own making, as matplotlib writes it: what stands around it, its style
    sheet and its metadata go, and its ids are made the page's own. Raises ValueError for no drawing.
    """
    drawing = re.search(r"<svg\b.*</svg>", svg, re.DOTALL)
    if drawing is None:
        raise ValueError("no <svg> element in the drawing")
    plain = re.sub(r"<(style|metadata)\b.*?</\1>", "", drawing[0], flags=re.DOTALL)
    prefix = f"f{zlib.crc32(svg.encode()):08x}-"
    own = _TAG.sub(lambda tag: _REFERENCE.sub(rf"\g<0>{prefix}", tag[0]), plain)
    return part("figure", drawing=own.removeprefix("<svg"), caption=caption, label=label)


def _most_confused(counts: NDArray[np.int64]) -> list[int]:
    """Return the labels' numbers, those with the most images off the diagonal first."""
    wrong = counts.sum(axis=0) + counts.sum(axis=1) - 2 * counts.diagonal()
    return [int(i) for i in np.argsort(-wrong, kind="stable")]


def _cell(count: int, total: int, *, right: bool) -> tuple[int, str, float]:
    """Return a cell's count, its classes, and how strongly it is shaded, from 0 to 1."""
    css = ("right" if right else "wrong") + " zero" * (not count)
    return count, css, sqrt(count / total) if count else 0.0
