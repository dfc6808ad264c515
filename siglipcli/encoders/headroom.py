"""Quantized activations in the lower half of their 8 bits, so that no sum of products saturates.

Processors without instructions for 8-bit products (VNNI, AMX) add two products in 16 bits: 255 · 127 + 255 · 127 does
not fit there, 127 · 127 + 127 · 127 does. Such sums would be cut off without a word, which costs more than a bit does;
figures are in benchmarks/notes.md. The upper half stays for values that calibration did not see: they are not cut off
at twice the range either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from siglipcli.encoders.openvino_runtime import library

if TYPE_CHECKING:
    from collections.abc import Container

    from numpy.typing import NDArray

__all__ = ["give_headroom"]

_TOP, _LIMIT = 127, 255  # the highest value of calibration, and of 8 bits
_LOW_INPUTS, _HIGH_INPUTS = (1, 3), (2, 4)  # of a FakeQuantize


def give_headroom(model: Any, layers: Container[str]) -> None:
    """Rescale what quantizes the inputs of matrix products in place: their range takes 128 of 256 levels, from the lowest on.

    `layers` are the names of products with weights. Zero stays a level of its own, so that what is 0 stays 0. The first
    convolution of a tower is left alone: its pixels are 8 bits as they are, and NNCF keeps its weights to 7.
    """
    for node in model.get_ordered_ops():
        if node.get_type_name() == "FakeQuantize" and _feeds(node, layers):
            _rescale(node)


def _feeds(quantizer: Any, layers: Container[str]) -> bool:
    readers = [reader.get_node() for reader in quantizer.output(0).get_target_inputs()]
    return any(
        reader.get_type_name() == "MatMul" and reader.get_friendly_name() in layers
        for reader in readers
    )


def _rescale(quantizer: Any) -> None:
    library()
    from openvino import opset13

    low, high = _range(_constant(quantizer, 1), _constant(quantizer, 2))
    for places, values in ((_LOW_INPUTS, low), (_HIGH_INPUTS, high)):
        for place in places:
            quantizer.input(place).replace_source_output(opset13.constant(values).output(0))
    quantizer.validate_and_infer_types()


def _range(
    low: NDArray[np.float32], high: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the range of 256 levels of which the first 128 hold `low` to `high` and zero."""
    low, high = np.minimum(low, 0.0), np.maximum(high, 0.0)
    width = np.maximum(high - low, np.finfo(np.float32).tiny)
    zero = np.clip(np.rint(-low / width * _TOP), low < 0, _TOP - (high > 0))
    step = np.maximum(-low / np.maximum(zero, 1), high / np.maximum(_TOP - zero, 1))
    return (-zero * step).astype(np.float32), ((_LIMIT - zero) * step).astype(np.float32)


def _constant(node: Any, place: int) -> NDArray[np.float32]:
    source = node.input_value(place).get_node()
    if source.get_type_name() == "Convert":  # stored as float16
        source = source.input_value(0).get_node()
    return source.data.astype(np.float32)  # type: ignore[no-any-return]
