"""What evaluate, calibrate, compare and prompts share: the options that name images, and the run over them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path  # noqa: TC003  # Typer reads the annotations
from typing import TYPE_CHECKING, Annotated

import typer

from siglipcli.cli import completion
from siglipcli.cli import label_sets as label_input
from siglipcli.cli.inputs import walking
from siglipcli.cli.options import LabelOptions, WalkOptions
from siglipcli.errors import UsageError
from siglipcli.outputs import safety
from siglipcli.outputs.output import check, is_same
from siglipcli.results import Source
from siglipcli.text import and_more

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from siglipcli.api import Classifier
    from siglipcli.evaluation.run import Known, Run
    from siglipcli.labels import LabelSet
    from siglipcli.outputs.bootstrap_report import Named
    from siglipcli.pipeline import Batch
    from siglipcli.results import Failure
    from siglipcli.terminal.screen import Terminal
    from siglipcli.terminal.tally import Tally

__all__ = ["Examples", "OneLabelSet", "Resampling", "label_sets", "read", "references", "run"]

_SHOWN = 10  # failures on stderr, one by one


@dataclass(frozen=True)
class Examples(WalkOptions):
    """Images whose labels are known."""

    data: Annotated[
        Path | None,
        typer.Argument(
            metavar="DATA",
            show_default=False,
            help="A folder per class, or a CSV or JSONL file of images and their labels.",
        ),
    ] = None
    renamed: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            metavar="NAME=LABEL",
            help="What a name in DATA is called in the label set; repeatable.",
        ),
    ] = None
    ignored: Annotated[
        list[str] | None,
        typer.Option(
            "--ignore-class",
            metavar="NAME",
            help="Leave out the images of this name in DATA, and of names below it; repeatable.",
        ),
    ] = None


@dataclass(frozen=True)
class OneLabelSet(LabelOptions):
    """The one label set that a command works on."""

    labels: Annotated[
        list[str] | None,
        typer.Option(
            "--labels",
            "-l",
            metavar="SET",
            autocompletion=completion.label_sets,
            envvar="SIGLIP_LABELS",
            help="The label set: a YAML file or a built-in set (siglip labels list).",
        ),
    ] = None


@dataclass(frozen=True)
class Resampling:
    """How sure a difference is."""

    resamples: Annotated[
        int,
        typer.Option(
            min=100,
            max=10_000,
            metavar="N",
            help="How many times the images are drawn anew for the intervals.",
        ),
    ] = 1000
    seed: Annotated[
        int,
        typer.Option(min=0, metavar="N", help="Where the draws begin: one seed, one result."),
    ] = 0


def references(options: LabelOptions, count: int, usage: str) -> list[str]:
    """Return the label sets that are named; labels on the spot are one more. Raises UsageError, with `usage`."""
    found = len(options.labels or ()) + bool(options.label)
    if found != count:
        raise UsageError(f"{usage}; {found or 'none'} given")
    return list(options.labels or ())


def label_sets(
    options: LabelOptions, count: int, usage: str, output: Path | None = None
) -> list[Named]:
    """Load so many sets. Raises UsageError, also where `output` would take the place of one."""
    from siglipcli.outputs.bootstrap_report import Named

    named = references(options, count, usage)
    label_input.read_stdin_once(named)
    sets = [Named(label_input.load(each, options.template), each) for each in named]
    if options.label:
        spot = label_input.spot_labels(options)
        sets.append(Named(spot, spot.name))
    if output and output.is_file() and any(is_same(name, output) for name in named):
        raise UsageError(f"the output {output} is a label set that is read")
    return sets


def read(
    options: Examples,
    sets: Sequence[LabelSet],
    output: Path | None = None,
    *,
    force: bool = True,
) -> Known:
    """Read what DATA lists, no image yet.

    Raises UsageError, also where `output` would take the place of a part of it or, without `force`, of a
    file that this program did not write; OutputError where no file can be.
    """
    from siglipcli.evaluation import run

    if options.data is None:
        raise UsageError("nothing to read: give DATA, a folder per class, or a CSV or JSONL file")
    if output and is_same(output, options.data):
        raise UsageError(f"the output {output} is DATA")
    known = run.read(
        options.data,
        sets,
        renames=_renames(options.renamed or ()),
        ignored=options.ignored or (),
        options=walking(options),
    )
    if output and output.is_file() and any(_is(x.input, output) for x in known.data.examples):
        raise UsageError(f"the output {output} is one of the images in DATA")
    plain = output is not None and output.suffix.lower() != ".json"
    safety.check(output, force=force, plain=plain)
    check(output)
    return known


def run(
    classifier: Classifier,
    known: Known,
    tally: Tally,
    terminal: Terminal,
    *,
    bias_shift: float = 0.0,
) -> Run:
    """Encode and score what DATA lists, with a progress bar; say on stderr what could not be read."""
    from siglipcli.evaluation import run as evaluation_run

    label_input.warn_of_prompts(known.sets, classifier.encoder, terminal)
    with terminal.progress(lambda: len(known.data.examples)) as counted:

        def watch(batches: Iterable[Batch]) -> Iterable[Batch]:
            return counted(tally.adding_batches(batches))

        done = evaluation_run.run(classifier, known, bias_shift=bias_shift, watch=watch)
    _say_failures(done.collection.failures, terminal)
    tally.report(terminal)
    return done


def _say_failures(failures: Sequence[Failure], terminal: Terminal) -> None:
    """Say on stderr what could not be read: the first few, and how many more."""
    lines = [f"{failure.file}: {failure.kind}: {failure.message}" for failure in failures[:_SHOWN]]
    for line in [*lines, *and_more(len(failures) - _SHOWN)]:
        terminal.note(line)


def _is(item: Source | Failure, output: Path) -> bool:
    return isinstance(item, Source) and is_same(item.name, output)


def _renames(pairs: Sequence[str]) -> dict[str, str]:
    renames: dict[str, str] = {}
    for pair in pairs:
        name, _, label = (part.strip() for part in pair.partition("="))
        if not (name and label):
            raise UsageError(f"--map takes NAME=LABEL, not {pair!r}")
        if renames.setdefault(name, label) != label:
            raise UsageError(f"--map says two things of {name!r}: {renames[name]!r} and {label!r}")
    return renames
