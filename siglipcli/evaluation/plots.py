"""Precision–recall curves and reliability, drawn as SVG text that a page can hold as it is.

Nothing is fetched, nothing is random: the same figures give the same text. Lines and letters are in `currentColor`, so that a
image has the page's colours, light or dark; curves are described apart by dashes as well as by colour. Letters stay text, in
the page's font. `id` sets images on one page apart.
"""

from __future__ import annotations

import html
import io
import re
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.metrics import precision_recall_curve

from siglipcli.errors import MissingExtraError
from siglipcli.evaluation import metrics
from siglipcli.text import visible

try:
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure
except ImportError as missing:
    raise MissingExtraError(
        "The report of evaluate", library="matplotlib", extra="eval"
    ) from missing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from siglipcli.evaluation.metrics import Bin
    from siglipcli.evaluation.scored import Scored

__all__ = ["precision_recall", "reliability"]

_INK = "#010203"  # stands for `currentColor`, which matplotlib does not know
_COLOURS = (
    "#0e7f96",
    "#c2410c",
    "#7c3aed",
    "#4d7c0f",
    "#be185d",
    "#a16207",
)  # on white and on black
_DASHES = ("-", "--", ":", "-.")
_POINTS = 400  # of a curve: more are not seen
_LONGEST = 28  # characters of a name in the legend
_JOINER = "\N{ZERO WIDTH NON-JOINER}"
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "siglip",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.size": 10,
    **dict.fromkeys(
        ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), _INK
    ),
}


def precision_recall(scored: Scored, labels: Sequence[str]) -> str:
    """Draw a precision–recall curve for each of `labels` (paths of the set) that an image has.

    Return an `<svg>` element. More than a dozen curves can be told apart by nobody: choose.
    """
    right = metrics.relevant(scored)
    places = {label.path: i for i, label in enumerate(scored.labels.labels)}
    curves = [(path, right[:, places[path]], scored.logits[:, places[path]]) for path in labels]
    curves = [(path, truth, values) for path, truth, values in curves if truth.any()]
    described = []
    with mpl.rc_context(_STYLE):
        figure, axes = _square("recall", "precision")
        for n, (path, truth, values) in enumerate(curves):
            precision, recall, _ = precision_recall_curve(truth, values)
            value = metrics.average_precision(truth, values)
            described.append(f"{visible(path)} {value:.2f}")
            recall, precision = _thinned(recall, precision)
            axes.plot(
                *(recall, precision),
                label=_in_legend(path, value),
                color=_COLOURS[n % len(_COLOURS)],
                linestyle=_DASHES[n % len(_DASHES)],
                drawstyle="steps-post",  # as average precision sums it
            )
        if curves:
            _legend(axes)
        listed = ", ".join(described) or "no label has examples"
        return _svg(
            figure,
            "Precision–recall curves",
            f"One curve a label, with its average precision: {listed}.",
        )


def reliability(bins: Sequence[Bin]) -> str:
    """Draw how often a score of p is right, for every bin that holds pairs; return an `<svg>` element."""
    full = [
        (part.mean_score, part.fraction_right, part.count)
        for part in bins
        if part.mean_score is not None and part.fraction_right is not None
    ]
    described = "; ".join(f"score {x:.2f}: {y:.2f} of {n:,} right" for x, y, n in full)
    with mpl.rc_context(_STYLE):
        figure, axes = _square("score", "share that is right")
        axes.plot([0, 1], [0, 1], color=_INK, linestyle=":", linewidth=1, label="as it should be")
        axes.plot(
            [x for x, _, _ in full],
            [y for _, y, _ in full],
            color=_COLOURS[0],
            marker="o",
            label="as it is",
        )
        _legend(axes)
        return _svg(
            figure,
            "Reliability of the scores",
            f"Pairs of image and label by their score: {described or 'none'}.",
        )


def _square(x: str, y: str) -> tuple[Any, Any]:
    """Begin a figure of one pair of axes from 0 to 1."""
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    figure.patch.set_alpha(0)
    axes = figure.add_subplot(
        xlabel=x, ylabel=y, xlim=(-0.02, 1.02), ylim=(-0.02, 1.04), aspect="equal"
    )
    axes.patch.set_alpha(0)
    axes.grid(visible=True, color=_INK, alpha=0.15, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _legend(axes: Any) -> None:
    axes.legend(loc="center left", bbox_to_anchor=(1.02, 0.5), frameon=False)


def _in_legend(path: str, value: float | None) -> str:
    """Shorten a name, and keep matplotlib from leaving it out: it does where one starts with `_`."""
    name = visible(path)
    name = name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"
    return f"{_JOINER * name.startswith('_')}{name} ({value:.2f})"


def _thinned(recall: Any, precision: Any) -> tuple[Any, Any]:
    if len(recall) <= _POINTS:
        return recall, precision
    kept = np.unique(np.linspace(0, len(recall) - 1, _POINTS).round().astype(int))
    return recall[kept], precision[kept]


def _svg(figure: Any, title: str, description: str) -> str:
    """Return the figure as one element that screen readers can describe."""
    stream = io.StringIO()
    with warnings.catch_warnings():
        # Letters that matplotlib's own font lacks; the page's font draws them.
        warnings.filterwarnings("ignore", "Glyph ")
        canvas: Any = FigureCanvasSVG(figure)
        canvas.print_svg(stream, metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    # A style sheet in a page would hold for all of the page.
    text = _EXTRAS.sub("", text[text.index("<svg") :])
    text = _TAG.sub(lambda tag: _at_home(tag[0]), text)
    head, end, body = text.partition(">")
    head = _SIZE.sub("", head) + ' role="img" stroke-linejoin="round"'
    about = f"<title>{html.escape(title)}</title><desc>{html.escape(description)}</desc>"
    return f"{head}{end}{about}{body.rstrip()}\n"


def _at_home(tag: str) -> str:
    """Give a tag the page's font and colour; its ids are made the page's own where it is placed."""
    return _FONT.sub("", _INKED.sub("currentColor", tag))


_EXTRAS = re.compile(r"<metadata>.*?</metadata>|<style[ >].*?</style>|<!--.*?-->", re.DOTALL)
_TAG = re.compile("<[^>]*>")
_INKED = re.compile(f"(?<=fill: ){_INK}|(?<=stroke: ){_INK}")
_FONT = re.compile(r'font-family: [^;"]*; ')
_SIZE = re.compile(r'\s(?:width|height)="[^"]*"')
