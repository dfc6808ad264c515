"""`siglip evaluate`: how good a label set is on images whose labels are known."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from siglipcli.cli import label_sets, reporting, setup
from siglipcli.cli.examples import Examples, collection, read, say_failures, truth
from siglipcli.cli.groups import grouped
from siglipcli.cli.label_sets import CalibratedLabelOptions  # noqa: TC001  # Typer reads the annotations
from siglipcli.cli.options import (
    DocumentOptions,
    ModelOptions,
    ThresholdOptions,
    VerbosityOptions,
)
from siglipcli.cli.output import Tally
from siglipcli.cli.reporting import Reporting  # noqa: TC001  # Typer reads the annotations
from siglipcli.cli.terminal import Terminal
from siglipcli.errors import UsageError
from siglipcli.outputs.fields import utf8
from siglipcli.outputs.json_lines import failed, named
from siglipcli.outputs.output import is_same, open_output
from siglipcli.text import visible

if TYPE_CHECKING:
    from pathlib import Path

    from siglipcli.evaluation.metrics import Confusion, Measures
    from siglipcli.evaluation.scored import Scored
    from siglipcli.labels import LabelSet

__all__ = ["evaluate"]

TASK = "zeroshot_classification"  # as CLIP_benchmark calls it
_PARTS = frozenset({"images", "labels", "confused", "reliability"})  # of `Measures`: no metrics


@grouped
def evaluate(
    examples: Examples,
    labels: CalibratedLabelOptions,
    cut: ThresholdOptions,
    answer: DocumentOptions,
    report: Reporting,
    engine: ModelOptions,
    verbosity: VerbosityOptions,
) -> None:
    """Measure a label set on images whose labels are known.

    DATA is a folder with a folder per class, or a manifest: a CSV file with the columns file and label (several
    labels: cat;dog), or JSON Lines such as {"file": "a.jpg", "labels": ["cat"]}. A class means the label
    of that name, or path (bird/owl); letter case, - and _ make no difference.

    Exit status: 0 all images measured; 1 some failed, stderr says why; 2 usage or labels; 3 could not go on.
    """
    from siglipcli.evaluation import scored
    from siglipcli.evaluation.metrics import measure  # without its library: said before the work

    if report.report:
        from siglipcli.outputs import evaluation_page as evaluate_page  # likewise
    from siglipcli.scoring import ScoringOptions

    reporting.check(report, answer, [examples.data, *(labels.labels or ())])
    terminal = Terminal(verbosity, rows_on_screen=False)
    asked = _one_set(labels, answer.output, terminal)
    data = read(examples, answer.output, force=answer.force)
    right = truth(examples, [each.names for each in data.examples], asked)
    as_json = answer.is_json
    selection, tally = ScoringOptions(threshold=cut.threshold, bias_shift=cut.bias_shift), Tally()
    on_page = reporting.Asked(visible(data.name), [asked], selection)
    with (
        setup.classifier(engine, examples, terminal) as classifier,
        reporting.reported(report, on_page, classifier) as page,
    ):
        label_sets.check_calibration(
            [asked], classifier.encoder, terminal.note, strict=labels.strict
        )
        label_sets.warn_of_prompts([asked], classifier.encoder, terminal)
        with terminal.waiting("encoding labels") as told:
            label_embeddings = classifier.encode_labels(asked, told)
        found = collection(data, classifier, tally, terminal)
        name, head = classifier.encoder.name, classifier.encoder.head
        answers = scored.score(
            found, label_embeddings, head, right, model=name, bias_shift=cut.bias_shift
        )
        with terminal.waiting("measuring"):
            measures = measure(answers, selection)
            if page.sheet:
                evaluate_page.fill(
                    page.sheet, found, answers, label_embeddings, head, page.selection
                )
                page.sections.extend(evaluate_page.sections(answers, measures))
    _write(answers, measures, answer.output, as_json=as_json)
    say_failures(answers.failures, terminal)
    tally.report(terminal)
    tally.leave()


def _one_set(labels: CalibratedLabelOptions, output: Path | None, terminal: Terminal) -> LabelSet:
    given = len(labels.labels or ()) + bool(labels.label)
    if given != 1:
        raise UsageError(
            "evaluate takes one label set; siglip compare takes two"
            if given
            else "nothing to measure: give a label set, --labels SET"
        )
    if output and output.is_file() and any(is_same(each, output) for each in labels.labels or ()):
        raise UsageError(f"the output {output} is the label set")
    return setup.label_sets(labels, terminal)[0]


def _write(answers: Scored, measures: Measures, output: Path | None, *, as_json: bool) -> None:
    with open_output(output, "utf-8" if as_json else None) as stream:
        if as_json:
            content = _content(answers, measures)
            json.dump(content, stream, ensure_ascii=False, allow_nan=False, indent=2)
            stream.write("\n")
        else:
            from siglipcli.outputs.evaluation_tables import write

            write(stream, answers, measures)
        stream.flush()


def _content(answers: Scored, measures: Measures) -> dict[str, Any]:
    """Return every figure under the keys that CLIP_benchmark uses, and what it has none for."""
    figures = asdict(measures)
    return {
        "dataset": utf8(answers.dataset),
        "model": utf8(answers.model),
        "task": TASK,
        "set": answers.labels.name,
        "images": measures.images,
        "metrics": {key: value for key, value in figures.items() if key not in _PARTS},
        "labels": list(figures["labels"]),
        "confused": [_confused(each) for each in measures.confused],
        "reliability": list(figures["reliability"]),
        "failures": [named(each.file) | failed(each) for each in answers.failures],
    }


def _confused(confusion: Confusion) -> dict[str, Any]:
    return {
        "true": confusion.true,
        "predicted": confusion.predicted,
        "count": confusion.count,
        "files": [named(name) for name in confusion.files],
    }
