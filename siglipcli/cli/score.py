"""`siglip score`: hold images against texts, each pair on its own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import typer

from siglipcli import outputs
from siglipcli.cli import setup
from siglipcli.cli.groups import grouped
from siglipcli.cli.inputs import Inputs
from siglipcli.cli.options import (
    InputOptions,
    ModelOptions,
    OutputOptions,
    SavedOptions,
    VerbosityOptions,
)
from siglipcli.cli.output import Tally, write
from siglipcli.cli.terminal import Terminal
from siglipcli.errors import UsageError
from siglipcli.results import ImageTextScores

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["score"]


@dataclass(frozen=True)
class Compared(InputOptions):
    """What to compare."""

    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[IMAGE] TEXTS",
            show_default=False,
            help="An image, then texts. With --image all are texts; with --text all are images"
            " or folders.",
        ),
    ] = None


@dataclass(frozen=True)
class Sides:
    """The two sides, where the arguments are not both."""

    image: Annotated[
        list[str] | None,
        typer.Option(
            "--image", "-i", metavar="FILE", help="An image, or a folder of them; repeatable."
        ),
    ] = None
    text: Annotated[
        list[str] | None,
        typer.Option("--text", "-T", metavar="TEXT", help="A text; repeatable."),
    ] = None


@grouped
def score(
    inputs: Compared,
    sides: Sides,
    saved: SavedOptions,
    answers: OutputOptions,
    engine: ModelOptions,
    verbosity: VerbosityOptions,
) -> None:
    """Print the score of every image with every text: the sigmoid, each pair on its own.

    Texts are taken as typed, without a template, and stay in the order given.

    Exit status: 0 all inputs answered; 1 some failed, their rows say why; 2 usage; 3 could not go on.
    """
    form = setup.output_format(answers)
    images, texts = _sides(inputs, sides, saved)
    terminal = Terminal(verbosity, rows_on_screen=form == "table" and answers.output is None)
    sources = Inputs(images, saved, answers.output)
    tally = Tally(origin=sources.origin)
    with setup.classifier(engine, images, terminal) as classifier:
        header = outputs.Header(classifier.encoder.name, labels=tuple(texts), kind=ImageTextScores)
        results = classifier.score(sources.stream(), texts)
        with terminal.progress(sources.total) as counted:
            write(tally.adding(counted(results)), form, answers, header)
        sources.report(terminal)
        tally.report(terminal)
    tally.leave()


def _sides(inputs: Compared, sides: Sides, saved: SavedOptions) -> tuple[Compared, Sequence[str]]:
    """Tell images from texts. Raises UsageError where either is missing, or cannot be told."""
    given = list(inputs.paths or ())
    images, texts = list(sides.image or ()), list(sides.text or ())
    named = bool(images or inputs.files_from is not None or saved.saved)
    if named and texts and given:
        raise UsageError(f"is {given[0]!r} an image or a text? Use only --image and --text")
    if texts:
        images += given
    elif named:
        texts = given
    else:
        images, texts = given[:1], given[1:]
    if not texts:
        raise UsageError("no text: siglip score IMAGE TEXTS…, or --text TEXT")
    if any(not text.strip() for text in texts):
        raise UsageError("a text is empty")
    return replace(inputs, paths=images or None), texts
