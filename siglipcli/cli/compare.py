"""`siglip compare`: which of two label sets is better, label by label, on images that are known."""

from __future__ import annotations

from siglipcli.cli import examples, setup
from siglipcli.cli.examples import Examples, Resampling  # noqa: TC001  # Typer reads the annotations
from siglipcli.cli.options import DocumentOptions, LabelOptions, ModelOptions
from siglipcli.terminal.groups import grouped
from siglipcli.terminal.screen import Terminal, VerbosityOptions
from siglipcli.terminal.tally import Tally

__all__ = ["compare"]

_USAGE = "compare takes two label sets: give --labels A --labels B"


@grouped
def compare(
    options: Examples,
    labels: LabelOptions,
    resampling: Resampling,
    document: DocumentOptions,
    engine: ModelOptions,
    verbosity: VerbosityOptions,
) -> None:
    """Compare two label sets, --labels A --labels B, label by label, and say which has the better prompts.

    Labels of the same path are compared by average precision, which needs no threshold. The
    interval of B - A holds the true difference about 95 times in 100; where there are too few images for that,
    none is shown. Where it holds 0, no difference is clear. Each label is judged on its own, so of 100 labels
    that do not differ up to 5 will seem to. Images count as independent: near copies make it too sure.

    Exit status: 0 all images read; 1 some failed; 2 usage, labels or names that no label matches;
    3 could not go on.
    """
    from siglipcli.evaluation import comparison
    from siglipcli.labels import check_calibration
    from siglipcli.outputs import bootstrap_report, comparison_report

    terminal, tally = Terminal(verbosity, rows_on_screen=False), Tally()
    sets = examples.label_sets(labels, 2, _USAGE, document.output)
    as_json = document.is_json
    known = examples.read(
        options, [named.labels for named in sets], document.output, force=document.force
    )
    with setup.classifier(engine, options, terminal) as classifier:
        check_calibration(known.sets, classifier.encoder, terminal.note)
        run = examples.run(classifier, known, tally, terminal)
    with terminal.waiting("comparing"):
        counts = comparison.draw(len(run.collection.sources), resampling.resamples, resampling.seed)
        a, b = run.scored
        result = comparison.compare(a, b, counts)
    setting = bootstrap_report.Setting(run, sets, resampling.resamples, resampling.seed)
    bootstrap_report.write(document.output, comparison_report, setting, result, as_json=as_json)
    tally.leave()
