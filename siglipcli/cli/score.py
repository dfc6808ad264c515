"""`siglip score`: hold images against texts, each pair on its own."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

from siglipcli.cli import label_sets, output, setup
from siglipcli.cli.inputs import Inputs
from siglipcli.cli.options import (
    InputOptions,
    ModelOptions,
    OutputOptions,
    SavedOptions,
    argument,
    option,
)
from siglipcli.errors import UsageError
from siglipcli.results import ImageTextScores
from siglipcli.terminal.groups import grouped
from siglipcli.terminal.screen import Terminal, VerbosityOptions
from siglipcli.terminal.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["score"]


@dataclass(frozen=True)
class ScoreInputs(InputOptions):
    """What to score: as in a search, a text and then images."""

    paths: Annotated[
        list[str] | None, argument("score.paths", "[TEXT] PATHS", show_default=False)
    ] = None


@dataclass(frozen=True)
class Sides:
    """Texts and images, where the arguments are not both."""

    heading = "Query"

    image: Annotated[list[str] | None, option("score.image", "--image", "-i", metavar="FILE")] = (
        None
    )
    text: Annotated[list[str] | None, option("score.text", "--text", "-T", metavar="TEXT")] = None


@grouped
def score(
    inputs: ScoreInputs,
    sides: Sides,
    saved: SavedOptions,
    output_options: OutputOptions,
    engine: ModelOptions,
    verbosity: VerbosityOptions,
) -> None:
    """Print the score of every image with every text: the sigmoid, each pair on its own.

    Texts are used as typed, without a template, and stay in their order.

    Exit status: 0 all inputs scored; 1 some failed, their rows say why; 2 usage; 3 could not go on.
    """
    form = setup.output_format(output_options)
    images, texts = _sides(inputs, sides, saved)
    terminal = Terminal(verbosity, rows_on_screen=form == "table" and output_options.output is None)
    output.check(output_options, form, [*(images.paths or ()), images.files_from, saved.saved])
    sources = Inputs(images, saved, output_options.output)
    tally = Tally(origin=sources.origin)
    with setup.classifier(engine, images, terminal) as classifier:
        label_sets.warn_of_texts(texts, classifier.encoder, terminal)
        header = output.header(
            output_options, form, classifier.encoder, labels=tuple(texts), kind=ImageTextScores
        )
        results = classifier.score(sources.stream(), texts)
        with terminal.progress(sources.total) as counted:
            scored = tally.adding(counted(results))
            output.write(scored, form, output_options, header, tally, sources, terminal)
        sources.report(terminal)
        tally.report(terminal)
    tally.leave()


def _sides(
    inputs: ScoreInputs, sides: Sides, saved: SavedOptions
) -> tuple[ScoreInputs, Sequence[str]]:
    """Tell texts from images. Raises UsageError where either is missing, or cannot be told."""
    arguments = list(inputs.paths or ())
    images, texts = list(sides.image or ()), list(sides.text or ())
    has_images = bool(images or inputs.files_from is not None or saved.saved)
    if has_images and texts and arguments:
        raise UsageError(f"is {arguments[0]!r} an image or a text? Use only --image and --text")
    if texts:
        images += arguments
    elif has_images:
        texts = arguments
    else:
        texts, images = arguments[:1], arguments[1:]
        _check_order(texts, images)
    if not texts:
        raise UsageError("no text: siglip score TEXT PATHS…, or --text TEXT")
    if any(not text.strip() for text in texts):
        raise UsageError("a text is empty")
    return replace(inputs, paths=images or None), texts


def _check_order(texts: Sequence[str], images: Sequence[str]) -> None:
    """Raise UsageError where a file stands in the text's place, and no other argument is a file."""
    if texts and os.path.lexists(texts[0]) and not any(map(os.path.lexists, images)):
        raise UsageError(
            f"{texts[0]!r} is a file, and the text comes first: siglip score TEXT PATHS…,"
            " or --image FILE TEXTS…"
        )
