"""A label set, shown: for people and as JSON."""

# ruff: noqa: T201  # what is shown goes to standard output

from __future__ import annotations

from typing import TYPE_CHECKING

from siglipcli.outputs.plain_table import print_table
from siglipcli.text import visible

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from siglipcli.labels import Calibration, Label, LabelSet

__all__ = ["as_json", "counted", "print_set"]


def counted(number: int, noun: str) -> str:
    """Return `1 label` or `2 labels`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def as_json(
    labels: LabelSet, read: Callable[[str], Sequence[str]] | None = None
) -> dict[str, object]:
    """Return the set for JSON; `read` gives the tokens that a model reads of a prompt."""
    from dataclasses import asdict

    document = asdict(labels)
    if read:
        for label in document["labels"]:
            label["tokens"] = [read(prompt) for prompt in label["prompts"]]
    return document


def print_set(labels: LabelSet, read: Callable[[str], Sequence[str]] | None = None) -> None:
    """Print the set for people: what holds for all labels, then a line for each."""
    facts = [f"aggregate: {labels.aggregate}"]
    if labels.threshold is not None:
        facts.append(f"threshold: {labels.threshold:g}")
    if labels.bias_shift:
        facts.append(f"bias_shift: {labels.bias_shift:+g}")
    if labels.exclusive:
        facts.append("exclusive")
    print(f"{visible(labels.name)}: {counted(len(labels.labels), 'label')} ({', '.join(facts)})")
    if labels.calibrated:
        print(visible(_fitted_on(labels.calibrated)))
    if labels.description:
        print(visible(labels.description))
    rows = [_row(label, read) for label in labels.labels]
    titles = ["label", "threshold", "kind", "prompts", "the model reads"]
    used = [at for at, _ in enumerate(titles) if any(row[at] for row in rows)]
    shown = [[row[at] for at in used] for row in rows]
    print_table([titles[at] for at in used], shown, right={"threshold"})


def _fitted_on(fitted: Calibration) -> str:
    details = [
        fitted.precision,
        counted(fitted.images, "image") if fitted.images else "",
        fitted.date,
    ]
    known = ", ".join(detail for detail in details if detail)
    return f"calibrated for {fitted.model}{f' ({known})' if known else ''}"


def _row(label: Label, read: Callable[[str], Sequence[str]] | None) -> list[str]:
    threshold = "" if label.threshold is None else f"{label.threshold:g}"
    kind = "negative" if label.negative else ""
    tokens = [" ".join(map(visible, read(prompt))) for prompt in label.prompts] if read else []
    return [label.path, threshold, kind, "\n".join(map(visible, label.prompts)), "\n".join(tokens)]
