"""`siglip calibrate`: thresholds that fit one's own images, written back into the label set."""

from __future__ import annotations

import sys
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path  # noqa: TC003  # Typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Any

import typer

from siglipcli.cli import examples, label_sets, setup
from siglipcli.cli.bootstrap_report import number, write_json
from siglipcli.cli.examples import Examples  # noqa: TC001  # Typer reads the annotations
from siglipcli.cli.groups import grouped
from siglipcli.cli.options import (
    DocumentOptions,
    JsonOrTable,
    LabelOptions,
    ModelOptions,
    VerbosityOptions,
)
from siglipcli.cli.output import Tally
from siglipcli.cli.terminal import Terminal
from siglipcli.cli.values import one_of, probability
from siglipcli.encoders.spec import PRECISIONS
from siglipcli.errors import UsageError
from siglipcli.outputs import safety
from siglipcli.outputs.fields import utf8
from siglipcli.outputs.json_lines import failed, named
from siglipcli.outputs.output import is_same, open_output
from siglipcli.text import visible

if TYPE_CHECKING:
    from typing import TextIO

    import numpy as np
    from numpy.typing import NDArray
    from rich.console import Console
    from rich.table import Table

    from siglipcli.evaluation.calibration import Aim, Calibration, LabelFit, Quality
    from siglipcli.evaluation.scored import Scored
    from siglipcli.labels import LabelSet

__all__ = ["calibrate"]

MAX_FAILURES = 5  # said on stderr, one by one
_MOST_DIGITS = 6


def _target(text: str) -> float:
    """Read --precision. Raises Typer's BadParameter."""
    if text in PRECISIONS:
        raise typer.BadParameter(
            f"{text!r} is the towers' arithmetic, here --arithmetic; --precision is that of tags,"
            " a number from 0 to 1."
        )
    try:
        return probability(float(text)) or 0.0
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is not a number from 0 to 1.") from error


@dataclass(frozen=True)
class Towers(ModelOptions):
    """The model, and what runs it; --precision means tags here."""

    precision: Annotated[
        str,
        typer.Option(
            "--arithmetic",
            metavar="|".join(PRECISIONS),
            callback=one_of(*PRECISIONS),
            envvar="SIGLIP_PRECISION",
            help="The towers' arithmetic, --precision of other commands.",
        ),
    ] = "auto"


@dataclass(frozen=True)
class Fitting:
    """What is fitted, and how carefully."""

    reach: Annotated[
        float | None,
        typer.Option(
            "--precision",
            parser=_target,
            metavar="P",
            show_default=False,
            help="Fit the threshold of most recall at which P of a label's tags are right, not that"
            " of best F1.",
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
        typer.Option(min=2, metavar="N", help="Leave labels alone that have fewer images."),
    ] = 5
    folds: Annotated[
        int,
        typer.Option(
            min=2,
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
    given: Examples,
    labels: LabelOptions,
    fitting: Fitting,
    target: Target,
    engine: Towers,
    verbosity: VerbosityOptions,
    output_format: JsonOrTable = "table",
) -> None:
    """Fit a label set's thresholds to images whose labels are known, and write the set back.

    For each label the threshold of best F1 is found by cross-validation, and for the set a shift of all
    logits. Labels with few images, or that would gain nothing, keep their tags. Comments and order of
    the set are kept.

    Exit status: 0 done; 1 some images could not be read; 2 usage or labels; 3 could not go on.
    """
    from siglipcli.evaluation import calibration, scored
    from siglipcli.labels import rewrite

    on_stdout = target.output is not None and str(target.output) == "-"
    if on_stdout and output_format == "json":
        raise UsageError("--format json and --output - would both write to stdout; name a file")
    written = _label_set(labels)
    _check_output(target, labels)
    known = examples.read(given, None if on_stdout else target.output)
    right = examples.truth(given, [each.names for each in known.examples], written.labels)
    if target.output:
        _check_form(written, right, fitting)
    terminal = Terminal(verbosity, rows_on_screen=False)
    tally = Tally()
    # Opened before the work, so that a place where no file can be is said at once.
    opened = open_output(target.output) if target.output else nullcontext()
    with setup.classifier(engine, given, terminal) as classifier, opened as stream:
        label_sets.warn_of_prompts([written.labels], classifier.encoder, terminal)
        with terminal.waiting("encoding labels") as told:
            label_embeddings = classifier.encode_labels(written.labels, told)
        found = examples.collection(known, classifier, tally, terminal)
        encoder = classifier.encoder
        answers = scored.score(found, label_embeddings, encoder.head, right, model=encoder.name)
        _report_failures(answers, tally, terminal)
        with terminal.waiting("fitting thresholds"):
            result = calibration.fit(answers, _aim(fitting))
        if stream:
            stream.write(rewrite.rewrite(written.text, written.file, result.calibrated))
    _report(result, answers, fitting, output_format, on_stderr=on_stdout, terminal=terminal)
    if target.output is None:
        terminal.note("nothing is written: --output FILE writes the calibrated label set")
    tally.leave()


def _label_set(given: LabelOptions) -> _Written:
    """Read the one set that is asked for, once: it may be a pipe. Raises UsageError."""
    from siglipcli import labels as labelsets
    from siglipcli.labels import rewrite

    references = list(given.labels or ())
    if len(references) + bool(given.label) != 1:
        count = "several are given" if references else "none is given"
        raise UsageError(f"calibrate takes one label set, and {count}: --labels FILE")
    if given.label:
        spot = label_sets.spot_labels(given)
        return _Written(spot, rewrite.plain(spot, given.template), spot.name)
    if given.template:
        raise UsageError("calibrate uses the label set's own templates; --template is for --label")
    text, file = label_sets.read(references[0])
    return _Written(labelsets.parse(text, file), text, file)


def _check_output(target: Target, labels: LabelOptions) -> None:
    """Refuse to write over the label set that is read, but with --force. Raises UsageError."""
    output = target.output
    if output and not target.force and any(is_same(name, output) for name in labels.labels or ()):
        raise UsageError(f"the output {output} is the label set that is read; --force replaces it")
    safety.check_label_set(output, force=target.force)


def _check_form(written: _Written, right: NDArray[np.bool_], fitting: Fitting) -> None:
    """Write numbers wherever some may come, so that text that takes none is said before the work.

    May: to labels that images have, `right` bool[n, n_labels], and their parents. Raises LabelError.
    """
    from siglipcli.labels import rewrite

    labels = written.labels
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


def _aim(given: Fitting) -> Aim:
    from siglipcli.evaluation.calibration import Aim

    return Aim(
        precision=given.reach,
        min_examples=given.min_examples,
        folds=given.folds,
        seed=given.seed,
        shift=not given.no_shift,
        threshold=given.threshold,
    )


def _report_failures(answers: Scored, tally: Tally, terminal: Terminal) -> None:
    """Say the counts and what could not be read; that ends the command where nothing could."""
    for failure in answers.failures[:MAX_FAILURES]:
        terminal.note(f"{failure.file}: {failure.kind}: {failure.message}")
    if (more := len(answers.failures) - MAX_FAILURES) > 0:
        terminal.note(f"{more:,} more like these")
    tally.report(terminal)
    if not answers.sources:
        terminal.note("none of the images could be read: there is nothing to calibrate on")
        tally.leave()


def _report(
    found: Calibration,
    answers: Scored,
    fitting: Fitting,
    form: str,
    *,
    on_stderr: bool,
    terminal: Terminal,
) -> None:
    precise = fitting.reach is not None
    if form == "json":
        write_json(DocumentOptions(), _document(found, answers))
    elif not on_stderr:
        with open_output(None, None) as stream:
            _write_table(stream, found, precise=precise)
    elif sys.stderr is not None and not terminal.quiet:
        with suppress(OSError, ValueError):  # the set is written: that is what was asked for
            _write_table(sys.stderr, found, precise=precise)


# --- for programs ---------------------------------------------------------------------------------


def _document(found: Calibration, answers: Scored) -> dict[str, Any]:
    before, after = found.macro_f1()
    return {
        "dataset": utf8(answers.dataset),
        "model": utf8(answers.model),
        "set": utf8(found.calibrated.name),
        "images": len(answers.sources),
        "metrics": {"macro_f1_before": number(before), "macro_f1_held_out": number(after)},
        "bias_shift": {"before": found.old_shift, "after": found.calibrated.bias_shift},
        "labels": [_entry(fit) for fit in found.labels],
        "failures": [named(each.file) | failed(each) for each in answers.failures],
    }


def _entry(fit: LabelFit) -> dict[str, Any]:
    return {
        "label": utf8(fit.label),
        "examples": fit.examples,
        "fitted": not fit.reason,
        "kept": fit.reason or None,
        "threshold": {"before": fit.old, "after": fit.new},
        "before": _measures(fit.before),
        "held_out": _measures(fit.fitted),
    }


def _measures(quality: Quality | None) -> dict[str, float | None] | None:
    names = ("f1", "precision", "recall")
    return None if quality is None else {name: number(getattr(quality, name)) for name in names}


# --- for people -----------------------------------------------------------------------------------


def _write_table(stream: TextIO, found: Calibration, *, precise: bool) -> None:
    """Write a row for each label, and what they come to, in letters that `stream` has. Raises OutputError."""
    from rich.console import Console

    console = Console(file=stream, highlight=False, markup=False, emoji=False)
    with console.capture() as captured:
        console.print(_table(found, ["precision", "recall"] if precise else ["F1"], console))
        console.print(_plain(_summary(found), console), soft_wrap=True)
    stream.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))


def _table(found: Calibration, measures: list[str], console: Console) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("label", "examples", "threshold", *measures, "gain"):
        numeric = title not in {"label", "gain"}
        table.add_column(title, justify="right" if numeric else "left", overflow="fold")
    for fit in found.labels:
        # Text, not str: a name such as [bold] is no markup.
        table.add_row(*(Text(_plain(visible(cell), console)) for cell in _row(fit, measures)))
    return table


def _plain(text: str, console: Console) -> str:
    """Spell out what the terminal's encoding lacks."""
    encoding = console.encoding
    if not "→".encode(encoding, "ignore"):
        text = text.replace("→", "->")
    return text.encode(encoding, "backslashreplace").decode(encoding)


def _row(fit: LabelFit, measures: list[str]) -> list[str]:
    cells = [_change(_threshold(fit.old), _threshold(fit.new))]
    for name in (measure.lower() for measure in measures):
        before, after = (f"{getattr(x, name):.2f}" if x else "" for x in (fit.before, fit.after))
        cells.append(f"{before} → {after}" if not fit.reason else _change(before, after))
    gain = f"kept: {fit.reason}"
    if not fit.reason and fit.before and fit.after:
        gain = f"{fit.after.f1 - fit.before.f1:+.2f}" + (" F1" if len(measures) > 1 else "")
    return [fit.label, f"{fit.examples:,}", *cells, gain]


def _change(old: str, new: str) -> str:
    return old if old == new else f"{old} → {new}"


def _threshold(value: float) -> str:
    """Write the fewest digits, from 3 to 6, that are the value; more where they would say 1 of less."""
    for digits in range(3, 18):
        text = f"{value:.{digits}g}"
        if float(text) == value or (digits >= _MOST_DIGITS and float(text) < 1):
            break
    return text


def _summary(found: Calibration) -> str:
    before, after = found.macro_f1()
    fitted, count = sum(not fit.reason for fit in found.labels), len(found.labels)
    old, shift = found.old_shift, found.calibrated.bias_shift
    text = f"{fitted:,} of {count:,} label{'s' * (count != 1)} fitted; mean F1 {before:.3f} → {after:.3f}"
    text += ", on images held out of the fit." if fitted else "."
    if shift != old:
        text += f"\nbias_shift {old:g} → {shift:g}: thresholds are scores after it"
        if kept := count - fitted:
            ones = "that of the kept label" if kept == 1 else f"those of the {kept:,} kept labels"
            text += f"; {ones} moved with it, and tag{'s' * (kept == 1)} as in the set"
        text += "."
    return text
