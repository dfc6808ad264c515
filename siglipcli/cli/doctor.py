"""`siglip doctor`: what this machine has, and one timed encode."""

from __future__ import annotations

from dataclasses import replace
from time import perf_counter
from typing import TYPE_CHECKING

import typer

from siglipcli import diagnosis
from siglipcli.cli import setup
from siglipcli.cli.options import InputOptions, ModelOptions
from siglipcli.terminal.groups import grouped
from siglipcli.terminal.screen import Terminal, VerbosityOptions
from siglipcli.text import visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["doctor"]


@grouped
def doctor(engine: ModelOptions, verbosity: VerbosityOptions) -> None:
    """Show versions, devices, the cache and the models here, and time one encode.

    The encode is timed with --model where its files are here, else with the bundled demo model.
    """
    terminal = Terminal(verbosity, rows_on_screen=True)
    sections = (
        diagnosis.program(),
        diagnosis.devices(),
        diagnosis.files(engine.cache_dir),
        diagnosis.tuned(engine.cache_dir),
        _timed(engine, terminal),
    )
    for section in sections:
        for name, value in section:
            typer.echo(f"{name:<12}{visible(value)}")


def _timed(engine: ModelOptions, terminal: Terminal) -> Iterator[tuple[str, str]]:
    """Encode one image twice: the first call reads the weights."""
    from siglipcli.demo import IMAGES
    from siglipcli.encoders import checkpoint
    from siglipcli.results import Source

    model = engine.model if checkpoint.is_cached(engine.model) else "demo"
    timed = replace(engine, model=model, no_cache=True)  # or the second would come from the store
    classifier = setup.classifier(timed, InputOptions(), terminal)
    encoder, image = classifier.encoder, min(IMAGES.iterdir())
    first, again = (
        _seconds(classifier.session.batches([Source(image.name, image)])) for _ in range(2)
    )
    yield (
        "encode",
        f"{model}, {encoder.description}: {again:.3f} s an image, the first {first:.2f} s",
    )


def _seconds(work: Iterable[object]) -> float:
    start = perf_counter()
    for _ in work:
        pass
    return perf_counter() - start
