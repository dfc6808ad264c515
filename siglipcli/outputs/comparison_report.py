"""What `siglip compare` says: a table for people, a document for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from siglipcli.outputs import bootstrap_report as show
from siglipcli.text import utf8

if TYPE_CHECKING:
    from collections.abc import Iterator

    from siglipcli.evaluation.comparison import Difference, SetComparison
    from siglipcli.outputs.bootstrap_report import Part, Setting

__all__ = ["document", "parts"]

_WORDS = ("A better", "no clear difference", "B better")
_SHORT = {"no clear difference": "not clear", show.FEW_EXAMPLES: "too few"}


# --- for programs ---------------------------------------------------------------------------------


def document(setting: Setting, comparison: SetComparison) -> dict[str, object]:
    """Return every figure; measures are shares from 0 to 1."""
    a, b = ({"set": named.labels.name, "from": utf8(named.reference)} for named in setting.sets)
    return {
        **setting.facts(),
        "a": a | {"only": list(comparison.only_a)},
        "b": b | {"only": list(comparison.only_b)},
        "metrics": {
            "acc1": _facts(comparison.acc1),
            "mean_average_precision": _facts(comparison.mean_average_precision),
        },
        "expected_by_chance": show.by_chance(_judged(comparison)),
        "labels": [
            {
                "label": label.label,
                "examples": label.examples,
                "average_precision": show.sides(label.average_precision),
                **show.facts(label.average_precision, _WORDS),
            }
            for label in comparison.labels
        ],
    }


def _facts(difference: Difference) -> dict[str, object]:
    return show.sides(difference) | show.facts(difference, _WORDS)


def _judged(comparison: SetComparison) -> list[Difference]:
    return [
        label.average_precision for label in comparison.labels if label.average_precision.interval
    ]


# --- for people -----------------------------------------------------------------------------------


def parts(setting: Setting, comparison: SetComparison) -> Iterator[Part]:
    """Return what `bootstrap_report.write_tables` writes."""
    for letter, named in zip("AB", setting.sets, strict=True):
        yield f"{letter}  {named}"
    yield f"   {setting}"
    yield ""
    rows = show.shown(
        [label for label in comparison.labels if label.examples],
        lambda label: [label.average_precision],
    )
    yield (
        ["", "images", "A", "B", "B - A", "95 % interval", ""],
        [
            _row("right label first", "", comparison.acc1),
            ["average precision"],
            _row("  mean of the labels", "", comparison.mean_average_precision),
            *(
                _row(f"  {label.label}", f"{label.examples:,}", label.average_precision)
                for label in rows
            ),
        ],
    )
    yield ""
    yield from _remarks(setting, comparison, len(rows))


def _row(name: str, images: str, difference: Difference) -> list[str]:
    verdict = show.verdict(difference, _WORDS)
    return [
        name,
        images,
        show.fraction(difference.a),
        show.fraction(difference.b),
        show.signed(difference.value),
        show.span(difference),
        _SHORT.get(verdict, verdict),
    ]


def _remarks(setting: Setting, comparison: SetComparison, rows: int) -> Iterator[str]:
    hidden = [label.label for label in comparison.labels if not label.examples]
    if rest := len(comparison.labels) - len(hidden) - rows:
        yield f"{rest:,} labels with smaller differences: all are in the JSON format"
    yield from show.meaning("B - A", setting.resamples)
    if judged := _judged(comparison):
        yield show.chance(judged, "differences")
    if hidden:
        yield f"no image shows: {show.listed(hidden)}"
    for letter, names in (("A", comparison.only_a), ("B", comparison.only_b)):
        if names:
            yield f"only in {letter}, not compared: {show.listed(names)}"
