"""`siglip classify`: score pictures against label sets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from siglipcli import writers
from siglipcli.cli import reporting, setup
from siglipcli.cli.answering import Tally, write
from siglipcli.cli.groups import grouped
from siglipcli.cli.options import Answers, Choice, Engine, Inputs, Labels, Saved, Voice
from siglipcli.cli.reporting import Reporting  # noqa: TC001  # Typer reads the annotations
from siglipcli.cli.terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from siglipcli.scoring import LabelBank, Selection

__all__ = ["Tally", "classify"]


@grouped
def classify(
    inputs: Inputs,
    saved: Saved,
    labels: Labels,
    choice: Choice,
    answers: Answers,
    report: Reporting,
    engine: Engine,
    voice: Voice,
) -> None:
    """Score pictures against labels; the best labels of each picture come first.

    Exit status: 0 all inputs answered; 1 some failed, their rows say why; 2 usage or labels;
    3 could not go on.
    """
    read = [*(inputs.paths or ()), inputs.files_from, saved.saved, *(labels.labels or ())]
    reporting.check(report, answers.output, read)
    form = setup.output_format(answers)
    terminal = Terminal(voice, rows_on_screen=form == "table" and answers.output is None)
    sets = setup.label_sets(labels, terminal)
    pictures = setup.pictures(inputs, saved, answers.output)
    tally = Tally(origin=setup.origin(saved))
    with setup.classifier(engine, inputs, terminal) as classifier:
        setup.warn_of_prompts(sets, classifier.encoder, terminal)
        with terminal.waiting("encoding labels") as told:
            banks = [classifier.encode_labels(each, told) for each in sets]
        asked = reporting.Asked(reporting.title(inputs, saved), sets, _selection(choice))
        with (
            reporting.reported(report, asked, classifier) as page,
            terminal.bar(lambda: setup.total(inputs, answers.output)) as counted,
        ):
            results = page.passing(classifier.classify(pictures, banks, page.selection))
            header = _header(classifier.encoder.name, banks)
            write(tally.adding(counted(results)), form, answers, header)
        tally.report(terminal)
    tally.leave()


def _selection(choice: Choice) -> Selection:
    from siglipcli.scoring import Selection

    return Selection(
        top=None if choice.every else choice.top,
        threshold=choice.threshold,
        negatives=choice.every,
        bias_shift=choice.bias_shift,
    )


def _header(model: str, banks: Sequence[LabelBank]) -> writers.Header:
    return writers.Header(
        model=model,
        sets=tuple(bank.labels.name for bank in banks),
        labels=tuple(label.path for bank in banks for label in bank.labels.labels),
    )
