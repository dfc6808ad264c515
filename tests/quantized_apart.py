"""Stand-ins for `siglipcli.encoders.quantize.quantize`, called in a process of their own as it is."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

from siglipcli import files
from siglipcli.encoders.openvino_library import library
from siglipcli.encoders.quantize import Recipe, quantize

if TYPE_CHECKING:
    from pathlib import Path


def exact(
    graph: Path, pixels: Path, count: int, recipe: Recipe, weights: str, folder: Path
) -> None:
    """Quantize nothing: the tower as it is, its file another for another `alpha`."""
    _save(graph, folder, lambda model: model.set_rt_info(str(recipe.alpha), "alpha"))


def in_two_forms(
    graph: Path, pixels: Path, count: int, recipe: Recipe, weights: str, folder: Path
) -> None:
    """Write the tower twice, as if its layers were convolutions in the second."""
    exact(graph, pixels, count, recipe, weights, folder)
    other = folder / "convolutions"
    other.mkdir()
    _save(graph, other, lambda model: model.set_rt_info("convolutions", "form"))


def sabotaged(
    graph: Path, pixels: Path, count: int, recipe: Recipe, weights: str, folder: Path
) -> None:
    """Multiply what a layer in the middle gives by 3."""
    _save(graph, folder, lambda model: _scale(model, 3.0))


def slightly_off(
    graph: Path, pixels: Path, count: int, recipe: Recipe, weights: str, folder: Path
) -> None:
    """Multiply what a layer in the middle gives by 1.001: within every floor, in other bytes."""
    _save(graph, folder, lambda model: _scale(model, 1.001))


def seldom_finite(
    graph: Path, pixels: Path, count: int, recipe: Recipe, weights: str, folder: Path
) -> None:
    """Give NaN where the first value of an embedding is negative."""
    _save(graph, folder, lambda model: _rooted(model, 0.0))


def never_finite(
    graph: Path, pixels: Path, count: int, recipe: Recipe, weights: str, folder: Path
) -> None:
    """Give NaN for every image."""
    _save(graph, folder, lambda model: _rooted(model, -2.0))


def killed(
    graph: Path, pixels: Path, count: int, recipe: Recipe, weights: str, folder: Path
) -> None:
    """End as a process does when memory runs out."""
    (folder / "image.xml").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()


def sleeping(
    graph: Path, pixels: Path, count: int, recipe: Recipe, weights: str, folder: Path
) -> None:
    """Write half a tower and this process's number, and go on for a minute."""
    (folder / "image.xml").write_text("half")
    (folder / "draft-pid").write_text(str(os.getpid()))
    (folder / "draft-pid").rename(folder / "pid")
    time.sleep(60)


def private(
    graph: Path, pixels: Path, count: int, recipe: Recipe, weights: str, folder: Path
) -> None:
    """Quantize for real, and see that nothing can report it and torch stayed out."""
    quantize(graph, pixels, count, recipe, weights, folder)
    import nncf.telemetry
    from nncf.telemetry.wrapper import NNCFTelemetry

    assert sys.modules["openvino_telemetry"] is None
    assert not isinstance(nncf.telemetry.telemetry, NNCFTelemetry)
    assert "torch" not in sys.modules


def _save(graph: Path, folder: Path, change: Any) -> None:
    openvino = library()
    model = openvino.Core().read_model(graph)
    change(model)
    openvino.save_model(model, folder / "image.xml", compress_to_fp16=False)
    files.write_note(
        folder / "layers.json", {"every": ["a"], "ends": ["a"], "worst": ["a"], "smoothed": 1}
    )


def _scale(model: Any, factor: float) -> None:
    import numpy as np
    from openvino import opset13

    layers = [node for node in model.get_ordered_ops() if node.get_type_name() == "Convolution"]
    layer = layers[len(layers) // 2]
    targets = layer.output(0).get_target_inputs()
    scaled = opset13.multiply(layer.output(0), np.full(1, factor, np.float32))
    for target in targets:
        target.replace_source_output(scaled.output(0))


def _rooted(model: Any, shift: float) -> None:
    """Multiply embeddings by √(x + shift) / √(x + shift), x being their first value."""
    import numpy as np
    from openvino import opset13

    (result,) = model.get_results()
    vectors = result.input(0).get_source_output()
    first = opset13.gather(vectors, np.array([0]), np.array(1))
    root = opset13.sqrt(opset13.add(first, np.full(1, shift, np.float32)))
    result.input(0).replace_source_output(
        opset13.multiply(vectors, opset13.divide(root, root)).output(0)
    )
