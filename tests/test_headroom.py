"""Quantized activations with headroom: what products with 8-bit weights give is right on every processor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

openvino = pytest.importorskip("openvino", reason="OpenVINO has no wheel for this machine")

from openvino import opset13 as ops  # noqa: E402

from siglipcli.encoders.headroom import give_headroom  # noqa: E402
from siglipcli.encoders.int8_layers import constant_of, weights_of  # noqa: E402
from siglipcli.encoders.pointwise import as_convolutions  # noqa: E402

if TYPE_CHECKING:
    from pathlib import Path

TOKENS, WIDTH = 8, 64
RNG = np.random.default_rng(0)


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
    return openvino.Model([product(quantizer(rows, low, high, kind), values)], [rows])


def results(model: Any, rows: Any) -> Any:
    exact = {"INFERENCE_PRECISION_HINT": "f32"}
    return openvino.Core().compile_model(model, "CPU", exact)(rows)[0]


def quantized(low: Any, high: Any, rows: Any, kind: Any = np.float32) -> Any:
    """What a layer's quantizer makes of rows, by a layer that changes nothing."""
    model = one_layer(low, high, np.eye(rows.shape[-1]), kind)
    assert give_headroom(model) == 1
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
    after = quantized(low, high, rows, kind)
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
    outputs = openvino.Core().compile_model(model, "CPU", exact)(values)
    for i, expected in enumerate([values, values, np.maximum(values, 0)][: len(readers)]):
        assert np.abs(outputs[i] - expected).max() <= 1 / 120
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


def test_halves_of_floats_keep_the_results(tmp_path: Path) -> None:
    """Stored as float16, a large shift of a layer whose weights do not cancel out costs a thousandth of it."""
    values = RNG.integers(0, 128, (WIDTH, WIDTH))
    rows = RNG.uniform(-1, 1, (1, TOKENS, WIDTH)).astype(np.float32)
    model = one_layer(-1.0, 1.0, values)
    give_headroom(model)
    expected = results(model, rows)
    openvino.save_model(model, tmp_path / "half.xml", compress_to_fp16=True)
    shift = values.sum(axis=1).max()
    assert np.abs(results(tmp_path / "half.xml", rows) - expected).max() <= 0.002 * shift


@pytest.mark.full
@pytest.mark.parametrize("weights", ["fp32", "fp16"])
def test_layers_that_nncf_quantizes(weights: str, tmp_path: Path) -> None:
    """All of a small transformer's layers get headroom, in both forms, whatever floats are stored as."""
    pytest.importorskip("nncf", reason="NNCF has no wheel for this machine")
    from siglipcli.encoders.quantize import Recipe, forms, quantize

    openvino.save_model(transformer(), tmp_path / "exact.xml", compress_to_fp16=weights == "fp16")
    pixels = RNG.integers(0, 256, (24, SIZE, SIZE, 3), np.uint8)
    np.save(tmp_path / "pixels.npy", pixels)
    made = tmp_path / "made"
    made.mkdir()
    quantize(tmp_path / "exact.xml", tmp_path / "pixels.npy", 16, Recipe(0.6), weights, made)
    folders = forms(made)
    assert set(folders) == {"products", "convolutions"}
    model = openvino.Core().read_model(made / "image.xml")
    layers = [node for node in model.get_ordered_ops() if weights_of(node)]
    assert len(layers) == 2 * BLOCKS
    for layer in layers:
        node = layer.input_value(0).get_node()
        assert constant_of(node.input_value(3)) == 0
    fresh = pixels[16:]
    exact = np.concatenate([results(tmp_path / "exact.xml", image[None]) for image in fresh])
    for folder in folders.values():
        rows = np.concatenate([results(folder / "image.xml", image[None]) for image in fresh])
        assert np.median((rows * exact).sum(axis=1)) > 0.995


SIZE, BLOCKS = 16, 3


def transformer() -> Any:
    """uint8[n, 16, 16, 3] → unit rows: residual blocks of two layers over 64 tokens, as in a ViT."""
    image = ops.parameter([-1, SIZE, SIZE, 3], np.uint8)
    scaled = ops.divide(ops.convert(image, np.float32), np.float32(128))
    node = ops.reshape(scaled, np.array([-1, 64, 12]), special_zero=False)
    node = ops.matmul(node, random(12, WIDTH), False, False)
    for _ in range(BLOCKS):
        normal = ops.mvn(node, np.array([2]), True, 1e-6, "inside_sqrt")
        hidden = ops.gelu(ops.matmul(normal, random(2 * WIDTH, WIDTH), False, True), "tanh")
        node = ops.add(node, ops.matmul(hidden, random(WIDTH, 2 * WIDTH), False, True))
    rows = ops.reduce_mean(ops.mvn(node, np.array([2]), True, 1e-6, "inside_sqrt"), np.array([1]))
    return openvino.Model([ops.normalize_l2(rows, np.array([1]), 1e-12, "add")], [image])


def random(*shape: int) -> Any:
    return ops.constant((RNG.normal(size=shape) / np.sqrt(shape[-1])).astype(np.float32))
