"""`siglip classify`: score pictures against label sets."""

from __future__ import annotations

from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING

import typer

from siglipcli import writers
from siglipcli.cli import setup
from siglipcli.cli.options import Answers, Choice, Engine, Inputs, Labels, Voice, grouped
from siglipcli.cli.terminal import Terminal
from siglipcli.errors import ExitStatus
from siglipcli.records import Failure
from siglipcli.writers.output import open_output

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from siglipcli.records import Result
    from siglipcli.scoring import LabelBank, Selection

__all__ = ["classify"]


@grouped
def classify(
    inputs: Inputs, labels: Labels, choice: Choice, answers: Answers, engine: Engine, voice: Voice
) -> None:
    """Score pictures against labels; the best labels of each picture come first.

    Exit status: 0 all inputs answered; 1 some failed, their rows say why; 2 usage or labels;
    3 could not go on.
    """
    form = setup.output_format(answers)
    terminal = Terminal(voice, rows_on_screen=form == "table" and answers.output is None)
    sets = setup.label_sets(labels, terminal)
    stream = setup.inputs(inputs, answers.output)
    with setup.classifier(engine, inputs, terminal) as classifier:
        setup.warn_of_prompts(sets, classifier.encoder, terminal)
        with terminal.waiting("encoding labels"):
            banks = [classifier.encode_labels(each) for each in sets]
        results = classifier.classify(stream, banks, _selection(choice))
        with terminal.bar(lambda: setup.total(inputs, answers.output)) as counted:
            tally = _write(counted(results), form, answers, _header(classifier.encoder.name, banks))
        tally.report(terminal)
    if tally.failed:
        raise typer.Exit(ExitStatus.SOME_INPUTS_FAILED)


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


@dataclass
class Tally:
    """How many inputs were encoded, came from the store, and failed; and how fast."""

    encoded: int = 0
    stored: int = 0
    failed: int = 0
    started: float = field(default_factory=perf_counter)

    def add(self, result: Result) -> None:
        """Count one result."""
        if isinstance(result, Failure):
            self.failed += 1
        elif result.stored:
            self.stored += 1
        else:
            self.encoded += 1

    def report(self, terminal: Terminal) -> None:
        """Say the counts on stderr; nothing for one picture that was answered."""
        count = self.encoded + self.stored + self.failed
        if count == 0:
            terminal.note("no pictures found")
        elif count > 1 or self.failed:
            rate = count / (perf_counter() - self.started)
            terminal.note(
                f"{self.encoded:,} encoded, {self.stored:,} from the store, {self.failed:,} failed,"
                f" {rate:,.1f} images/s"
            )


def _write(results: Iterable[Result], form: str, answers: Answers, header: writers.Header) -> Tally:
    tally = Tally()
    with open_output(answers.output, writers.FORMATS[form].encoding) as stream:
        writer = writers.open_writer(form, stream, header)
        try:
            for result in results:
                writer.write(result)
                tally.add(result)
        finally:
            writer.close()
    return tally
