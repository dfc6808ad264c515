"""A graph in parts that run one after another, so that only one of them has to be in memory.

Compiled, a part takes its weights twice: as the file has them and repacked for the processor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from siglipcli.encoders.openvino_library import library, operations

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["in_parts"]


def in_parts(model: Any, most: int) -> list[Any]:
    """Divide an OpenVINO model where one tensor is all that goes on; each part has at most `most` bytes of weights.

    A part has more where the model cannot be divided further. The first part takes the model's one input, and each
    other one what the part before it gives. The model itself is changed, and cannot be used any more.
    """
    make, ops = library().Model, operations()
    parts, inputs = [], model.get_parameters()
    for output in _chosen(model, most):
        parameter = ops.parameter(output.get_partial_shape(), output.get_element_type())
        for reader in output.get_target_inputs():
            reader.replace_source_output(parameter.output(0))
        parts.append(make([output], inputs))
        inputs = [parameter]
    return [*parts, make(model.get_results(), inputs)]


def _chosen(model: Any, most: int) -> list[Any]:
    """Return the outputs to cut at: as few as can be."""
    chosen: list[Any] = []
    begin, last = 0, (None, 0)
    for output, total in _cuts(model):
        if total - begin > most and last[1] > begin:
            chosen.append(last[0])
            begin = last[1]
        last = output, total
    return chosen


def _cuts(model: Any) -> Iterator[tuple[Any, int]]:
    """Yield each output that is all that later nodes read of earlier ones, and the bytes of weights up to it.

    The last one is the model's own output.
    """
    nodes = [node for node in model.get_ordered_ops() if node.get_type_name() != "Result"]
    weights = _Weights()
    computed = [node for node in nodes if not weights.is_of(node)]
    place = {node.get_name(): i for i, node in enumerate(computed)}
    furthest = total = 0  # the last node that reads what those before gave
    for i, node in enumerate(computed):
        total += weights.bytes_of(node)
        if furthest <= i and node.get_output_size() == 1:
            yield node.output(0), total
        readers = (reader for output in node.outputs() for reader in output.get_target_inputs())
        reading = [place.get(reader.get_node().get_name(), 0) for reader in readers]
        furthest = max([furthest, *reading])


class _Weights:
    """Which nodes are computed from constants alone, and the bytes of constants, each counted where it is read first."""

    def __init__(self) -> None:
        self._constant: dict[str, int] = {}  # bytes not counted yet, by the name of the node

    def is_of(self, node: Any) -> bool:
        """Whether a node is a weight, or is made of weights; to be called in the order of the graph."""
        name = node.get_name()
        if node.get_type_name() == "Constant":
            self._constant[name] = node.get_byte_size()
            return True
        sources = _sources(node)
        if not sources or not all(source in self._constant for source in sources):
            return False
        self._constant[name] = sum(self._take(source) for source in sources)
        return True

    def bytes_of(self, node: Any) -> int:
        """Return the bytes that a computed node is the first to read."""
        return sum(self._take(source) for source in _sources(node) if source in self._constant)

    def _take(self, name: str) -> int:
        size, self._constant[name] = self._constant[name], 0
        return size


def _sources(node: Any) -> list[str]:
    inputs = (node.input_value(i) for i in range(node.get_input_size()))
    return [source.get_node().get_name() for source in inputs]
