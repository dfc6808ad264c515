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
    give_headroom(model)
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
    give_headroom(model)
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


@pytest.mark.parametrize("has_other_reader", [False, True])
def test_a_quantizer_that_several_read(*, has_other_reader: bool) -> None:
    """It changes once, and each of its readers gets what it got: layers, and what is none."""
    rows = ops.parameter([-1, TOKENS, WIDTH], np.float32)
    shared = quantizer(rows, -1.0, 1.0)
    readers = [product(shared, np.eye(WIDTH)) for _ in range(2)]
    if has_other_reader:
        readers.append(ops.relu(shared))
    model = openvino.Model(readers, [rows])
    give_headroom(model)
    values = np.linspace(-1, 1, TOKENS * WIDTH, dtype=np.float32).reshape(1, TOKENS, WIDTH)
    exact = {"INFERENCE_PRECISION_HINT": "f32"}
    found = openvino.Core().compile_model(model, "CPU", exact)(values)
    for i, expected in enumerate([values, values, np.maximum(values, 0)][: len(readers)]):
        assert np.abs(found[i] - expected).max() <= 1 / 120
    assert [ends(node) for node in quantizers(model)] == [pytest.approx((-64 / 63, 191 / 63))]


def test_what_feeds_no_layer_stays() -> None:
    """Attention has no weights."""
    rows = ops.parameter([-1, TOKENS, WIDTH], np.float32)
    node = quantizer(rows, -1.0, 1.0)
    model = openvino.Model([ops.matmul(node, node, False, True)], [rows])
    give_headroom(model)
    assert [ends(node) for node in quantizers(model)] == [(-1.0, 1.0)]


@pytest.mark.parametrize("low", [0.0, -0.17, -1.0])
def test_no_zero_point_is_left(low: float) -> None:
    """What a layer reads begins at zero: OpenVINO would work the others out anew at each start."""
    model = one_layer(low, 1.0, np.eye(WIDTH))
    give_headroom(model)
    (node,) = quantizers(model)
    assert node.input_value(3).get_node().data.item() == 0


def quantizers(model: Any) -> list[Any]:
    return [node for node in model.get_ordered_ops() if node.get_type_name() == "FakeQuantize"]


def ends(quantizer: Any) -> tuple[float, float]:
    low, high = (quantizer.input_value(i).get_node().data.item() for i in (1, 2))
    return low, high
