"""Parts of a report beside its images: tables, a confusion matrix, figures.

Each helper returns markup, with every text from outside escaped; a `Section` holds such markup.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from siglipcli.outputs.html.page import text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["Html", "Section", "confusion", "figure", "metrics", "place", "table"]

Html: TypeAlias = str
"""Markup made by our own code: whatever came from elsewhere in it is escaped."""

_MOST_LABELS = 40
_TAG = re.compile(r"<[^<>]+>")
_REFERENCE = re.compile(r'(\sid="|href="#|url\(#)')


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page: a title, a body of our own markup, and a line that says what it shows."""

    title: str
    body: Html
    summary: str = ""


def place(section: Section, name: str) -> Html:
    """Return a section as it stands on the page; `name` is its id there."""
    summary = f'<p class="summary-line">{text(section.summary)}</p>' if section.summary else ""
    return (
        f'<section class="section" id="{name}" aria-labelledby="{name}-title">\n'
        f'<h2 id="{name}-title">{text(section.title)}</h2>\n'
        f'{summary}<div class="body">{section.body}</div>\n</section>\n'
    )


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
    head = "".join(
        f'<th scope="col"{_class("value" * is_number)}>{text(name)}</th>'
        for name, is_number in zip(columns, numeric, strict=True)
    )
    body = "".join(f"<tr>{_row(row)}</tr>\n" for row in rows)
    return (
        f'<div class="scroll" tabindex="0" role="group" aria-label="{text(caption)}">'
        f'<table{_class(css)}><caption class="unseen">{text(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table></div>\n"
    )


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
    head = "".join(f'<th scope="col"><bdi>{text(labels[j])}</bdi></th>' for j in order)
    body = "".join(
        f'<tr><th scope="row"><bdi>{text(labels[i])}</bdi></th>'
        + "".join(_cell(int(counts[i][j]), int(totals[i]), right=i == j) for j in order)
        + "</tr>\n"
        for i in order
    )
    caption = "Confusion matrix: a row is what an image is, a column what it was taken for"
    left_out = len(labels) - len(order)
    note = f"The {len(order)} labels with the most confusions; {left_out:,} are left out."
    return (
        f'<div class="scroll" tabindex="0" role="group" aria-label="Confusion matrix">'
        f'<table class="confusion"><caption>{text(caption)}</caption>'
        f"<thead><tr><td></td>{head}</tr></thead><tbody>\n{body}</tbody></table></div>\n"
        + f'<p class="notice">{text(note)}</p>\n'
        * bool(left_out)
    )


def figure(svg: Html, *, caption: str = "", label: str = "") -> Html:
    """Return an SVG drawing as a figure; `label` names it where it has no title of its own.

    `svg` is a drawing of our own making, as matplotlib writes it: what stands around it, its style
    sheet and its metadata go, and its ids are made the page's own. Raises ValueError for no drawing.
    """
    drawn = re.search(r"<svg\b.*</svg>", svg, re.DOTALL)
    if drawn is None:
        raise ValueError("no <svg> element in the drawing")
    plain = re.sub(r"<(style|metadata)\b.*?</\1>", "", drawn[0], flags=re.DOTALL)
    prefix = f"f{zlib.crc32(svg.encode()):08x}-"
    own = _TAG.sub(lambda tag: _REFERENCE.sub(rf"\g<0>{prefix}", tag[0]), plain)
    if label:
        own = own.replace("<svg", f'<svg role="img" aria-label="{text(label)}"', 1)
    told = f"<figcaption>{text(caption)}</figcaption>" if caption else ""
    return f"<figure>{own}{told}</figure>\n"


def _most_confused(counts: NDArray[np.int64]) -> list[int]:
    """Return the labels' numbers, those with the most images off the diagonal first."""
    wrong = counts.sum(axis=0) + counts.sum(axis=1) - 2 * counts.diagonal()
    return [int(i) for i in np.argsort(-wrong, kind="stable")]


def _cell(count: int, total: int, *, right: bool) -> Html:
    kind = "right" if right else "wrong"
    heat = f' style="--heat:{sqrt(count / total):.3f}"' if count else ""
    return f"<td{_class(kind + ' zero' * (not count))}{heat}>{count}</td>"


def _row(cells: Sequence[str | float]) -> Html:
    first, *rest = cells
    head = f'<th scope="row"><bdi>{text(str(first))}</bdi></th>'
    return head + "".join(
        f'<td class="value">{_number(cell)}</td>'
        if not isinstance(cell, str)
        else f"<td>{text(cell)}</td>"
        for cell in rest
    )


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"


def _class(names: str) -> str:
    return f' class="{names}"' if names else ""
