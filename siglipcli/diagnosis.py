"""What this machine and installation have, as pairs of a name and a line: for `siglip doctor`."""

from __future__ import annotations

import os
import platform
from time import perf_counter
from typing import TYPE_CHECKING

from siglipcli import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from siglipcli.api import Classifier

__all__ = ["devices", "encoding", "files", "installation", "program", "tuned"]

_LIBRARIES = (
    "torch", "open-clip-torch", "timm", "openvino", "pillow", "numpy", "tokenizers", "huggingface-hub",
)  # fmt: skip


def installation(cache_dir: Path | None) -> Iterator[tuple[str, str]]:
    """Yield all of what needs no model: versions, devices, folders, the models here and their int8 engines."""
    yield from program()
    yield from devices()
    yield from files(cache_dir)
    yield from tuned(cache_dir)


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
    from siglipcli.encoders import openvino_library, torch_runtime
    from siglipcli.machine import available_cpus

    yield "processors", f"{available_cpus()} for this process, of {os.cpu_count()}"
    yield "devices", ", ".join(torch_runtime.devices())
    compiled = f"{openvino_library.version()} (cpu), " if openvino_library.is_installed() else ""
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
    from siglipcli.encoders import openvino_library
    from siglipcli.encoders import tuned as engines
    from siglipcli.machine import cache_folder
    from siglipcli.outputs import tuning_report

    installed = openvino_library.version() if openvino_library.is_installed() else ""
    for engine in engines.every(cache_folder(cache_dir) / "engines"):
        measured = {"runtime": engine.runtime, "is_usable": engine.runtime == installed}
        yield "int8", f"{engine.model}: {tuning_report.line(engine.facts | measured)}"


def encoding(model: str, classifier: Classifier) -> Iterator[tuple[str, str]]:
    """Encode one image twice, and yield how long each took: the first call reads the weights.

    `model` is how the user calls it. The classifier has no store, or the second embedding would come from it.
    """
    from siglipcli.demo import IMAGES
    from siglipcli.results import Source

    encoder, image = classifier.encoder, min(IMAGES.iterdir())
    first, again = (
        _seconds(classifier.session.batches([Source(image.name, image)])) for _ in range(2)
    )
    times = f"{again:.3f} s an image, the first {first:.2f} s"
    yield "encode", f"{model}, {encoder.description}: {times}"


def _seconds(work: Iterable[object]) -> float:
    start = perf_counter()
    for _ in work:
        pass
    return perf_counter() - start
