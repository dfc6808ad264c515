"""`siglip classify`: score images against label sets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from siglipcli import outputs
from siglipcli.cli import label_sets, output, reporting, setup
from siglipcli.cli.inputs import Inputs
from siglipcli.cli.options import (
    CalibratedLabelOptions,
    InputOptions,
    ModelOptions,
    OutputOptions,
    SavedOptions,
    TopOptions,
)
from siglipcli.cli.reporting import ReportOptions  # noqa: TC001  # Typer reads the annotations
from siglipcli.terminal.groups import grouped
from siglipcli.terminal.screen import Terminal, VerbosityOptions
from siglipcli.terminal.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Iterable

    from siglipcli.results import Result

__all__ = ["classify"]


@grouped
def classify(
    inputs: InputOptions,
    saved: SavedOptions,
    labels: CalibratedLabelOptions,
    choice: TopOptions,
    output_options: OutputOptions,
    report: ReportOptions,
    engine: ModelOptions,
    verbosity: VerbosityOptions,
) -> None:
    """Score images against labels; the best labels of each image come first.

    Exit status: 0 all inputs scored; 1 some failed, their rows say why; 2 usage or labels;
    3 could not go on.
    """
    read = [*(inputs.paths or ()), inputs.files_from, saved.saved, *(labels.labels or ())]
    reporting.check(report, output_options, read)
    form = setup.output_format(output_options)
    output.check(output_options, form, read)
    terminal = Terminal(verbosity, rows_on_screen=form == "table" and output_options.output is None)
    label_sets.read_stdin_once(labels.labels or (), inputs.files_from, *(inputs.paths or ()))
    sets = setup.label_sets(labels, terminal)
    sources = Inputs(inputs, saved, output_options.output)
    tally = Tally(origin=sources.origin)
    with setup.classifier(engine, inputs, terminal) as classifier:
        embedded_sets = label_sets.embedded(sets, classifier, terminal, strict=labels.strict)
        scoring = setup.scoring_options(choice)
        with (
            reporting.report(report, sources.named(), sets, scoring, classifier) as page,
            terminal.progress(sources.total) as counted,
        ):
            results: Iterable[Result] = classifier.classify(
                sources.stream(), embedded_sets, page.scoring if page else scoring
            )
            results = page.passing(results) if page else results
            columns = outputs.columns(sets, scoring)
            header = output.header(output_options, form, classifier.encoder, sets, **columns)
            results = tally.adding(counted(results))
            output.write(results, form, output_options, header, tally, sources, terminal)
        sources.report(terminal)
        tally.report(terminal)
    tally.leave()
