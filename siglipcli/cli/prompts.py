"""`siglip prompts`: which prompts and templates of a label set help, and which hurt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from siglipcli.cli import bootstrap_report as judging
from siglipcli.cli.bootstrap_report import Resampling  # noqa: TC001
from siglipcli.cli.examples import Examples  # noqa: TC001  # Typer reads the annotations
from siglipcli.cli.groups import grouped
from siglipcli.cli.options import DocumentOptions, LabelOptions, ModelOptions, VerbosityOptions
from siglipcli.cli.terminal import Terminal
from siglipcli.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from siglipcli.cli.bootstrap_report import Part, Run
    from siglipcli.evaluation.comparison import Difference
    from siglipcli.evaluation.prompts import LabelTrial, PromptTrial, SetTrial, TemplateTrial

__all__ = ["prompts"]

_USAGE = "prompts takes one label set: give --labels SET"
_WORDS = ("hurts", "no clear effect", "helps")
_SHORT = {"no clear effect": "not clear", judging.FEW_EXAMPLES: "too few"}
_TITLES = ["alone", "without", "effect", "95 % interval", ""]


@grouped
def prompts(
    given: Examples,
    labels: LabelOptions,
    resampling: Resampling,
    answer: DocumentOptions,
    engine: ModelOptions,
    verbosity: VerbosityOptions,
) -> None:
    """Try each prompt and template of a label set alone, and the set without it: say which help.

    The effect of a prompt is the label's average precision with all its prompts, less that without this
    one; a template's is the mean over the labels that use it. The interval is a paired bootstrap's: it
    holds the true effect about 95 times in 100. Where it holds 0, no effect is clear. Each prompt is
    judged on its own, so of 100 prompts without an effect about 5 will seem to have one, a few more
    where images are few. Images count as independent: near copies make it too sure.

    Exit status: 0 all images read; 1 some failed; 2 usage, labels or names that no label matches;
    3 could not go on.
    """
    terminal = Terminal(verbosity, rows_on_screen=False)
    sets = judging.label_sets(labels, 1, _USAGE)
    judging.refuse_inputs(answer.output, sets)
    as_json = answer.is_json
    if all(len(label.prompts) == 1 for label in sets[0].labels.labels):
        raise UsageError(
            f"each label of {sets[0]} has one prompt, so none can be left out; give the set"
            " more templates, or its labels more prompts"
        )
    run = judging.examine(
        given, sets, resampling, answer.output, engine, terminal, force=answer.force
    )
    with terminal.waiting("trying prompts"):
        found = _tried(run)
    if as_json:
        judging.write_json(answer, _document(run, found))
    else:
        judging.write_tables(answer, _parts(run, found))
    run.tally.leave()


def _tried(run: Run) -> SetTrial:
    from siglipcli.evaluation.prompts import trial

    vectors, head = run.collection.vectors, run.encoder.head
    return trial(run.scored[0], vectors, run.encode, head, run.counts)


# --- for programs ---------------------------------------------------------------------------------


def _document(run: Run, found: SetTrial) -> dict[str, object]:
    """Return the answer for programs; measures are shares from 0 to 1."""
    return {
        **run.facts(),
        "set": run.sets[0].labels.name,
        "metrics": {
            "acc1": judging.number(found.acc1),
            "mean_average_precision": judging.number(found.mean_average_precision),
        },
        "expected_by_chance": judging.by_chance(_judged(found)),
        "templates": [_template(each) for each in found.templates],
        "labels": [_label(each, found) for each in found.labels],
    }


def _template(found: TemplateTrial) -> dict[str, object]:
    return {
        "template": found.template,
        "labels": found.labels,
        "mean_average_precision": _sides(found.effect, found.alone),
        **judging.facts(found.effect, _WORDS),
        "acc1": _sides(found.acc1, found.acc1_alone) | judging.facts(found.acc1, _WORDS),
    }


def _label(found: LabelTrial, every: SetTrial) -> dict[str, object]:
    return {
        "label": found.label,
        "examples": found.examples,
        "average_precision": judging.number(found.average_precision),
        "prompts": [_prompt(each, found, every) for each in found.prompts],
    }


def _prompt(found: PromptTrial, label: LabelTrial, every: SetTrial) -> dict[str, object]:
    only = {"verdict": "only prompt"} if len(label.prompts) == 1 else {}
    return {
        "prompt": found.prompt,
        "template": found.template,
        "average_precision": {
            "all": judging.number(label.average_precision),
            "alone": judging.number(found.alone),
            "without": judging.number(found.effect.a),
        },
        **judging.facts(found.effect, _WORDS),
        **only,
        "acc1": {
            "all": judging.number(every.acc1),
            "alone": judging.number(found.acc1_alone),
            "without": judging.number(found.acc1_without),
        },
    }


def _sides(found: Difference, alone: float | None) -> dict[str, object]:
    return {
        "all": judging.number(found.b),
        "alone": judging.number(alone),
        "without": judging.number(found.a),
    }


# --- for people -----------------------------------------------------------------------------------


def _parts(run: Run, found: SetTrial) -> Iterator[Part]:
    yield f"{run.sets[0]} {run}"
    whole = judging.share(found.acc1), judging.share(found.mean_average_precision)
    yield f"with all prompts: right label first {whole[0]}, mean average precision {whole[1]}"
    yield ""
    templates = judging.shown(found.templates, lambda each: [each.effect])
    if templates:
        rows = [row for each in templates for row in _template_rows(each)]
        yield ["template", *_TITLES], rows
        yield ""
    known = [each for each in found.labels if each.examples and len(each.prompts) > 1]
    labels = judging.shown(known, lambda each: [prompt.effect for prompt in each.prompts])
    if labels:
        yield ["label and prompt", *_TITLES], [row for each in labels for row in _label_rows(each)]
        yield ""
    yield from _remarks(run, found, len(known) - len(labels))


def _template_rows(found: TemplateTrial) -> Iterator[list[str]]:
    yield [f"{found.template} ({found.labels:,} labels)"]
    yield _row("  mean average precision", found.alone, found.effect)
    yield _row("  right label first", found.acc1_alone, found.acc1)


def _label_rows(found: LabelTrial) -> Iterator[list[str]]:
    yield [f"{found.label} ({found.examples:,} images)"]
    ordered = sorted(found.prompts, key=lambda each: judging.size(each.effect), reverse=True)
    for each in ordered:
        yield _row(f"  {each.prompt}", each.alone, each.effect)


def _row(name: str, alone: float | None, found: Difference) -> list[str]:
    said = judging.verdict(found, _WORDS)
    return [
        name,
        judging.share(alone),
        judging.share(found.a),
        judging.signed(found.value),
        judging.span(found),
        _SHORT.get(said, said),
    ]


def _judged(found: SetTrial) -> list[Difference]:
    every = (prompt.effect for label in found.labels for prompt in label.prompts)
    return [each for each in every if each.interval]


def _remarks(run: Run, found: SetTrial, rest: int) -> Iterator[str]:
    if rest:
        yield f"{rest:,} labels with smaller effects: see --format json"
    yield "effect: average precision with all prompts, less that without this one"
    yield from judging.meaning("effect", run)
    if judged := _judged(found):
        yield judging.chance(judged, "effects of prompts")
    if single := [each.label for each in found.labels if len(each.prompts) == 1]:
        yield f"only one prompt: {judging.listed(single)}"
    if hidden := [e.label for e in found.labels if len(e.prompts) > 1 and not e.examples]:
        yield f"no image shows: {judging.listed(hidden)}"
