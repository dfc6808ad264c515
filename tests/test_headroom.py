"""Quantized activations with headroom: what products with 8-bit weights give is right on every processor."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

openvino = pytest.importorskip("openvino", reason="OpenVINO has no wheel for this machine")

from openvino import opset13 as ops  # noqa: E402

from siglipcli.encoders.headroom import give_headroom  # noqa: E402
from siglipcli.encoders.pointwise import as_convolutions  # noqa: E402

TOKENS, WIDTH = 8, 64


def quantizer(node: Any, low: Any, high: Any, kind: Any = np.float32) -> Any:
    ends = [ops.constant(np.asarray(end, kind)) for end in (low, high)]
    if kind is np.float16:
        ends = [ops.convert(end, np.float32) for end in ends]
    return ops.fake_quantize(node, *ends, *ends, 256)


def product(node: Any, values: Any) -> Any:
    """The product with int8 weights of scale 1, as NNCF writes them."""
    scale = ops.constant(np.ones((len(values), 1), np.float32))
    weights = ops.multiply(ops.convert(ops.constant(values.astype(np.int8)), np.float32), scale)
    return ops.matmul(node, weights, False, True)


def one_layer(low: Any, high: Any, values: Any, kind: Any = np.float32) -> Any:
    rows = ops.parameter([-1, TOKENS, values.shape[1]], np.float32)
    layer = product(quantizer(rows, low, high, kind), values)
    layer.set_friendly_name("layer")
    return openvino.Model([layer], [rows])


def results(model: Any, rows: Any) -> Any:
    exact = {"INFERENCE_PRECISION_HINT": "f32"}
    return openvino.Core().compile_model(model, "CPU", exact)(rows)[0]


def quantized(low: Any, high: Any, rows: Any) -> Any:
    """What a layer's quantizer makes of rows, by a layer that changes nothing."""
    model = one_layer(low, high, np.eye(rows.shape[-1]))
    give_headroom(model, ["layer"])
    return results(model, rows)


@pytest.mark.parametrize("is_convolution", [False, True])
@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-1.0, 1.0), (-0.17, 4.0)])
def test_the_largest_products_are_summed_exactly(
    low: float, high: float, *, is_convolution: bool
) -> None:
    """All activations at the end of their range and all weights at theirs: nothing is cut off at 16 bits."""
    values = np.full((WIDTH, WIDTH), 127)
    values[::2] = -127
    model = one_layer(low, high, values)
    give_headroom(model, ["layer"])
    if is_convolution:
        assert as_convolutions(model) == 1
    for end in {low, high}:
        rows = np.full((1, TOKENS, WIDTH), end, np.float32)
        expected = rows @ values.T.astype(np.float32)
        step = (high - low) / 127
        assert np.abs(results(model, rows) - expected).max() <= step * 127 * WIDTH


@pytest.mark.parametrize("kind", [np.float16, np.float32])
@pytest.mark.parametrize(
    ("low", "high"), [(0.0, 1.0), (-1.0, 1.0), (-0.17, 4.0), (-3.0, 0.0), (-2.5, 0.001)]
)
def test_values_keep_their_place(low: float, high: float, kind: Any) -> None:
    """Within the range to half a level of 128, beyond it up to as much again, and zero exactly."""
    rows = np.linspace(low, high, TOKENS * WIDTH, dtype=np.float32).reshape(1, TOKENS, WIDTH)
    rows[0, 0, 0] = 0
    step = (high - low) / 120  # ends move to where zero is a level
    after = quantized(kind(low), kind(high), rows)
    assert np.abs(after - rows).max() <= 0.5 * step + 0.001
    assert abs(after[0, 0, 0]) < 1e-6
    assert len(np.unique(after)) <= 128
    beyond = np.full((1, TOKENS, WIDTH), high + 0.9 * (high - low), np.float32)
    assert np.abs(quantized(low, high, beyond) - beyond).max() <= step


def test_a_quantizer_that_several_read_changes_once() -> None:
    """The same range for all; those that feed no layer stay as they are."""
    rows = ops.parameter([-1, TOKENS, WIDTH], np.float32)
    shared = quantizer(rows, -1.0, 1.0)
    other = quantizer(rows, -1.0, 1.0)
    layers = [product(shared, np.eye(WIDTH)) for _ in range(2)]
    for layer, name in zip(layers, "ab", strict=True):
        layer.set_friendly_name(name)
    model = openvino.Model([*layers, ops.matmul(other, other, False, True)], [rows])
    give_headroom(model, ["a", "b"])
    ranges = [
        (node.input_value(1).get_node().data.item(), node.input_value(2).get_node().data.item())
        for node in model.get_ordered_ops()
        if node.get_type_name() == "FakeQuantize"
    ]
    step = 1 / 63
    assert sorted(ranges) == [
        (pytest.approx(-64 * step), pytest.approx(191 * step)),
        (-1.0, 1.0),
    ]
