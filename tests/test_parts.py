"""Graphs in parts: the same results, with the weights of one part in memory at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

openvino = pytest.importorskip("openvino", reason="OpenVINO has no wheel for this machine")

from openvino import opset13 as ops  # noqa: E402

from siglipcli.encoders.parts import in_parts  # noqa: E402

WIDTH, LAYERS = 16, 6
LAYER = 2 * 4 * WIDTH * WIDTH  # bytes: two float32 matrices


def weights(rng: np.random.Generator) -> Any:
    return ops.constant((rng.normal(size=(WIDTH, WIDTH)) / 4).astype(np.float32))


def tower(*, shared: bool = False) -> Any:
    """Residual layers of two products; `shared`: all with the same first matrix."""
    rng = np.random.default_rng(0)
    rows = ops.parameter([-1, 3, WIDTH], np.float32)
    common = weights(rng)
    node = rows
    for _ in range(LAYERS):
        hidden = ops.relu(ops.matmul(node, common if shared else weights(rng), False, True))
        node = ops.add(node, ops.matmul(hidden, weights(rng), False, True))
    return openvino.Model([ops.reduce_mean(node, [1])], [rows])


def weight_bytes(model: Any) -> int:
    return sum(n.get_byte_size() for n in model.get_ops() if n.get_type_name() == "Constant")


def results(models: list[Any], rows: Any) -> Any:
    exact = {"INFERENCE_PRECISION_HINT": "f32"}
    for model in models:
        rows = openvino.Core().compile_model(model, "CPU", exact)({0: rows})[0]
    return rows


@pytest.mark.parametrize(
    ("most", "count"),
    [(1, LAYERS + 1), (LAYER + 8, LAYERS), (2 * LAYER + 8, 3), (4 * LAYER, 2), (99 * LAYER, 1)],
)
def test_parts_give_what_the_whole_gives(most: int, count: int) -> None:
    """As few parts as the limit allows, none larger where there is a place to cut: after each layer, and the mean."""
    rows = np.random.default_rng(1).normal(size=(2, 3, WIDTH)).astype(np.float32)
    expected = results([tower()], rows)
    parts = in_parts(tower(), most)
    assert len(parts) == count
    assert max(map(weight_bytes, parts)) <= max(most, LAYER)
    np.testing.assert_allclose(results(parts, rows), expected, rtol=1e-5)


def test_weights_that_several_layers_share() -> None:
    """Are in each part that needs them."""
    rows = np.ones((1, 3, WIDTH), np.float32)
    expected = results([tower(shared=True)], rows)
    parts = in_parts(tower(shared=True), LAYER)
    assert len(parts) > 1
    np.testing.assert_allclose(results(parts, rows), expected, rtol=1e-5)


def test_nothing_is_cut_past_what_is_read_later() -> None:
    """A tensor that goes around the middle of a graph leaves no place to cut there."""
    rng = np.random.default_rng(0)
    rows = ops.parameter([-1, WIDTH], np.float32)
    node = rows
    for _ in range(LAYERS):
        node = ops.matmul(node, weights(rng), False, True)
    model = openvino.Model([ops.add(node, rows)], [rows])
    assert len(in_parts(model, 1)) == 1
