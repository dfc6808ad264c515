"""`siglip demo`: the ordinary `classify` on bundled images, with the bundled model."""

from __future__ import annotations

import os
import shlex
from dataclasses import replace
from typing import TYPE_CHECKING

from siglipcli import demo as bundled
from siglipcli.cli.classify import classify
from siglipcli.cli.options import (
    CacheDir,
    CalibratedLabelOptions,
    InputOptions,
    ModelOptions,
    OutputOptions,
    SavedOptions,
    TopOptions,
)
from siglipcli.cli.reporting import ReportOptions
from siglipcli.terminal.groups import grouped
from siglipcli.terminal.screen import VerbosityOptions, complain

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["demo"]

_COMMAND = "siglip classify images --labels labels.yaml --model demo --top 3"


@grouped
def demo(
    output_options: OutputOptions, verbosity: VerbosityOptions, cache_dir: CacheDir = None
) -> None:
    """Run classify on bundled drawings with the bundled model, and print the command that did it.

    The model knows drawn shapes and nothing else: it is for trying the tool without a download.
    """
    output = output_options.output.absolute() if output_options.output else None
    cache_dir = cache_dir.absolute() if cache_dir else None
    os.chdir(bundled.IMAGES.parent)  # names in results are then short
    if not verbosity.quiet:
        folder, more = str(bundled.IMAGES.parent), _more(output_options, output)
        complain(f"running: cd {shlex.quote(folder)} && {shlex.join([*_COMMAND.split(), *more])}")
    classify(
        **vars(InputOptions(paths=["images"]))
        | vars(SavedOptions())
        | vars(CalibratedLabelOptions(labels=["labels.yaml"]))
        | vars(TopOptions(top=3))
        | vars(replace(output_options, output=output))
        | vars(ReportOptions())
        | vars(ModelOptions(model="demo", cache_dir=cache_dir))
        | vars(verbosity)
    )


def _more(output_options: OutputOptions, output: Path | None) -> list[str]:
    """Return the options that were given here too, as the command has them."""
    form = ["--format", output_options.output_format] if output_options.output_format else []
    return [*form, *(["--output", str(output)] if output else [])]
