"""From an engine's image tower to one in 8-bit integers, by NNCF's post-training quantization. Run in a process of its own.

The scheme is NNCF's for transformers: activations by their range over images (mixed preset), weights by channel,
SmoothQuant (Xiao et al. 2022, arXiv 2211.10438) moving the outliers of activations into the weights by `alpha`. The range
is that of all images, not the mean of theirs, and the layers' takes half of the 8 bits: see `headroom`.
"""

from __future__ import annotations

import logging
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from siglipcli import files
from siglipcli.encoders.headroom import give_headroom
from siglipcli.encoders.openvino_library import core, library
from siglipcli.encoders.pointwise import as_convolutions

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["Layers", "Recipe", "forms", "quantize", "read_layers"]

_NOTE = "layers.json"
_RANKED_ON = 4  # images
_CONVOLUTIONS = "convolutions"
_POOL = "attn_pool"  # timm's name for attention pooling


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a tower is quantized: SmoothQuant's `alpha`, and the names of layers `left` at higher precision."""

    alpha: float
    left: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Layers:
    """The layers of a quantized tower: all of them in order, and those that may be worth leaving out.

    `ends` are the first, the last and the attention pool; `worst` are the quantized ones, the largest error first.
    `smoothed` counts those that SmoothQuant changed.
    """

    every: tuple[str, ...]
    ends: tuple[str, ...]
    worst: tuple[str, ...]
    smoothed: int


def quantize(
    graph: Path, pixels: Path, count: int, recipe: Recipe, weights: str, folder: Path
) -> None:
    """Quantize the tower `graph` on the first `count` images of `pixels` and write it into `folder` as image.xml.

    `pixels` is an .npy file, uint8[n, size, size, 3]; the graph that is written takes one image. What is not quantized
    keeps its `weights`, fp32 or fp16. The same tower with layers as convolutions goes into a folder of `folder`, and
    notes of the layers beside it, for `forms` and `read_layers`. Raises what NNCF and OpenVINO raise.
    """
    images = np.load(pixels, mmap_mode="r")[:count]
    model = core().read_model(graph)
    ordered = _layers(model)
    with _without_torch():
        quantized = _quantized(model, images, recipe)
    errors = _errors(quantized, images[:_RANKED_ON])  # before the shift that headroom brings
    give_headroom(quantized)
    _fix_batch(quantized)
    note = {
        "every": ordered,
        "ends": _ends(ordered),
        "worst": sorted(errors, key=errors.__getitem__, reverse=True),
        "smoothed": sum(map(_is_smoothing, quantized.get_ops())),
    }
    files.write_note(folder / _NOTE, note)
    _save(quantized, folder, weights)
    if as_convolutions(quantized):
        (folder / _CONVOLUTIONS).mkdir(mode=0o700)
        _save(quantized, folder / _CONVOLUTIONS, weights)


def _fix_batch(model: Any) -> None:
    """Make it a model of one image at a time: OpenVINO computes its 8-bit layers a tenth faster so."""
    shape = model.input(0).get_partial_shape()
    shape[0] = 1
    model.reshape(shape)


def _save(model: Any, folder: Path, weights: str) -> None:
    library().save_model(model, folder / "image.xml", compress_to_fp16=weights == "fp16")


def forms(folder: Path) -> dict[str, Path]:
    """Return the folders of the same tower by how its layers are computed: `products`, and `convolutions` if written."""
    written = {"products": folder, _CONVOLUTIONS: folder / _CONVOLUTIONS}
    return {name: path for name, path in written.items() if (path / "image.xml").exists()}


def read_layers(folder: Path) -> Layers:
    """Return what `quantize` noted of the layers."""
    note = files.read_note(folder / _NOTE)
    names = {key: tuple(note[key]) for key in ("every", "ends", "worst")}
    return Layers(**names, smoothed=note["smoothed"])


@contextmanager
def _without_torch() -> Iterator[None]:
    """Keep NNCF from importing torch, which it needs for torch's models only: 0.5 GB and seconds."""
    if "torch" in sys.modules:
        yield
        return
    sys.modules["torch"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules["torch"]


def _quantized(model: Any, images: NDArray[np.uint8], recipe: Recipe) -> Any:
    import nncf
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    logging.getLogger("nncf").setLevel(logging.ERROR)
    smooth = nncf.AdvancedSmoothQuantParameters(matmul=recipe.alpha)
    return nncf.quantize(
        model,
        nncf.Dataset(images, lambda image: image[None]),
        model_type=nncf.ModelType.TRANSFORMER,
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(images),
        ignored_scope=nncf.IgnoredScope(names=list(recipe.left), validate=False),
        advanced_parameters=nncf.AdvancedQuantizationParameters(
            activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX,
            smooth_quant_alphas=smooth,
        ),
    )


def _layers(model: Any) -> list[str]:
    """Return the names of what multiplies by weights, in order."""
    kinds = {"MatMul", "Convolution", "GroupConvolution"}
    nodes = [node for node in model.get_ordered_ops() if node.get_type_name() in kinds]
    return [node.get_friendly_name() for node in nodes if _has_weights(node)]


def _is_smoothing(node: Any) -> bool:
    return node.get_type_name() == "Multiply" and "smooth_quant" in node.get_friendly_name()


def _has_weights(node: Any) -> bool:
    source = node.input_value(1).get_node()
    while source.get_type_name() in {"Convert", "Multiply", "Subtract", "Reshape", "Transpose"}:
        source = source.input_value(0).get_node()
    return bool(source.get_type_name() == "Constant")


def _ends(ordered: list[str]) -> list[str]:
    pool = [name for name in ordered if _POOL in name]
    return list(dict.fromkeys([*ordered[:1], *pool, *ordered[-1:]]))


def _errors(model: Any, images: NDArray[np.uint8]) -> dict[str, float]:
    """Return layer → the error of its quantized input on images, as a part of the input's power."""
    probed = model.clone()
    nodes = list(_quantizers(probed))
    for _, node in nodes:
        probed.add_outputs([node.input_value(0), node.output(0)])
    compiled = core().compile_model(probed, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    noise, power = np.zeros(len(nodes)), np.zeros(len(nodes))
    for image in images:
        rows = list(compiled(image[None]).values())[-2 * len(nodes) :]
        for i, (exact, rounded) in enumerate(zip(rows[::2], rows[1::2], strict=True)):
            noise[i] += np.square(rounded - exact, dtype=np.float64).sum()
            power[i] += np.square(exact, dtype=np.float64).sum()
    parts = noise / np.maximum(power, 1e-30)
    errors: dict[str, float] = {}
    for (layer, _), part in zip(nodes, parts.tolist(), strict=True):
        errors[layer] = max(part, errors.get(layer, 0.0))
    return errors


def _quantizers(model: Any) -> Iterator[tuple[str, Any]]:
    """Yield each quantizer of activations, with the layer that takes what it gives."""
    layers = set(_layers(model))
    for node in model.get_ordered_ops():
        if node.get_type_name() != "FakeQuantize":
            continue
        for target in node.output(0).get_target_inputs():
            name = target.get_node().get_friendly_name()
            if name in layers:
                yield name, node
