"""`siglip evaluate`: how good a label set is on images whose labels are known."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path  # noqa: TC003  # Typer reads the annotations
from typing import TYPE_CHECKING, Annotated

import typer

from siglipcli.cli import examples, label_sets, reporting, setup
from siglipcli.cli.examples import Examples, OneLabelSet
from siglipcli.cli.options import DocumentOptions, ModelOptions, ThresholdOptions
from siglipcli.cli.reporting import ReportOptions  # noqa: TC001  # Typer reads the annotations
from siglipcli.errors import UsageError
from siglipcli.outputs import safety
from siglipcli.outputs.output import check, is_same, open_output
from siglipcli.terminal.groups import grouped
from siglipcli.terminal.screen import Terminal, VerbosityOptions
from siglipcli.terminal.tally import Tally
from siglipcli.text import visible

if TYPE_CHECKING:
    from siglipcli.evaluation.metrics import Measures
    from siglipcli.evaluation.run import Run

__all__ = ["evaluate"]

_USAGE = "evaluate takes one label set: give --labels SET (siglip compare takes two)"


@dataclass(frozen=True)
class Measured(OneLabelSet, label_sets.CalibratedLabelOptions):
    """The label set, whose thresholds decide."""


@dataclass(frozen=True)
class Predictions(DocumentOptions):
    """Where figures and scores go."""

    predictions: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            show_default=False,
            help="Also write each image's scores and right labels to FILE, as JSON Lines.",
        ),
    ] = None


@grouped
def evaluate(
    options: Examples,
    labels: Measured,
    thresholds: ThresholdOptions,
    document: Predictions,
    report: ReportOptions,
    engine: ModelOptions,
    verbosity: VerbosityOptions,
) -> None:
    """Measure a label set on images whose labels are known.

    DATA is a folder with a folder per class, or a manifest: a CSV file with the columns file and label (several
    labels: cat;dog), or JSON Lines such as {"file": "a.jpg", "labels": ["cat"]}. A class means the label
    of that name, or path (bird/owl); letter case, - and _ make no difference.

    Exit status: 0 all images measured; 1 some failed, stderr says why; 2 usage or labels; 3 could not go on.
    """
    from siglipcli.evaluation import metrics
    from siglipcli.scoring import ScoringOptions

    if report.report:
        from siglipcli.outputs import evaluation_page  # its library is needed: said before the work
    metrics.need_library()
    terminal, tally = Terminal(verbosity, rows_on_screen=False), Tally()
    (chosen,) = examples.label_sets(labels, 1, _USAGE, document.output)
    reporting.check(report, document, [options.data, *(labels.labels or ())])
    known = examples.read(options, [chosen.labels], document.output, force=document.force)
    as_json = document.is_json
    _check_predictions(document, [options.data, *(labels.labels or ())])
    scoring = ScoringOptions(threshold=thresholds.threshold, bias_shift=thresholds.bias_shift)
    names = [visible(known.data.name)]
    with (
        setup.classifier(engine, options, terminal) as classifier,
        reporting.report(report, names, known.sets, scoring, classifier) as page,
    ):
        label_sets.check_calibration(
            known.sets, classifier.encoder, terminal.note, strict=labels.strict
        )
        run = examples.run(classifier, known, tally, terminal, bias_shift=thresholds.bias_shift)
        with terminal.waiting("measuring"):
            measures = metrics.measure(run.scored[0], scoring)
            if page:
                evaluation_page.fill(page, run, measures)
    if document.predictions:
        from siglipcli.outputs.evaluation_report import write_predictions

        write_predictions(document.predictions, run, scoring)
    _write(run, measures, document.output, as_json=as_json)
    tally.leave()


def _check_predictions(document: Predictions, read: list[str | Path | None]) -> None:
    """Refuse to write predictions over what is read or written. Raises UsageError, OutputError."""
    path = document.predictions
    if path is None:
        return
    if path.suffix.lower() not in {".jsonl", ".ndjson"}:  # so it takes the place of no image
        raise UsageError(f"predictions are JSON Lines: {str(path)!r} should end in .jsonl")
    if any(name and is_same(name, path) for name in [*read, document.output]):
        raise UsageError(f"the predictions {path} would replace what is read or written")
    safety.check(path, force=document.force, plain=False)
    check(path)


def _write(run: Run, measures: Measures, output: Path | None, *, as_json: bool) -> None:
    if as_json:
        from siglipcli.outputs import bootstrap_report, evaluation_report

        bootstrap_report.write_json(output, evaluation_report.document(run, measures))
        return
    from siglipcli.outputs.evaluation_tables import write

    with open_output(output, None) as stream:
        write(stream, run.scored[0], measures)
        stream.flush()
