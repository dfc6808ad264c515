"""`siglip doctor`: what this machine has, and one timed encode."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING

import typer

from siglipcli import diagnosis
from siglipcli.cli import setup
from siglipcli.cli.options import InputOptions, ModelOptions
from siglipcli.terminal.groups import grouped
from siglipcli.terminal.screen import Terminal, VerbosityOptions
from siglipcli.text import visible

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["doctor"]


@grouped
def doctor(engine: ModelOptions, verbosity: VerbosityOptions) -> None:
    """Show versions, devices, the cache and the models here, and time one encode.

    The encode is timed with --model where its files are here, else with the bundled demo model.
    """
    terminal = Terminal(verbosity, rows_on_screen=True)
    for name, value in chain(diagnosis.installation(engine.cache_dir), _timed(engine, terminal)):
        typer.echo(f"{name:<12}{visible(value)}")


def _timed(engine: ModelOptions, terminal: Terminal) -> Iterator[tuple[str, str]]:
    from siglipcli.encoders import checkpoint

    model = engine.model if checkpoint.is_cached(engine.model) else "demo"
    timed = replace(engine, model=model, no_cache=True)  # or an embedding would come from the store
    yield from diagnosis.encoding(model, setup.classifier(timed, InputOptions(), terminal))
