"""Where int8 image towers are made and tried, one after another, before one of them is installed."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from siglipcli.encoders import build_process, engines, openvino_runtime, precisions, tuned
from siglipcli.encoders.openvino_runtime import OpenVINOEncoder
from siglipcli.encoders.quantize import Layers, Recipe, read_layers
from siglipcli.errors import DeviceError, MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from siglipcli.encoders import Encoder

__all__ = ["QUANTIZE", "Candidate", "Layers", "Recipe", "Workshop", "need_library", "opened"]

QUANTIZE = "siglipcli.encoders.quantize:quantize"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A quantized image tower: how it was made, an encoder that uses it, and its layers."""

    recipe: Recipe
    encoder: Encoder
    layers: Layers


def need_library() -> None:
    """Raise MissingExtraError where NNCF is not installed."""
    if find_spec("nncf") is None:
        raise MissingExtraError("Tuning", library="nncf", extra="tune")


@contextmanager
def opened(encoder: Encoder, pixels: NDArray[np.uint8], quantize: str) -> Iterator[Workshop]:
    """Lend a workshop for an encoder's model; all but what is installed is gone afterwards.

    `pixels` are what towers are quantized on, uint8[n, size, size, 3]; `quantize` is called as "module:name".
    One process at a time tunes a model. Raises DeviceError for an encoder that does not run on OpenVINO, OSError.
    """
    if not isinstance(encoder, OpenVINOEncoder) or encoder.tuned:
        raise DeviceError(
            f"engines are tuned from OpenVINO's, not from {encoder.description}",
            code="tuning_runtime",
        )
    name = f"{encoder.manifest.fingerprint}-{tuned.PRECISION}-tuning"
    with engines.workspace(encoder.cache_dir / "engines", name, encoder.name) as folder:
        np.save(folder / "pixels.npy", pixels)
        yield Workshop(encoder, folder, quantize)


class Workshop:
    """Makes int8 towers from an encoder's own, in `folder`; see `opened`."""

    def __init__(self, encoder: OpenVINOEncoder, folder: Path, quantize: str) -> None:
        self._encoder = encoder
        self._folder = folder
        self._quantize = quantize
        self._count = 0

    def candidate(self, recipe: Recipe, images: int) -> Candidate:
        """Quantize on the first `images` images, in a process of its own. Raises DeviceError where that fails."""
        self._count += 1
        folder = self._folder / str(self._count)
        folder.mkdir(mode=0o700)
        weights = precisions.PRECISIONS[self._encoder.reference].graph_weights
        graph, pixels = self._encoder.folder / "image.xml", self._folder / "pixels.npy"
        try:
            build_process.run(self._quantize, graph, pixels, images, recipe, weights, folder)
        except (RuntimeError, ValueError, ImportError) as error:
            raise DeviceError(
                f"quantization failed: {error}", code="tuning", reason=error
            ) from error
        return Candidate(recipe, self._encoder.with_images_by(folder), read_layers(folder))

    def install(self, candidate: Candidate, facts: dict[str, Any]) -> Path:
        """Make a candidate the model's int8 engine, with what was measured of it; return its folder. Raises OSError."""
        manifest = openvino_runtime.manifest(self._encoder.checkpoint, tuned.PRECISION)
        made: Path = candidate.encoder.folder  # type: ignore[attr-defined]
        facts = facts | {"reference": self._encoder.reference}
        return tuned.install(self._encoder.cache_dir / "engines", manifest, made, facts)
