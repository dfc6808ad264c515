"""Quantized activations in the lower half of 8 bits, without a sign: their products with weights do not saturate.

Processors without instructions for 8-bit products (VNNI, AMX) add two products in 16 bits: 255 · 127 + 255 · 127 does
not fit there, 127 · 127 + 127 · 127 does. Sums that do not fit are cut off, which costs more than a bit does; figures
are in benchmarks/notes.md. The upper half is for values that calibration did not see: up to twice the range they keep
their size, though there sums may saturate.

Values below zero are shifted up, and what that adds to a product is taken off its result: weights stay, so it is a
constant. OpenVINO would do the same with a zero point, and works that out anew whenever it loads the tower, half a
second for ViT-B-16-SigLIP-384.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from siglipcli.encoders.int8_layers import constant_of, weights_of
from siglipcli.encoders.openvino_library import operations

if TYPE_CHECKING:
    from siglipcli.encoders.int8_layers import Weights

__all__ = ["give_headroom"]

_TOP, _LIMIT = 127, 255  # the highest value of calibration, and of 8 bits
_LEAST = 1e-30  # width of a range


def give_headroom(model: Any) -> int:
    """Rescale the quantizers of what products with weights read, in place; return how many.

    Their range takes 128 of 256 levels, from the lowest on. Zero stays a level of its own, so that what is 0 stays 0.
    Convolutions are left alone: a ViT has one, whose pixels are 8 bits as they are, and NNCF keeps its weights to 7.
    """
    count = 0
    for node in model.get_ordered_ops():
        if node.get_type_name() != "FakeQuantize":
            continue
        readers = [reader.get_node() for reader in node.output(0).get_target_inputs()]
        layers = [(reader, weights) for reader in readers if (weights := weights_of(reader))]
        low, high = _value(node, 1), _value(node, 2)
        if layers and low is not None and high is not None:
            _rescale(node, _range(low, high), layers, keeps_sign=len(layers) < len(readers))
            count += 1
    model.validate_nodes_and_infer_types()
    return count


def _rescale(
    quantizer: Any,
    bounds: tuple[float, float],
    layers: list[tuple[Any, Weights]],
    *,
    keeps_sign: bool,
) -> None:
    """Give a quantizer other bounds; without a sign its `layers`, with their weights, make up for the shift."""
    low, high = bounds
    shift = 0.0 if keeps_sign else -low
    for place, value in enumerate((low, high, low + shift, high + shift), 1):
        _set(quantizer, place, value)
    if shift:
        for layer, weights in layers:
            _compensate(layer, weights, shift)


def _range(low: float, high: float) -> tuple[float, float]:
    """Return the range of 256 levels of which the first 128 hold `low` to `high` and zero."""
    low, high = min(low, 0.0), max(high, 0.0)
    width = max(high - low, _LEAST)
    zero = min(max(round(-low / width * _TOP), int(low < 0)), _TOP - int(high > 0))
    step = max(-low / max(zero, 1), high / max(_TOP - zero, 1), _LEAST / _TOP)
    return -zero * step, (_LIMIT - zero) * step


def _compensate(layer: Any, weights: Weights, shift: float) -> None:
    """Take off a layer's result what inputs that are larger by `shift` add to it."""
    ops = operations()
    values, scales = weights
    excess = shift * values.sum(axis=1, dtype=np.int64) * scales[:, 0]  # (out,)
    readers = layer.output(0).get_target_inputs()
    rank = len(layer.get_output_partial_shape(0))
    correction = ops.constant(-excess.astype(np.float32).reshape(*[1] * (rank - 1), -1))
    corrected = ops.add(layer, correction)
    for reader in readers:
        reader.replace_source_output(corrected.output(0))


def _value(quantizer: Any, place: int) -> float | None:
    """Return a bound; None where it is not one number for all channels."""
    values = constant_of(quantizer.input_value(place))
    return float(values.item()) if values is not None and values.size == 1 else None


def _set(quantizer: Any, place: int, value: float) -> None:
    shape = list(quantizer.input_value(place).get_shape())
    constant = operations().constant(np.full(shape, value, np.float32))
    quantizer.input(place).replace_source_output(constant.output(0))
