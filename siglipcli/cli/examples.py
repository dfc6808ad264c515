"""What `evaluate`, `calibrate`, `compare` and `prompts` share: labelled images, encoded once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path  # noqa: TC003  # Typer reads the annotations
from typing import TYPE_CHECKING, Annotated

import typer

from siglipcli.cli.inputs import walking
from siglipcli.cli.options import WalkOptions
from siglipcli.errors import UsageError
from siglipcli.outputs import safety
from siglipcli.outputs.output import check, is_same
from siglipcli.results import Source

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from siglipcli.api import Classifier
    from siglipcli.cli.output import Tally
    from siglipcli.cli.terminal import Terminal
    from siglipcli.evaluation.data import Data
    from siglipcli.evaluation.scored import Collection
    from siglipcli.labels import LabelSet
    from siglipcli.results import Failure

__all__ = ["Examples", "collection", "read", "say_failures", "truth"]

_SAID = 10


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


def read(given: Examples, output: Path | None = None, *, force: bool = True) -> Data:
    """Read what DATA lists, no image yet.

    Raises UsageError, also where `output` would take the place of a part of it or, without `force`, of a
    file that this program did not write; OutputError where no file can be.
    """
    from siglipcli.evaluation import data

    if given.data is None:
        raise UsageError("nothing to read: give DATA, a folder per class, or a CSV or JSONL file")
    if output and is_same(output, given.data):
        raise UsageError(f"the output {output} is DATA")
    known = data.read(given.data, walking(given))
    if output and output.is_file() and any(_is(each.input, output) for each in known.examples):
        raise UsageError(f"the output {output} is one of the images in DATA")
    plain = output is not None and output.suffix.lower() != ".json"
    safety.check(output, force=force, plain=plain)
    check(output)
    return known


def truth(given: Examples, names: list[tuple[str, ...]], labels: LabelSet) -> NDArray[np.bool_]:
    """Tell which labels are right, bool[n, n_labels]. Raises UsageError for names that no label matches."""
    from siglipcli.evaluation import data

    return data.truth(names, labels, _renames(given.renamed or ()))


def collection(known: Data, classifier: Classifier, tally: Tally, terminal: Terminal) -> Collection:
    """Encode the images, those that the store does not know, with a progress bar."""
    from siglipcli.evaluation import scored

    batches = tally.adding_batches(classifier.batches(known.inputs()))
    with terminal.progress(lambda: len(known.examples)) as counted:
        return scored.collect(known, counted(batches))


def say_failures(failures: Sequence[Failure], terminal: Terminal) -> None:
    """Say on stderr what could not be read: the first few, and how many more."""
    for failure in failures[:_SAID]:
        terminal.note(f"{failure.file}: {failure.kind}: {failure.message}")
    if (more := len(failures) - _SAID) > 0:
        terminal.note(f"{more:,} more like these")


def _is(item: Source | Failure, output: Path) -> bool:
    return isinstance(item, Source) and is_same(item.name, output)


def _renames(pairs: list[str] | tuple[()]) -> dict[str, str]:
    renames: dict[str, str] = {}
    for pair in pairs:
        name, _, label = (part.strip() for part in pair.partition("="))
        if not (name and label):
            raise UsageError(f"--map takes NAME=LABEL, not {pair!r}")
        if renames.setdefault(name, label) != label:
            raise UsageError(f"--map says two things of {name!r}: {renames[name]!r} and {label!r}")
    return renames
