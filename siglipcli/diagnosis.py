"""What this machine and installation have, as pairs of a name and a line: for `siglip doctor`."""

from __future__ import annotations

import os
import platform
from typing import TYPE_CHECKING

from siglipcli import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["devices", "files", "program", "tuned"]

_LIBRARIES = (
    "torch", "open-clip-torch", "timm", "openvino", "pillow", "numpy", "tokenizers", "huggingface-hub",
)  # fmt: skip


def program() -> Iterator[tuple[str, str]]:
    """Yield the versions of siglip, Python and the libraries that models need."""
    yield "siglip", f"{__version__}, Python {platform.python_version()}, {platform.platform()}"
    yield "libraries", ", ".join(f"{name} {_version(name)}" for name in _LIBRARIES)


def _version(library: str) -> str:
    from importlib import metadata

    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return "missing"


def devices() -> Iterator[tuple[str, str]]:
    """Yield processors, devices and runtimes."""
    from siglipcli.encoders import openvino_runtime, torch_runtime
    from siglipcli.machine import available_cpus

    yield "processors", f"{available_cpus()} for this process, of {os.cpu_count()}"
    yield "devices", ", ".join(torch_runtime.devices())
    compiled = f"{openvino_runtime.version()} (cpu), " if openvino_runtime.is_installed() else ""
    yield "runtimes", f"{compiled}torch {_version('torch')} (any device)"


def files(cache_dir: Path | None) -> Iterator[tuple[str, str]]:
    """Yield where caches are, and which models are on this machine."""
    from siglipcli.encoders import catalog, checkpoint, hub
    from siglipcli.machine import cache_folder

    yield "cache", str(cache_folder(cache_dir))
    yield "model files", str(hub.cache_root())
    here = [name for name in catalog.CATALOG if checkpoint.is_cached(name)]
    yield "models here", ", ".join(["demo", *here])


def tuned(cache_dir: Path | None) -> Iterator[tuple[str, str]]:
    """Yield the int8 engines, and what was measured of them."""
    from siglipcli.encoders import openvino_runtime
    from siglipcli.encoders import tuned as engines
    from siglipcli.machine import cache_folder
    from siglipcli.outputs import tuning_report

    installed = openvino_runtime.version() if openvino_runtime.is_installed() else ""
    for engine in engines.every(cache_folder(cache_dir) / "engines"):
        measured = {"runtime": engine.runtime, "is_usable": engine.runtime == installed}
        yield "int8", f"{engine.model}: {tuning_report.line(engine.facts | measured)}"
