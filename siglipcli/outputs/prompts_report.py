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


def document(setting: Setting, trial: SetTrial) -> dict[str, object]:
    """Return every figure; measures are shares from 0 to 1."""
    return {
        **setting.facts(),
        "set": setting.sets[0].labels.name,
        "metrics": {
            "acc1": show.number(trial.acc1),
            "mean_average_precision": show.number(trial.mean_average_precision),
        },
        "expected_by_chance": show.by_chance(_judged(trial)),
        "templates": [_template(template) for template in trial.templates],
        "labels": [_label(label, trial) for label in trial.labels],
    }


def _template(trial: TemplateTrial) -> dict[str, object]:
    return {
        "template": trial.template,
        "labels": trial.labels,
        "mean_average_precision": _sides(trial.effect, trial.alone),
        **show.facts(trial.effect, _WORDS),
        "acc1": _sides(trial.acc1, trial.acc1_alone) | show.facts(trial.acc1, _WORDS),
    }


def _label(trial: LabelTrial, every: SetTrial) -> dict[str, object]:
    return {
        "label": trial.label,
        "examples": trial.examples,
        "average_precision": show.number(trial.average_precision),
        "prompts": [_prompt(prompt, trial, every) for prompt in trial.prompts],
    }


def _prompt(trial: PromptTrial, label: LabelTrial, every: SetTrial) -> dict[str, object]:
    only = {"verdict": "only prompt"} if len(label.prompts) == 1 else {}
    return {
        "prompt": trial.prompt,
        "template": trial.template,
        "average_precision": {
            "all": show.number(label.average_precision),
            "alone": show.number(trial.alone),
            "without": show.number(trial.effect.a),
        },
        **show.facts(trial.effect, _WORDS),
        **only,
        "acc1": {
            "all": show.number(every.acc1),
            "alone": show.number(trial.acc1_alone),
            "without": show.number(trial.acc1_without),
        },
    }


def _sides(difference: Difference, alone: float | None) -> dict[str, object]:
    return {
        "all": show.number(difference.b),
        "alone": show.number(alone),
        "without": show.number(difference.a),
    }


# --- for people -----------------------------------------------------------------------------------


def parts(setting: Setting, trial: SetTrial) -> Iterator[Part]:
    """Return what `bootstrap_report.write_tables` writes."""
    yield f"{setting.sets[0]} {setting}"
    whole = show.fraction(trial.acc1), show.fraction(trial.mean_average_precision)
    yield f"with all prompts: right label first {whole[0]}, mean average precision {whole[1]}"
    yield ""
    templates = show.shown(trial.templates, lambda template: [template.effect])
    if templates:
        rows = [row for template in templates for row in _template_rows(template)]
        yield ["template", *_TITLES], rows
        yield ""
    known = [label for label in trial.labels if label.examples and len(label.prompts) > 1]
    labels = show.shown(known, lambda label: [prompt.effect for prompt in label.prompts])
    if labels:
        yield (
            ["label and prompt", *_TITLES],
            [row for label in labels for row in _label_rows(label)],
        )
        yield ""
    yield from _remarks(setting, trial, len(known) - len(labels))


def _template_rows(trial: TemplateTrial) -> Iterator[list[str]]:
    yield [f"{trial.template} ({trial.labels:,} labels)"]
    yield _row("  mean average precision", trial.alone, trial.effect)
    yield _row("  right label first", trial.acc1_alone, trial.acc1)


def _label_rows(trial: LabelTrial) -> Iterator[list[str]]:
    yield [f"{trial.label} ({trial.examples:,} images)"]
    ordered = sorted(trial.prompts, key=lambda prompt: show.size(prompt.effect), reverse=True)
    for prompt in ordered:
        yield _row(f"  {prompt.prompt}", prompt.alone, prompt.effect)


def _row(name: str, alone: float | None, difference: Difference) -> list[str]:
    verdict = show.verdict(difference, _WORDS)
    return [
        name,
        show.fraction(alone),
        show.fraction(difference.a),
        show.signed(difference.value),
        show.span(difference),
        _SHORT.get(verdict, verdict),
    ]


def _judged(trial: SetTrial) -> list[Difference]:
    every = (prompt.effect for label in trial.labels for prompt in label.prompts)
    return [effect for effect in every if effect.interval]


def _remarks(setting: Setting, trial: SetTrial, rest: int) -> Iterator[str]:
    if rest:
        yield f"{rest:,} labels with smaller effects: all are in the JSON format"
    yield "effect: average precision with all prompts, less that without this one"
    yield from show.meaning("effect", setting.resamples)
    if judged := _judged(trial):
        yield show.chance(judged, "effects of prompts")
    if single := [label.label for label in trial.labels if len(label.prompts) == 1]:
        yield f"only one prompt: {show.listed(single)}"
    if hidden := [e.label for e in trial.labels if len(e.prompts) > 1 and not e.examples]:
        yield f"no image shows: {show.listed(hidden)}"
