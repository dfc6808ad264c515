"""`siglip compare`: which of two label sets is better, label by label, on images that are known."""

from __future__ import annotations

from typing import TYPE_CHECKING

from siglipcli.cli import bootstrap_report as judging
from siglipcli.cli.bootstrap_report import Resampling  # noqa: TC001
from siglipcli.cli.examples import Examples  # noqa: TC001  # Typer reads the annotations
from siglipcli.cli.groups import grouped
from siglipcli.cli.options import DocumentOptions, LabelOptions, ModelOptions, VerbosityOptions
from siglipcli.cli.terminal import Terminal
from siglipcli.outputs.fields import utf8

if TYPE_CHECKING:
    from collections.abc import Iterator

    from siglipcli.cli.bootstrap_report import Part, Run
    from siglipcli.evaluation.comparison import Difference, SetComparison

__all__ = ["compare"]

_USAGE = "compare takes two label sets: give --labels A --labels B"
_WORDS = ("A better", "no clear difference", "B better")
_SHORT = {"no clear difference": "not clear", judging.FEW_EXAMPLES: "too few"}


@grouped
def compare(
    given: Examples,
    labels: LabelOptions,
    resampling: Resampling,
    answer: DocumentOptions,
    engine: ModelOptions,
    verbosity: VerbosityOptions,
) -> None:
    """Compare two label sets, --labels A --labels B, label by label, and say which has the better prompts.

    Labels of the same path are compared by average precision, which needs no threshold. The
    interval of B - A is a paired bootstrap's: it holds the true difference about 95 times in 100. Where
    it holds 0, no difference is clear. Each label is judged on its own, so of 100 labels that do not
    differ about 5 will seem to, a few more where images are few. Images count as independent: near
    copies make it too sure.

    Exit status: 0 all images read; 1 some failed; 2 usage, labels or names that no label matches;
    3 could not go on.
    """
    terminal = Terminal(verbosity, rows_on_screen=False)
    sets = judging.label_sets(labels, 2, _USAGE)
    judging.refuse_inputs(answer.output, sets)
    as_json = answer.is_json
    run = judging.examine(
        given, sets, resampling, answer.output, engine, terminal, force=answer.force
    )
    with terminal.waiting("comparing"):
        found = _compared(run)
    if as_json:
        judging.write_json(answer, _document(run, found))
    else:
        judging.write_tables(answer, _parts(run, found))
    run.tally.leave()


def _compared(run: Run) -> SetComparison:
    from siglipcli.evaluation.comparison import compare

    a, b = run.scored
    return compare(a, b, run.counts)


# --- for programs ---------------------------------------------------------------------------------


def _document(run: Run, found: SetComparison) -> dict[str, object]:
    """Return the answer for programs; measures are shares from 0 to 1."""
    a, b = ({"set": each.labels.name, "from": utf8(each.reference)} for each in run.sets)
    return {
        **run.facts(),
        "a": a | {"only": list(found.only_a)},
        "b": b | {"only": list(found.only_b)},
        "metrics": {
            "acc1": _facts(found.acc1),
            "mean_average_precision": _facts(found.mean_average_precision),
        },
        "expected_by_chance": judging.by_chance(_judged(found)),
        "labels": [
            {
                "label": each.label,
                "examples": each.examples,
                "average_precision": judging.sides(each.average_precision),
                **judging.facts(each.average_precision, _WORDS),
            }
            for each in found.labels
        ],
    }


def _facts(found: Difference) -> dict[str, object]:
    return judging.sides(found) | judging.facts(found, _WORDS)


def _judged(found: SetComparison) -> list[Difference]:
    return [each.average_precision for each in found.labels if each.average_precision.interval]


# --- for people -----------------------------------------------------------------------------------


def _parts(run: Run, found: SetComparison) -> Iterator[Part]:
    for letter, each in zip("AB", run.sets, strict=True):
        yield f"{letter}  {each}"
    yield f"   {run}"
    yield ""
    rows = judging.shown(
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
    yield from _remarks(run, found, len(rows))


def _row(name: str, images: str, found: Difference) -> list[str]:
    said = judging.verdict(found, _WORDS)
    return [
        name,
        images,
        judging.share(found.a),
        judging.share(found.b),
        judging.signed(found.value),
        judging.span(found),
        _SHORT.get(said, said),
    ]


def _remarks(run: Run, found: SetComparison, rows: int) -> Iterator[str]:
    hidden = [each.label for each in found.labels if not each.examples]
    if rest := len(found.labels) - len(hidden) - rows:
        yield f"{rest:,} labels with smaller differences: see --format json"
    yield from judging.meaning("B - A", run)
    if judged := _judged(found):
        yield judging.chance(judged, "differences")
    if hidden:
        yield f"no image shows: {judging.listed(hidden)}"
    for letter, names in (("A", found.only_a), ("B", found.only_b)):
        if names:
            yield f"only in {letter}, not compared: {judging.listed(names)}"
