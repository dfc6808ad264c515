"""Quantized layers rewritten as convolutions: the same results, by other code of OpenVINO's."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

openvino = pytest.importorskip("openvino", reason="OpenVINO has no wheel for this machine")

from openvino import opset13 as ops  # noqa: E402

from siglipcli.encoders.pointwise import as_convolutions  # noqa: E402

TOKENS, WIDTH = 9, 16
RNG = np.random.default_rng(0)


def weights(out: int, of: int, *, half: bool = False) -> Any:
    """Int8 weights with a scale a channel, as NNCF writes them; scales of float16 where `half`."""
    values = RNG.integers(-127, 128, (out, of), np.int8)
    scales = RNG.uniform(0.001, 0.01, (out, 1)).astype(np.float16 if half else np.float32)
    kept = ops.constant(scales)
    scale = ops.convert(kept, np.float32) if half else kept
    return ops.multiply(ops.convert(ops.constant(values), np.float32), scale)


def quantized(node: Any) -> Any:
    low, high = np.float32(-3), np.float32(3)
    return ops.fake_quantize(node, low, high, low, high, 256)


def layer(node: Any, out: int, of: int, **options: bool) -> Any:
    product = ops.matmul(quantized(node), weights(out, of, **options), False, True)
    return ops.add(product, RNG.normal(size=(1, 1, out)).astype(np.float32))


def block(shape: list[int], *, half: bool = False) -> Any:
    """A residual block of a transformer: two layers with GELU and a smoothing between them."""
    rows = ops.parameter(shape, np.float32)
    hidden = ops.gelu(layer(rows, 4 * WIDTH, WIDTH, half=half), "tanh")
    smooth = ops.multiply(hidden, RNG.uniform(0.5, 2, (1, 1, 4 * WIDTH)).astype(np.float32))
    return openvino.Model([ops.add(rows, layer(smooth, WIDTH, 4 * WIDTH, half=half))], [rows])


def kinds(model: Any) -> Counter[str]:
    return Counter(node.get_type_name() for node in model.get_ordered_ops())


def results(model: Any, *inputs: Any) -> Any:
    exact = {"INFERENCE_PRECISION_HINT": "f32"}
    return openvino.Core().compile_model(model, "CPU", exact)(list(inputs))[0]


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("count", [1, 3])
def test_results_stay(count: int, *, half: bool) -> None:
    """But for roundings, of weights to 7 bits on some processors too: any batch size, either precision."""
    model = block([-1, TOKENS, WIDTH], half=half)
    rows = RNG.normal(size=(count, TOKENS, WIDTH)).astype(np.float32)
    before = results(model, rows)
    assert as_convolutions(model) == 2
    after = results(model, rows)
    assert after.shape == before.shape == (count, TOKENS, WIDTH)
    assert np.abs(before - rows).mean() > 0.1
    assert np.abs(after - before).mean() < 0.03 * np.abs(before - rows).mean()


def test_what_follows_goes_along() -> None:
    """Between two layers nothing goes back to rows: only the block's input and output are turned."""
    model = block([-1, TOKENS, WIDTH])
    as_convolutions(model)
    assert kinds(model)["MatMul"] == 0
    assert kinds(model)["Convolution"] == 2
    assert kinds(model)["Transpose"] == 2


def test_a_layer_that_several_read(tmp_path: Any) -> None:
    """Each reader gets rows; the graph can be written and read again."""
    rows = ops.parameter([-1, TOKENS, WIDTH], np.float32)
    hidden = layer(rows, WIDTH, WIDTH)
    model = openvino.Model([ops.add(ops.gelu(hidden, "erf"), ops.sigmoid(hidden))], [rows])
    values = RNG.normal(size=(2, TOKENS, WIDTH)).astype(np.float32)
    before = results(model, values)
    assert as_convolutions(model) == 1
    openvino.save_model(model, tmp_path / "model.xml", compress_to_fp16=False)
    after = results(tmp_path / "model.xml", values)
    assert np.abs(after - before).mean() < 0.03 * np.abs(before).mean()


def _of_two_tensors() -> Any:
    one, other = (ops.parameter([-1, TOKENS, WIDTH], np.float32) for _ in range(2))
    return openvino.Model([ops.matmul(one, other, False, True)], [one, other])


def _of_floats() -> Any:
    rows = ops.parameter([-1, TOKENS, WIDTH], np.float32)
    values = np.ones((WIDTH, WIDTH), np.float32)
    return openvino.Model([ops.matmul(rows, ops.constant(values), False, True)], [rows])


def _of_a_scale_for_all() -> Any:
    rows = ops.parameter([-1, TOKENS, WIDTH], np.float32)
    values = ops.convert(ops.constant(np.ones((WIDTH, WIDTH), np.int8)), np.float32)
    scaled = ops.multiply(values, np.float32(0.1))
    return openvino.Model([ops.matmul(rows, scaled, False, True)], [rows])


def _of_any_length() -> Any:
    return block([-1, -1, WIDTH])


def _of_single_rows() -> Any:
    rows = ops.parameter([-1, WIDTH], np.float32)
    return openvino.Model([ops.matmul(rows, weights(WIDTH, WIDTH), False, True)], [rows])


@pytest.mark.parametrize(
    "make", [_of_two_tensors, _of_floats, _of_a_scale_for_all, _of_any_length, _of_single_rows]
)
def test_what_is_no_such_layer_stays(make: Any) -> None:
    """Attention, layers left at higher precision, token counts that vary."""
    model = make()
    before = kinds(model)
    assert as_convolutions(model) == 0
    assert kinds(model) == before
