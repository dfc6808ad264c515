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


def document(setting: Setting, found: SetComparison) -> dict[str, object]:
    """Return every figure; measures are shares from 0 to 1."""
    a, b = ({"set": each.labels.name, "from": utf8(each.reference)} for each in setting.sets)
    return {
        **setting.facts(),
        "a": a | {"only": list(found.only_a)},
        "b": b | {"only": list(found.only_b)},
        "metrics": {
            "acc1": _facts(found.acc1),
            "mean_average_precision": _facts(found.mean_average_precision),
        },
        "expected_by_chance": show.by_chance(_judged(found)),
        "labels": [
            {
                "label": each.label,
                "examples": each.examples,
                "average_precision": show.sides(each.average_precision),
                **show.facts(each.average_precision, _WORDS),
            }
            for each in found.labels
        ],
    }


def _facts(found: Difference) -> dict[str, object]:
    return show.sides(found) | show.facts(found, _WORDS)


def _judged(found: SetComparison) -> list[Difference]:
    return [each.average_precision for each in found.labels if each.average_precision.interval]


# --- for people -----------------------------------------------------------------------------------


def parts(setting: Setting, found: SetComparison) -> Iterator[Part]:
    """Return what `bootstrap_report.write_tables` writes."""
    for letter, each in zip("AB", setting.sets, strict=True):
        yield f"{letter}  {each}"
    yield f"   {setting}"
    yield ""
    rows = show.shown(
        [each for each in found.labels if each.examples], lambda each: [each.average_precision]
    )
    yield (
        ["", "images", "A", "B", "B - A", "95 % interval", ""],
        [
            _row("right label first", "", found.acc1),
            ["average precision"],
            _row("  mean of the labels", "", found.mean_average_precision),
            *(
                _row(f"  {each.label}", f"{each.examples:,}", each.average_precision)
                for each in rows
            ),
        ],
    )
    yield ""
    yield from _remarks(setting, found, len(rows))


def _row(name: str, images: str, found: Difference) -> list[str]:
    said = show.verdict(found, _WORDS)
    return [
        name,
        images,
        show.share(found.a),
        show.share(found.b),
        show.signed(found.value),
        show.span(found),
        _SHORT.get(said, said),
    ]


def _remarks(setting: Setting, found: SetComparison, rows: int) -> Iterator[str]:
    hidden = [each.label for each in found.labels if not each.examples]
    if rest := len(found.labels) - len(hidden) - rows:
        yield f"{rest:,} labels with smaller differences: see --format json"
    yield from show.meaning("B - A", setting.resamples)
    if judged := _judged(found):
        yield show.chance(judged, "differences")
    if hidden:
        yield f"no image shows: {show.listed(hidden)}"
    for letter, names in (("A", found.only_a), ("B", found.only_b)):
        if names:
            yield f"only in {letter}, not compared: {show.listed(names)}"
