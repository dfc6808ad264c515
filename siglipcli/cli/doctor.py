"""`siglip doctor`: what this machine has, and one timed encode."""

from __future__ import annotations

import os
import platform
from dataclasses import replace
from time import perf_counter
from typing import TYPE_CHECKING

import typer

from siglipcli import __version__
from siglipcli.cli import setup
from siglipcli.cli.options import InputOptions, ModelOptions
from siglipcli.terminal.groups import grouped
from siglipcli.terminal.screen import Terminal, VerbosityOptions
from siglipcli.text import visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["doctor"]

_LIBRARIES = (
    "torch", "open-clip-torch", "timm", "openvino", "pillow", "numpy", "tokenizers", "huggingface-hub",
)  # fmt: skip


@grouped
def doctor(engine: ModelOptions, verbosity: VerbosityOptions) -> None:
    """Show versions, devices, the cache and the models here, and time one encode.

    The encode is timed with --model where its files are here, else with the bundled demo model.
    """
    terminal = Terminal(verbosity, rows_on_screen=True)
    for section in (_program(), _devices(), _files(engine), _timed(engine, terminal)):
        for name, value in section:
            typer.echo(f"{name:<12}{visible(value)}")


def _program() -> Iterator[tuple[str, str]]:
    yield "siglip", f"{__version__}, Python {platform.python_version()}, {platform.platform()}"
    yield "libraries", ", ".join(f"{name} {_version(name)}" for name in _LIBRARIES)


def _version(library: str) -> str:
    from importlib import metadata

    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return "missing"


def _devices() -> Iterator[tuple[str, str]]:
    from siglipcli.encoders import openvino_runtime, torch_runtime
    from siglipcli.machine import available_cpus

    yield "processors", f"{available_cpus()} for this process, of {os.cpu_count()}"
    yield "devices", ", ".join(torch_runtime.devices())
    compiled = f"{openvino_runtime.version()} (cpu), " if openvino_runtime.is_installed() else ""
    yield "runtimes", f"{compiled}torch {_version('torch')} (any device)"


def _files(engine: ModelOptions) -> Iterator[tuple[str, str]]:
    from siglipcli.encoders import catalog, checkpoint, hub
    from siglipcli.machine import cache_folder

    yield "cache", str(cache_folder(engine.cache_dir))
    yield "model files", str(hub.cache_root())
    here = [name for name in catalog.CATALOG if checkpoint.is_cached(name)]
    yield "models here", ", ".join(["demo", *here])


def _timed(engine: ModelOptions, terminal: Terminal) -> Iterator[tuple[str, str]]:
    """Encode one image twice: the first call reads the weights."""
    from siglipcli import pipeline
    from siglipcli.demo import IMAGES
    from siglipcli.encoders import checkpoint
    from siglipcli.results import Source

    model = engine.model if checkpoint.is_cached(engine.model) else "demo"
    classifier = setup.classifier(replace(engine, model=model), InputOptions(), terminal)
    encoder, image = classifier.encoder, min(IMAGES.iterdir())
    first, again = (
        _seconds(pipeline.embed([Source(image.name, image)], encoder, classifier.load_options))
        for _ in range(2)
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
