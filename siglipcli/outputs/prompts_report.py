"""What `siglip prompts` says: tables for people, a document for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from siglipcli.outputs import bootstrap_report as show

if TYPE_CHECKING:
    from collections.abc import Iterator

    from siglipcli.evaluation.comparison import Difference
    from siglipcli.evaluation.prompts import LabelTrial, PromptTrial, SetTrial, TemplateTrial
    from siglipcli.outputs.bootstrap_report import Part, Setting

__all__ = ["document", "parts"]

_WORDS = ("hurts", "no clear effect", "helps")
_SHORT = {"no clear effect": "not clear", show.FEW_EXAMPLES: "too few"}
_TITLES = ["alone", "without", "effect", "95 % interval", ""]


# --- for programs ---------------------------------------------------------------------------------


def document(setting: Setting, found: SetTrial) -> dict[str, object]:
    """Return every figure; measures are shares from 0 to 1."""
    return {
        **setting.facts(),
        "set": setting.sets[0].labels.name,
        "metrics": {
            "acc1": show.number(found.acc1),
            "mean_average_precision": show.number(found.mean_average_precision),
        },
        "expected_by_chance": show.by_chance(_judged(found)),
        "templates": [_template(each) for each in found.templates],
        "labels": [_label(each, found) for each in found.labels],
    }


def _template(found: TemplateTrial) -> dict[str, object]:
    return {
        "template": found.template,
        "labels": found.labels,
        "mean_average_precision": _sides(found.effect, found.alone),
        **show.facts(found.effect, _WORDS),
        "acc1": _sides(found.acc1, found.acc1_alone) | show.facts(found.acc1, _WORDS),
    }


def _label(found: LabelTrial, every: SetTrial) -> dict[str, object]:
    return {
        "label": found.label,
        "examples": found.examples,
        "average_precision": show.number(found.average_precision),
        "prompts": [_prompt(each, found, every) for each in found.prompts],
    }


def _prompt(found: PromptTrial, label: LabelTrial, every: SetTrial) -> dict[str, object]:
    only = {"verdict": "only prompt"} if len(label.prompts) == 1 else {}
    return {
        "prompt": found.prompt,
        "template": found.template,
        "average_precision": {
            "all": show.number(label.average_precision),
            "alone": show.number(found.alone),
            "without": show.number(found.effect.a),
        },
        **show.facts(found.effect, _WORDS),
        **only,
        "acc1": {
            "all": show.number(every.acc1),
            "alone": show.number(found.acc1_alone),
            "without": show.number(found.acc1_without),
        },
    }


def _sides(found: Difference, alone: float | None) -> dict[str, object]:
    return {
        "all": show.number(found.b),
        "alone": show.number(alone),
        "without": show.number(found.a),
    }


# --- for people -----------------------------------------------------------------------------------


def parts(setting: Setting, found: SetTrial) -> Iterator[Part]:
    """Return what `bootstrap_report.write_tables` writes."""
    yield f"{setting.sets[0]} {setting}"
    whole = show.share(found.acc1), show.share(found.mean_average_precision)
    yield f"with all prompts: right label first {whole[0]}, mean average precision {whole[1]}"
    yield ""
    templates = show.shown(found.templates, lambda each: [each.effect])
    if templates:
        rows = [row for each in templates for row in _template_rows(each)]
        yield ["template", *_TITLES], rows
        yield ""
    known = [each for each in found.labels if each.examples and len(each.prompts) > 1]
    labels = show.shown(known, lambda each: [prompt.effect for prompt in each.prompts])
    if labels:
        yield ["label and prompt", *_TITLES], [row for each in labels for row in _label_rows(each)]
        yield ""
    yield from _remarks(setting, found, len(known) - len(labels))


def _template_rows(found: TemplateTrial) -> Iterator[list[str]]:
    yield [f"{found.template} ({found.labels:,} labels)"]
    yield _row("  mean average precision", found.alone, found.effect)
    yield _row("  right label first", found.acc1_alone, found.acc1)


def _label_rows(found: LabelTrial) -> Iterator[list[str]]:
    yield [f"{found.label} ({found.examples:,} images)"]
    ordered = sorted(found.prompts, key=lambda each: show.size(each.effect), reverse=True)
    for each in ordered:
        yield _row(f"  {each.prompt}", each.alone, each.effect)


def _row(name: str, alone: float | None, found: Difference) -> list[str]:
    said = show.verdict(found, _WORDS)
    return [
        name,
        show.share(alone),
        show.share(found.a),
        show.signed(found.value),
        show.span(found),
        _SHORT.get(said, said),
    ]


def _judged(found: SetTrial) -> list[Difference]:
    every = (prompt.effect for label in found.labels for prompt in label.prompts)
    return [each for each in every if each.interval]


def _remarks(setting: Setting, found: SetTrial, rest: int) -> Iterator[str]:
    if rest:
        yield f"{rest:,} labels with smaller effects: see --format json"
    yield "effect: average precision with all prompts, less that without this one"
    yield from show.meaning("effect", setting.resamples)
    if judged := _judged(found):
        yield show.chance(judged, "effects of prompts")
    if single := [each.label for each in found.labels if len(each.prompts) == 1]:
        yield f"only one prompt: {show.listed(single)}"
    if hidden := [e.label for e in found.labels if len(e.prompts) > 1 and not e.examples]:
        yield f"no image shows: {show.listed(hidden)}"
