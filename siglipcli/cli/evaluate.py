"""`siglip evaluate`: how good a label set is on images whose labels are known."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path  # noqa: TC003  # Typer reads the annotations
from typing import Annotated

from siglipcli.cli import examples, reporting, setup
from siglipcli.cli.examples import Examples  # noqa: TC001  # Typer reads the annotations
from siglipcli.cli.options import (
    CalibratedLabelOptions,
    DocumentOptions,
    ModelOptions,
    OneLabelSet,
    ThresholdOptions,
    option,
)
from siglipcli.cli.reporting import ReportOptions  # noqa: TC001  # Typer reads the annotations
from siglipcli.terminal.groups import grouped
from siglipcli.terminal.screen import Terminal, VerbosityOptions
from siglipcli.terminal.tally import Tally
from siglipcli.text import visible

__all__ = ["evaluate"]

_USAGE = "evaluate takes one label set: give --labels SET (siglip compare takes two)"


@dataclass(frozen=True)
class Measured(OneLabelSet, CalibratedLabelOptions):
    """The label set, whose thresholds decide."""


@dataclass(frozen=True)
class Predictions(DocumentOptions):
    """Where figures and scores go."""

    predictions: Annotated[Path | None, option("predictions", metavar="FILE")] = None


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
    from siglipcli.labels import check_calibration
    from siglipcli.outputs import evaluation_report
    from siglipcli.scoring import ScoringOptions

    if report.report:
        from siglipcli.outputs import evaluation_page  # its library is needed: said before the work
    metrics.need_library()
    terminal, tally = Terminal(verbosity, rows_on_screen=False), Tally()
    (chosen,) = examples.label_sets(labels, 1, _USAGE, document.output)
    reporting.check(report, document, [options.data, *(labels.labels or ())])
    known = examples.read(options, [chosen.labels], document.output, force=document.force)
    as_json = document.is_json
    if path := document.predictions:
        inputs = [options.data, *(labels.labels or ()), document.output]
        evaluation_report.check_predictions(path, inputs, force=document.force)
    scoring = ScoringOptions(threshold=thresholds.threshold, bias_shift=thresholds.bias_shift)
    names = [visible(known.data.name)]
    with (
        setup.classifier(engine, options, terminal) as classifier,
        reporting.report(report, names, known.sets, scoring, classifier) as page,
    ):
        check_calibration(known.sets, classifier.encoder, terminal.note, strict=labels.strict)
        run = examples.run(classifier, known, tally, terminal, bias_shift=thresholds.bias_shift)
        with terminal.waiting("measuring"):
            measures = metrics.measure(run.scored[0], scoring)
            if page:
                evaluation_page.fill(page, run, measures)
    if document.predictions:
        evaluation_report.write_predictions(document.predictions, run, scoring)
    evaluation_report.write(run, measures, document.output, as_json=as_json)
    tally.leave()
