"""How NNCF writes layers with 8-bit weights in an OpenVINO graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from typing import TypeAlias

    from numpy.typing import NDArray

    Weights: TypeAlias = tuple[NDArray[np.int8], NDArray[np.float32]]
    """int8[out, in], and scales, float32[out, 1]."""

__all__ = ["constant_of", "weights_of"]


def weights_of(layer: Any) -> Weights | None:
    """Return 8-bit weights, int8[out, in], and their scales, float32[out, 1], where a node is a product with them."""
    if layer.get_type_name() != "MatMul":
        return None
    attributes = layer.get_attributes()
    scaled = layer.input_value(1).get_node()
    if (
        attributes["transpose_a"]
        or not attributes["transpose_b"]
        or scaled.get_type_name() != "Multiply"
    ):
        return None
    values, scales = scaled.input_value(0).get_node(), constant_of(scaled.input_value(1))
    if values.get_type_name() != "Convert" or scales is None:
        return None
    values = values.input_value(0).get_node()
    if values.get_type_name() != "Constant" or values.get_element_type().to_dtype() != np.int8:
        return None
    values = values.data
    if values.ndim != 2 or scales.shape != (len(values), 1):  # noqa: PLR2004
        return None
    return values, scales


def constant_of(output: Any) -> NDArray[np.float32] | None:
    """Return the values of a constant of floats, which may be stored as float16; None for another node."""
    node = output.get_node()
    if node.get_type_name() == "Convert":
        node = node.input_value(0).get_node()
    if node.get_type_name() != "Constant":
        return None
    values = node.data
    return values.astype(np.float32) if values.dtype.kind == "f" else None
