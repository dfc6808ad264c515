"""`siglip calibrate`: thresholds that fit one's own images, written back into the label set."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path  # noqa: TC003  # Typer reads the annotations
from typing import TYPE_CHECKING, Annotated

from siglipcli.cli import examples, label_sets, setup
from siglipcli.cli.examples import Examples
from siglipcli.cli.options import JsonOrTable, LabelOptions, ModelOptions, OneLabelSet, option
from siglipcli.errors import UsageError
from siglipcli.outputs import safety
from siglipcli.outputs.output import is_same, open_output
from siglipcli.terminal.groups import grouped
from siglipcli.terminal.screen import Terminal, VerbosityOptions
from siglipcli.terminal.tally import Tally
from siglipcli.terminal.values import probability

if TYPE_CHECKING:
    from siglipcli.evaluation.calibration import Aim
    from siglipcli.evaluation.written import Written

__all__ = ["calibrate"]


@dataclass(frozen=True)
class ReviewedExamples(Examples):
    """Images whose labels are known, or a person's verdicts on a report."""

    review: Annotated[Path | None, option("review", "--from-review", metavar="FILE")] = None


@dataclass(frozen=True)
class Fitting:
    """What is fitted, and how carefully."""

    min_precision: Annotated[
        float | None, option("min_precision", metavar="P", callback=probability)
    ] = None
    threshold: Annotated[
        float | None,
        option("old_threshold", "--threshold", "-t", metavar="P", callback=probability),
    ] = None
    min_examples: Annotated[int, option("min_examples", min=3, metavar="N")] = 5
    folds: Annotated[int, option("folds", min=3, max=100, metavar="N")] = 5
    seed: Annotated[int, option("fold_seed", "--seed", min=0, max=2**32 - 1, metavar="N")] = 0
    no_shift: Annotated[bool, option("no_shift", "--no-shift")] = False

    def aim(self, *, is_review: bool) -> Aim:
        """Return the library's record of it."""
        from siglipcli.evaluation.calibration import Aim

        return Aim(
            precision=self.min_precision,
            min_examples=self.min_examples,
            folds=self.folds,
            seed=self.seed,
            shift=not (self.no_shift or is_review),
            threshold=self.threshold,
        )


@dataclass(frozen=True)
class Target:
    """Where the calibrated set goes."""

    output: Annotated[Path | None, option("calibrated", "--output", "-o", metavar="FILE")] = None
    force: Annotated[bool, option("force_labels", "--force")] = False


@grouped
def calibrate(
    options: ReviewedExamples,
    labels: OneLabelSet,
    fitting: Fitting,
    target: Target,
    engine: ModelOptions,
    verbosity: VerbosityOptions,
    output_format: JsonOrTable = "table",
) -> None:
    """Fit a label set's thresholds to images whose labels are known, and write the set back.

    For each label the threshold of best F1 is found by cross-validation, and for the set a shift of all
    logits. Labels with few images, that the model cannot tell from chance, or that would gain nothing keep
    their tags. Comments and order of the set are kept. In place of DATA, --from-review takes what you confirmed and
    rejected in a report (siglip classify --report): thresholds are fitted to that, and the shift is kept.

    Exit status: 0 done; 1 some images could not be read; 2 usage or labels; 3 could not go on.
    """
    from siglipcli.evaluation import calibration, metrics
    from siglipcli.outputs import calibration_report

    metrics.need_library()  # said before the work

    on_stdout = target.output is not None and str(target.output) == "-"
    if on_stdout and output_format == "json":
        raise UsageError("--format json and --output - would both write to stdout; name a file")
    aim = fitting.aim(is_review=options.review is not None)
    written = _label_set(labels)
    _check_output(target, labels)
    output = None if on_stdout else target.output
    known = examples.read(options, [written.labels], output, review=options.review)
    calibration.check(aim, is_review=known.weights is not None)
    if target.output:
        written.check(known, shift=aim.shift)
    terminal, tally = Terminal(verbosity, rows_on_screen=False), Tally()
    report = calibration_report.Report(
        output_format, on_stderr=on_stdout, is_quiet=bool(terminal.quiet)
    )
    # Opened before the work, so that a place where no file can be is said at once.
    opened = open_output(target.output) if target.output else nullcontext()
    with setup.classifier(engine, options, terminal) as classifier, opened as stream:
        run = examples.run(classifier, known, tally, terminal)
        with terminal.waiting("fitting thresholds"):
            fitted = run.signed(calibration.fit(run.scored[0], aim))
        if not run.collection.sources:  # the file that is there stays
            report.write(fitted, run.scored[0])
            terminal.note("none of the images could be read: there is nothing to calibrate on")
            tally.leave()
        if stream:
            stream.write(written.filled(fitted.calibrated))
    report.write(fitted, run.scored[0])
    unwritten = "nothing is written: --output FILE writes the calibrated label set"
    place = "stdout" if on_stdout else target.output
    terminal.note(f"wrote {place}: {calibration_report.changes(fitted)}" if place else unwritten)
    tally.leave()


def _label_set(options: LabelOptions) -> Written:
    """Read the label set once: it may be a pipe. Raises UsageError."""
    from siglipcli.evaluation.written import Written

    usage = "calibrate takes one label set: give --labels FILE"
    references = examples.references(options, 1, usage)
    if not references:
        return Written.plain(label_sets.spot_labels(options), options.template)
    if options.template:
        raise UsageError("calibrate uses the label set's own templates; --template is for --label")
    return Written.read(*label_sets.read(references[0]))


def _check_output(target: Target, labels: LabelOptions) -> None:
    """Refuse to write over the label set that is read, but with --force. Raises UsageError."""
    output = target.output
    if output and not target.force and any(is_same(name, output) for name in labels.labels or ()):
        raise UsageError(f"the output {output} is the label set that is read; --force replaces it")
    safety.check_label_set(output, force=target.force)
