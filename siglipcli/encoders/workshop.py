"""Where int8 image towers are made and tried, one after another, before one of them is installed."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from siglipcli.encoders import (
    build_process,
    engines,
    openvino_runtime,
    precisions,
    timing,
    tuned,
)
from siglipcli.encoders.openvino_runtime import OpenVINOEncoder
from siglipcli.encoders.quantize import Layers, Recipe, forms, read_layers
from siglipcli.errors import DeviceError, MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from siglipcli.encoders import Encoder

__all__ = ["QUANTIZE", "Candidate", "Layers", "Recipe", "Workshop", "need_library", "opened"]

_TIMED = 8  # images, with which forms of a tower are timed
_SECONDS = 2.0

QUANTIZE = "siglipcli.encoders.quantize:quantize"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A quantized image tower: how it was made, an encoder that uses it, and its layers.

    `form` says how they are computed: as `products` of matrices or as `convolutions`.
    """

    recipe: Recipe
    encoder: Encoder
    layers: Layers
    form: str


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
        self._form = ""  # the fastest one, once there was a tower to time

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
        towers = {form: self._encoder.with_images_by(path) for form, path in forms(folder).items()}
        if self._form not in towers:
            self._form = self._fastest(towers)
        return Candidate(recipe, towers[self._form], read_layers(folder), self._form)

    def _fastest(self, towers: dict[str, OpenVINOEncoder]) -> str:
        """Return the form that encodes most images a second here."""
        if len(towers) == 1:
            return next(iter(towers))
        pixels = np.load(self._folder / "pixels.npy", mmap_mode="r")[:_TIMED]
        rates = timing.rates(list(towers.values()), pixels, _SECONDS)
        return max(zip(rates, towers, strict=True))[1]

    def install(self, candidate: Candidate, facts: dict[str, Any]) -> Path:
        """Make a candidate the model's int8 engine, with what was measured of it; return its folder. Raises OSError."""
        manifest = openvino_runtime.manifest(self._encoder.checkpoint, tuned.PRECISION)
        made: Path = candidate.encoder.folder  # type: ignore[attr-defined]
        facts = facts | {"reference": self._encoder.reference}
        return tuned.install(self._encoder.cache_dir / "engines", manifest, made, facts)
