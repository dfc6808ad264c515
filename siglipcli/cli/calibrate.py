"""`siglip calibrate`: thresholds that fit one's own images, written back into the label set."""

from __future__ import annotations

import sys
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path  # noqa: TC003  # Typer reads the annotations
from typing import TYPE_CHECKING, Annotated

import typer

from siglipcli.cli import examples, label_sets, setup
from siglipcli.cli.examples import (  # noqa: TC001  # Typer reads the annotations
    Examples,
    OneLabelSet,
)
from siglipcli.cli.options import JsonOrTable, LabelOptions, ModelOptions
from siglipcli.errors import UsageError
from siglipcli.outputs import safety
from siglipcli.outputs.output import is_same, open_output
from siglipcli.terminal.groups import grouped
from siglipcli.terminal.screen import Terminal, VerbosityOptions
from siglipcli.terminal.tally import Tally
from siglipcli.terminal.values import probability

if TYPE_CHECKING:
    from siglipcli.evaluation.calibration import Aim, Calibration
    from siglipcli.evaluation.run import Known
    from siglipcli.evaluation.scored import Scored
    from siglipcli.labels import LabelSet

__all__ = ["calibrate"]


@dataclass(frozen=True)
class Fitting:
    """What is fitted, and how carefully."""

    min_precision: Annotated[
        float | None,
        typer.Option(
            "--min-precision",
            metavar="P",
            callback=probability,
            show_default=False,
            help="Fit thresholds at which P of a label's tags are right, shown with 90 % confidence, and leave"
            " other labels alone; without it, thresholds of best F1.  [0<=x<=1]",
        ),
    ] = None
    threshold: Annotated[
        float | None,
        typer.Option(
            "--threshold",
            "-t",
            metavar="P",
            callback=probability,
            help="The flat threshold used now, to measure the gain against; a label's own wins."
            "  [default: the set's, or 0.2; 0<=x<=1]",
        ),
    ] = None
    min_examples: Annotated[
        int,
        typer.Option(min=3, metavar="N", help="Leave labels alone that have fewer images."),
    ] = 5
    folds: Annotated[
        int,
        typer.Option(
            min=3,
            max=100,
            metavar="N",
            help="Parts of DATA; each is measured with the others' fit.",
        ),
    ] = 5
    seed: Annotated[
        int,
        typer.Option(min=0, max=2**32 - 1, metavar="N", help="How images are dealt to the parts."),
    ] = 0
    no_shift: Annotated[
        bool, typer.Option("--no-shift", help="Fit thresholds alone, no bias_shift for the set.")
    ] = False


@dataclass(frozen=True)
class Target:
    """Where the calibrated set goes."""

    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            show_default=False,
            help="Write the label set to FILE, - for stdout; without it, only say what would be gained.",
        ),
    ] = None
    force: Annotated[
        bool, typer.Option("--force", help="Let --output replace the label set that is read.")
    ] = False


@dataclass(frozen=True)
class _Written:
    """A label set, its text, and the file's name for complaints."""

    labels: LabelSet
    text: str
    file: str


@grouped
def calibrate(
    options: Examples,
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
    their tags. Comments and order of the set are kept.

    Exit status: 0 done; 1 some images could not be read; 2 usage or labels; 3 could not go on.
    """
    from siglipcli.evaluation import calibration, metrics
    from siglipcli.labels import rewrite

    metrics.need_library()  # said before the work

    on_stdout = target.output is not None and str(target.output) == "-"
    if on_stdout and output_format == "json":
        raise UsageError("--format json and --output - would both write to stdout; name a file")
    written = _label_set(labels)
    _check_output(target, labels)
    known = examples.read(options, [written.labels], None if on_stdout else target.output)
    if target.output:
        _check_form(written, known, fitting)
    terminal, tally = Terminal(verbosity, rows_on_screen=False), Tally()
    # Opened before the work, so that a place where no file can be is said at once.
    opened = open_output(target.output) if target.output else nullcontext()
    with setup.classifier(engine, options, terminal) as classifier, opened as stream:
        run = examples.run(classifier, known, tally, terminal)
        with terminal.waiting("fitting thresholds"):
            fitted = run.signed(calibration.fit(run.scored[0], _aim(fitting)))
        if not run.collection.sources:  # the file that is there stays
            _report(fitted, run.scored[0], output_format, on_stderr=on_stdout, terminal=terminal)
            terminal.note("none of the images could be read: there is nothing to calibrate on")
            tally.leave()
        if stream:
            stream.write(rewrite.rewrite(written.text, written.file, fitted.calibrated))
    _report(fitted, run.scored[0], output_format, on_stderr=on_stdout, terminal=terminal)
    terminal.note(_written(fitted, target.output))
    tally.leave()


def _label_set(options: LabelOptions) -> _Written:
    """Read the one set that is asked for, once: it may be a pipe. Raises UsageError."""
    from siglipcli import labels
    from siglipcli.labels import rewrite

    references = examples.references(
        options, 1, "calibrate takes one label set: give --labels FILE"
    )
    if not references:
        spot = label_sets.spot_labels(options)
        return _Written(spot, rewrite.plain(spot, options.template), spot.name)
    if options.template:
        raise UsageError("calibrate uses the label set's own templates; --template is for --label")
    text, file = label_sets.read(references[0])
    return _Written(labels.parse(text, file), text, file)


def _check_output(target: Target, labels: LabelOptions) -> None:
    """Refuse to write over the label set that is read, but with --force. Raises UsageError."""
    output = target.output
    if output and not target.force and any(is_same(name, output) for name in labels.labels or ()):
        raise UsageError(f"the output {output} is the label set that is read; --force replaces it")
    safety.check_label_set(output, force=target.force)


def _check_form(written: _Written, known: Known, fitting: Fitting) -> None:
    """Write numbers wherever some may come, so that text that takes none is said before the work.

    May: to labels that images have, and their parents. Raises LabelError.
    """
    from siglipcli.labels import rewrite

    labels, right = written.labels, known.truths[0]
    named = (
        x.path.split("/") for x, column in zip(labels.labels, right.T, strict=True) if column.any()
    )
    able = {"/".join(parts[: end + 1]) for parts in named for end in range(len(parts))}
    filled = tuple(
        replace(label, threshold=1 / (i + 2)) if label.path in able else label
        for i, label in enumerate(labels.labels)
    )
    trial = replace(labels, labels=filled)
    if not fitting.no_shift:
        trial = replace(trial, bias_shift=-labels.bias_shift or 1.0, threshold=0.123)
    rewrite.rewrite(written.text, written.file, trial)


def _aim(options: Fitting) -> Aim:
    from siglipcli.evaluation.calibration import Aim

    return Aim(
        precision=options.min_precision,
        min_examples=options.min_examples,
        folds=options.folds,
        seed=options.seed,
        shift=not options.no_shift,
        threshold=options.threshold,
    )


def _written(fitted: Calibration, output: Path | None) -> str:
    """Say what was written where."""
    if output is None:
        return "nothing is written: --output FILE writes the calibrated label set"
    moved = sum(not fit.reason for fit in fitted.labels)
    shift = fitted.calibrated.bias_shift
    changes = [f"{moved:,} threshold{'s' * (moved != 1)}"] * bool(moved)
    changes += [f"bias_shift {shift:g}"] * (shift != fitted.old_shift)
    return f"wrote {'stdout' if str(output) == '-' else output}: {' and '.join(changes) or 'no change'}"


def _report(
    fitted: Calibration, scored: Scored, form: str, *, on_stderr: bool, terminal: Terminal
) -> None:
    from siglipcli.outputs import bootstrap_report, calibration_report

    if form == "json":
        bootstrap_report.write_json(None, calibration_report.document(fitted, scored))
    elif not on_stderr:
        with open_output(None, None) as stream:
            calibration_report.write_table(stream, fitted)
    elif sys.stderr is not None and not terminal.quiet:
        with suppress(OSError, ValueError):  # the set is written: that is what was asked for
            calibration_report.write_table(sys.stderr, fitted)
