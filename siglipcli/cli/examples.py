"""What evaluate, calibrate, compare and prompts share: the options that name images, and the run over them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path  # noqa: TC003  # Typer reads the annotations
from typing import TYPE_CHECKING, Annotated

from siglipcli.cli import label_sets as label_input
from siglipcli.cli.inputs import walking
from siglipcli.cli.options import WalkOptions, argument, option
from siglipcli.errors import UsageError
from siglipcli.outputs import safety
from siglipcli.outputs.output import is_same
from siglipcli.results import Source
from siglipcli.text import and_more

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from siglipcli.api import Classifier
    from siglipcli.cli.options import LabelOptions
    from siglipcli.embeddings import Batch
    from siglipcli.evaluation.run import Known, Run
    from siglipcli.labels import LabelSet
    from siglipcli.outputs.bootstrap_report import Named
    from siglipcli.terminal.screen import Terminal
    from siglipcli.terminal.tally import Tally

__all__ = ["Examples", "Resampling", "label_sets", "read", "references", "run"]

_SHOWN = 10  # failures on stderr, one by one


@dataclass(frozen=True)
class Examples(WalkOptions):
    """Images whose labels are known."""

    data: Annotated[Path | None, argument("data", "DATA", show_default=False)] = None
    renamed: Annotated[list[str] | None, option("renamed", "--map", metavar="NAME=LABEL")] = None
    ignored: Annotated[list[str] | None, option("ignored", "--ignore-class", metavar="NAME")] = None


@dataclass(frozen=True)
class Resampling:
    """How sure a difference is."""

    resamples: Annotated[int, option("resamples", min=100, max=10_000, metavar="N")] = 1000
    seed: Annotated[int, option("draw_seed", "--seed", min=0, metavar="N")] = 0


def references(options: LabelOptions, count: int, usage: str) -> list[str]:
    """Return the label sets that are named; labels on the spot are one more. Raises UsageError, with `usage`."""
    named = len(options.labels or ()) + bool(options.label)
    if named != count:
        raise UsageError(f"{usage}; {named or 'none'} given")
    return list(options.labels or ())


def label_sets(
    options: LabelOptions, count: int, usage: str, output: Path | None = None
) -> list[Named]:
    """Load so many sets. Raises UsageError, also where `output` would take the place of one."""
    from siglipcli.outputs.bootstrap_report import Named

    named = references(options, count, usage)
    label_input.read_stdin_once(named)
    sets = [Named(label_input.load(reference, options.template), reference) for reference in named]
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
    review: Path | None = None,
) -> Known:
    """Read what DATA lists, or the verdicts of a review; no image yet.

    Raises UsageError, also where `output` would take the place of a part of it or, without `force`, of a
    file that this program did not write; OutputError where no file can be.
    """
    origin, name = (review, "the review") if review else (options.data, "DATA")
    if output and origin and is_same(output, origin):
        raise UsageError(f"the output {output} is {name}")
    known = _review(options, sets[0], review) if review else _data(options, sets)
    images = (x.input.name for x in known.data.examples if isinstance(x.input, Source))
    safety.check_figures(output, images, name, force=force)
    return known


def _data(options: Examples, sets: Sequence[LabelSet]) -> Known:
    from siglipcli.evaluation import run

    if options.data is None:
        raise UsageError("nothing to read: give DATA, a folder per class, or a CSV or JSONL file")
    renames, ignored = _renames(options.renamed or ()), options.ignored or ()
    return run.read(options.data, sets, renames=renames, ignored=ignored, options=walking(options))


def _review(options: Examples, labels: LabelSet, review: Path) -> Known:
    from siglipcli.evaluation import review as reviews

    if options.data or options.renamed or options.ignored:
        raise UsageError("--from-review takes the place of DATA, --map and --ignore-class")
    return reviews.read(review, labels)


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
    failures = done.collection.failures
    for failure in failures[:_SHOWN]:
        terminal.failed(failure)
    for line in and_more(len(failures) - _SHOWN):
        terminal.note(line)
    tally.report(terminal)
    return done


def _renames(pairs: Sequence[str]) -> dict[str, str]:
    renames: dict[str, str] = {}
    for pair in pairs:
        name, _, label = (part.strip() for part in pair.partition("="))
        if not (name and label):
            raise UsageError(f"--map takes NAME=LABEL, not {pair!r}")
        if renames.setdefault(name, label) != label:
            raise UsageError(f"--map says two things of {name!r}: {renames[name]!r} and {label!r}")
    return renames
