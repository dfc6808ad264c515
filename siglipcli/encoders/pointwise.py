"""Quantized layers as convolutions of one pixel: the same arithmetic, which some processors do faster.

OpenVINO has two kinds of code for 8-bit layers. On processors without instructions for them (VNNI, AMX) that for matrix
products (oneDNN's gemm) is slower than 32-bit floats, and that for convolutions about twice as fast; figures are in
benchmarks/notes.md. Elsewhere it may be the other way round, so `workshop` times both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from siglipcli.encoders.int8_layers import constant_of, weights_of
from siglipcli.encoders.openvino_library import operations

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

__all__ = ["as_convolutions"]

_CHANNELS_FIRST, _CHANNELS_LAST = (0, 3, 1, 2), (0, 2, 3, 1)
_BY_CHANNEL = {"Add", "Multiply", "Gelu", "FakeQuantize"}


def as_convolutions(model: Any) -> int:
    """Rewrite an OpenVINO model in place; return how many layers were rewritten.

    A layer is the product of float[n, tokens, channels] with 8-bit weights by channel. What follows it channel by
    channel (bias, GELU, the quantizer of the next layer) goes along, so that OpenVINO can fuse it.
    """
    rewriter = _Rewriter()
    for node in model.get_ordered_ops():
        rewriter.rewrite(node)
    model.validate_nodes_and_infer_types()
    return rewriter.count


class _Rewriter:
    """One pass over a model, in the order of its nodes.

    Rows are float[n, tokens, channels], feature maps float[n, channels, tokens, 1].
    """

    def __init__(self) -> None:
        self._ops = operations()
        self._maps: dict[str, Any] = {}  # by the name of the node that makes rows of one
        self.count = 0

    def rewrite(self, layer: Any) -> None:
        """Rewrite a product, if it is such a layer."""
        weights = weights_of(layer)
        tokens = _tokens(layer) if weights else None
        if weights is None or tokens is None:
            return
        values, scales = weights
        source = self._map_of(layer.input_value(0), tokens)
        convolution = self._convolution(source, values, scales)
        convolution.set_friendly_name(layer.get_friendly_name())
        self._put(convolution, layer, tokens)
        self.count += 1

    def _map_of(self, rows: Any, tokens: int) -> Any:
        """Return the output that has rows as a feature map."""
        name = rows.get_node().get_name()
        if name in self._maps:
            return self._maps[name]
        channels = rows.get_partial_shape()[2].get_length()
        grid = self._ops.reshape(rows, np.array([-1, tokens, 1, channels]), special_zero=False)
        return self._ops.transpose(grid, np.array(_CHANNELS_FIRST)).output(0)

    def _convolution(
        self, source: Any, values: NDArray[np.int8], scales: NDArray[np.float32]
    ) -> Any:
        ops = self._ops
        kernel = ops.convert(ops.constant(values[:, :, None, None]), np.float32)
        kernel = ops.multiply(kernel, ops.constant(scales[:, :, None, None]))
        return ops.convolution(source, kernel, [1, 1], [0, 0], [0, 0], [1, 1])

    def _put(self, convolution: Any, layer: Any, tokens: int) -> None:
        """Put a convolution into a layer's place, and before all that follows by channel."""
        channels = convolution.get_output_partial_shape(0)[1].get_length()
        last, readers = convolution, layer.output(0).get_target_inputs()
        while (following := _following(readers, channels)) is not None:
            for reader in readers:
                reader.replace_source_output(last.output(0))
            for place, values in _constants(following).items():
                constant = self._ops.constant(_for_map(values))
                following.input(place).replace_source_output(constant.output(0))
            following.validate_and_infer_types()
            last, readers = following, following.output(0).get_target_inputs()
        rows = self._ops.transpose(last, np.array(_CHANNELS_LAST))
        rows = self._ops.reshape(rows, np.array([-1, tokens, channels]), special_zero=False)
        for reader in readers:
            reader.replace_source_output(rows.output(0))
        self._maps[rows.get_name()] = last.output(0)


def _following(readers: Iterable[Any], channels: int) -> Any:
    """Return the one node that reads, if it works by channel."""
    nodes = [reader.get_node() for reader in readers]
    return nodes[0] if len(nodes) == 1 and _is_by_channel(nodes[0], channels) else None


def _tokens(layer: Any) -> int | None:
    """Return the fixed number of tokens of a product of float[n, tokens, channels], if it is one."""
    shape = layer.input_value(0).get_partial_shape()
    if shape.rank.is_dynamic or len(shape) != 3 or shape[1].is_dynamic:  # noqa: PLR2004
        return None
    return shape[1].get_length()  # type: ignore[no-any-return]


def _constants(node: Any) -> dict[int, NDArray[np.float32]]:
    """Return the constants that a node takes, by the number of the input."""
    values = ((i, constant_of(node.input_value(i))) for i in range(node.get_input_size()))
    return {i: value for i, value in values if value is not None}


def _is_by_channel(node: Any, channels: int) -> bool:
    """Whether a node takes one tensor, and constants that are scalars or have a value for each channel."""
    if node.get_type_name() not in _BY_CHANNEL:
        return False
    constants = _constants(node)
    return len(constants) == node.get_input_size() - 1 and all(
        values.size == 1 or values.shape[-1] == values.size == channels
        for values in constants.values()
    )


def _for_map(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a constant for rows, [1, 1, channels], as one for feature maps, [1, channels, 1, 1]."""
    return values.reshape(1, -1, 1, 1) if values.size > 1 else values
