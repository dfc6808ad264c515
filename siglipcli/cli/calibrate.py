"""`siglip calibrate`: thresholds that fit one's own pictures, written back into the label set."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path  # noqa: TC003  # Typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Any

import typer

from siglipcli.cli import examples, setup
from siglipcli.cli.answering import Tally, print_json
from siglipcli.cli.examples import Examples  # noqa: TC001  # Typer reads the annotations
from siglipcli.cli.groups import grouped
from siglipcli.cli.options import PRECISIONS, Engine, JsonOrTable, Labels, Voice
from siglipcli.cli.terminal import Terminal
from siglipcli.cli.values import one_of, probability
from siglipcli.errors import UsageError
from siglipcli.text import visible
from siglipcli.writers.output import is_same, open_output

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TextIO

    from siglipcli.evaluation.calibration import Aim, Calibration, LabelFit, Quality
    from siglipcli.evaluation.scored import Scored
    from siglipcli.labelsets import LabelSet

__all__ = ["calibrate"]

MAX_FAILURES = 5  # said on stderr, one by one


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
class Towers(Engine):
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
        typer.Option(min=2, metavar="N", help="Leave labels alone that have fewer pictures."),
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
        typer.Option(
            min=0, max=2**32 - 1, metavar="N", help="How pictures are dealt to the parts."
        ),
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
    labels: Labels,
    fitting: Fitting,
    target: Target,
    engine: Towers,
    voice: Voice,
    output_format: JsonOrTable = "table",
) -> None:
    """Fit a label set's thresholds to pictures whose labels are known, and write the set back.

    For each label the threshold of best F1 is found by cross-validation, and for the set a shift of all
    logits. Labels with few pictures, or that would gain nothing, keep their tags. Comments and order of
    the set are kept.

    Exit status: 0 done; 1 some pictures could not be read; 2 usage or labels; 3 could not go on.
    """
    from siglipcli.evaluation import calibration, scored
    from siglipcli.labelsets import rewrite

    on_stdout = target.output is not None and str(target.output) == "-"
    if on_stdout and output_format == "json":
        raise UsageError("--format json and --output - would both write to stdout; name a file")
    written = _label_set(labels)
    _check_output(target, labels)
    known = examples.read(given, None if on_stdout else target.output)
    right = examples.truth(given, [each.names for each in known.examples], written.labels)
    terminal = Terminal(voice, rows_on_screen=False)
    tally = Tally()
    with setup.classifier(engine, given, terminal) as classifier, _opened(target.output) as stream:
        setup.warn_of_prompts([written.labels], classifier.encoder, terminal)
        with terminal.waiting("encoding labels") as told:
            bank = classifier.encode_labels(written.labels, told)
        found = examples.collection(known, classifier, tally, terminal)
        encoder = classifier.encoder
        answers = scored.score(found, bank, encoder.head, right, model=encoder.name)
        _report_failures(answers, tally, terminal)
        with terminal.waiting("fitting thresholds"):
            result = calibration.fit(answers, _aim(fitting))
        if stream:
            stream.write(rewrite.rewrite(written.text, written.file, result.calibrated))
    _report(result, answers, fitting, output_format, on_stderr=on_stdout, terminal=terminal)
    if target.output is None:
        terminal.note("nothing is written: --output FILE writes the calibrated label set")
    tally.leave()


def _label_set(given: Labels) -> _Written:
    """Read the one set that is asked for, once: it may be a pipe. Raises UsageError."""
    from siglipcli import labelsets
    from siglipcli.labelsets import rewrite

    references = list(given.labels or ())
    if len(references) + bool(given.label) != 1:
        count = "several are given" if references else "none is given"
        raise UsageError(f"calibrate takes one label set, and {count}: --labels FILE")
    if given.label:
        spot = labelsets.LabelSet.of(given.label)
        return _Written(spot, rewrite.plain(spot), spot.name)
    text, file = labelsets.read(references[0])
    return _Written(labelsets.parse(text, file), text, file)


def _check_output(target: Target, labels: Labels) -> None:
    """Refuse to write over the label set that is read, but with --force. Raises UsageError."""
    output = target.output
    if output and not target.force and any(is_same(name, output) for name in labels.labels or ()):
        raise UsageError(f"the output {output} is the label set that is read; --force replaces it")


@contextmanager
def _opened(output: Path | None) -> Iterator[TextIO | None]:
    """Open the output before the work, so that a place where none can be is said at once."""
    if output is None:
        yield None
        return
    with open_output(output) as stream:
        yield stream


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
    """Say the counts and what could not be read. Raises SiglipError where nothing could."""
    for failure in answers.failures[:MAX_FAILURES]:
        terminal.note(f"{failure.source.name}: {failure.kind}: {failure.message}")
    if (more := len(answers.failures) - MAX_FAILURES) > 0:
        terminal.note(f"{more:,} more like these")
    tally.report(terminal)
    if not answers.sources:
        raise UsageError("none of the pictures could be read: there is nothing to calibrate on")


def _report(
    found: Calibration,
    answers: Scored,
    fitting: Fitting,
    form: str,
    *,
    on_stderr: bool,
    terminal: Terminal,
) -> None:
    if form == "json":
        print_json(_document(found, answers))
    elif not (on_stderr and terminal.quiet):
        _print_table(found, precise=fitting.reach is not None, on_stderr=on_stderr)


# --- for programs ---------------------------------------------------------------------------------


def _document(found: Calibration, answers: Scored) -> dict[str, Any]:
    before, after = found.macro_f1()
    return {
        "dataset": answers.dataset,
        "model": answers.model,
        "set": found.calibrated.name,
        "images": len(answers.sources),
        "metrics": {"macro_f1_before": before, "macro_f1_held_out": after},
        "bias_shift": {"before": found.old_shift, "after": found.calibrated.bias_shift},
        "labels": [_entry(fit) for fit in found.labels],
        "failures": [
            {"file": visible(each.source.name), "kind": each.kind, "message": each.message}
            for each in answers.failures
        ],
    }


def _entry(fit: LabelFit) -> dict[str, Any]:
    return {
        "label": fit.label,
        "examples": fit.examples,
        "fitted": not fit.reason,
        "kept": fit.reason or None,
        "threshold": {"before": fit.old, "after": fit.new},
        "before": _measures(fit.before),
        "held_out": _measures(fit.fitted),
    }


def _measures(quality: Quality | None) -> dict[str, float] | None:
    if quality is None:
        return None
    return {"f1": quality.f1, "precision": quality.precision, "recall": quality.recall}


# --- for people -----------------------------------------------------------------------------------


def _print_table(found: Calibration, *, precise: bool, on_stderr: bool) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    measures = ["precision", "recall"] if precise else ["F1"]
    for title in ("label", "examples", "threshold", *measures, "gain"):
        numeric = title not in {"label", "gain"}
        table.add_column(title, justify="right" if numeric else "left", overflow="fold")
    for fit in found.labels:
        # Text, not str: a name such as [bold] is no markup.
        table.add_row(*(Text(visible(cell)) for cell in _row(fit, measures)))
    console = Console(stderr=on_stderr, highlight=False, markup=False, emoji=False)
    console.print(table)
    console.print(_summary(found), soft_wrap=True)


def _row(fit: LabelFit, measures: list[str]) -> list[str]:
    threshold = f"{fit.old:.3g}" + (f" → {fit.new:.3g}" if fit.new != fit.old else "")
    cells = []
    for name in (measure.lower() for measure in measures):
        before = "" if fit.before is None else f"{getattr(fit.before, name):.2f}"
        held_out = "" if fit.reason else f" → {getattr(fit.after, name):.2f}"
        cells.append(before + held_out)
    gain = f"kept: {fit.reason}"
    if not fit.reason and fit.before and fit.after:
        gain = f"{fit.after.f1 - fit.before.f1:+.2f}" + (" F1" if len(measures) > 1 else "")
    return [fit.label, f"{fit.examples:,}", threshold, *cells, gain]


def _summary(found: Calibration) -> str:
    before, after = found.macro_f1()
    fitted = sum(not fit.reason for fit in found.labels)
    shift = found.calibrated.bias_shift
    text = (
        f"{fitted:,} of {len(found.labels):,} labels fitted; mean F1 {before:.3f} → {after:.3f},"
        " on pictures held out of the fit."
    )
    if shift != found.old_shift:
        text += (
            f"\nbias_shift {found.old_shift:g} → {shift:g}: thresholds are scores after it; kept labels"
            " tag as before."
        )
    return text
