"""What is said of an int8 engine: a table for people, one line for lists. Facts are `siglipcli.tuning.Tuning`'s."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from siglipcli.text import visible

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["line", "rows"]


def rows(facts: Mapping[str, Any]) -> Iterator[list[str]]:
    """Yield name and value of each figure."""
    if outdated := _outdated(facts):
        yield ["state", outdated]
    agreement = facts["agreement"]
    left = f", {len(facts['left'])} of {facts['layers']} layers at {facts['reference']}"
    yield ["images", f"{facts['drawn']:,} drawn, {agreement['images']:,} kept back for the check"]
    form = ", layers as convolutions" if facts.get("form") == "convolutions" else ""
    scheme = f"SmoothQuant alpha {facts['alpha']:g}{form}"
    yield ["quantization", f"{scheme}{left if facts['left'] else ''}"]
    cosines = f"{agreement['median_cosine']:.5f} median, {agreement['lowest_cosine']:.4f} lowest"
    yield ["cosine", f"{cosines}, to {facts['reference']}"]
    for result in agreement["sets"]:
        name = visible(result["set"])
        yield [
            f"{name}: logits move",
            f"{result['logit_move']:.3f} median, {result['logit_move_99']:.3f} at 99 %",
        ]
        yield [f"{name}: same best label", _proportion(result["best_label"])]
        yield [f"{name}: same tags", _proportion(result["tags"])]
    rates = f"{facts['rate_before']:,.3g} before, {facts['rate_after']:,.3g} after"
    yield ["images a second", f"{rates}: {_speedup(facts):.2f} times as fast"]
    yield ["measured", f"{facts['date']} on {visible(facts['processor'])}"]
    for missed in facts["missed"]:
        yield ["floor missed", visible(missed)]


def line(facts: Mapping[str, Any]) -> str:
    """Say the most important of it in a line."""
    if outdated := _outdated(facts):
        return outdated
    labels = [result["best_label"] for result in facts["agreement"]["sets"]]
    worst = min(labels, key=lambda part: part["low"])
    accepted = "; accepted below its floors" if facts["missed"] else ""
    return (
        f"{_speedup(facts):.2f} times as fast as {facts['reference']}, same best label for"
        f" {_proportion(worst)}, tuned {facts['date']}{accepted}"
    )


def _outdated(facts: Mapping[str, Any]) -> str:
    """Say that another version made the engine; "" where it can be used, or was only just made."""
    if facts.get("is_usable", True):
        return ""
    return f"made with {str(facts['runtime']).replace('openvino', 'OpenVINO')}, to be made again"


def _speedup(facts: Mapping[str, Any]) -> float:
    return float(facts["rate_after"] / facts["rate_before"])


def _proportion(part: Mapping[str, Any]) -> str:
    """Write `98.6 % (96.5–99.6) of 280`."""
    low, high = 100 * part["low"], 100 * part["high"]
    return f"{100 * part['same'] / part['of']:.1f} % ({low:.1f}–{high:.1f}) of {part['of']:,}"
