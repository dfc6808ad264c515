"""What is said of an int8 engine: a table for people, one line for lists. Facts are `siglipcli.tuning.Tuning`'s."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from siglipcli.text import visible

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["line", "rows"]


def rows(facts: Mapping[str, Any]) -> Iterator[list[str]]:
    """Yield name and value of each figure."""
    agreement = facts["agreement"]
    left = f", {len(facts['left'])} of {facts['layers']} layers at {facts['reference']}"
    yield ["images", f"{facts['drawn']:,} drawn, {agreement['images']:,} kept back for the check"]
    yield ["quantization", f"SmoothQuant alpha {facts['alpha']:g}{left if facts['left'] else ''}"]
    cosines = f"{agreement['median_cosine']:.5f} median, {agreement['lowest_cosine']:.4f} lowest"
    yield ["cosine", f"{cosines}, to {facts['reference']}"]
    for each in agreement["sets"]:
        name = visible(each["set"])
        yield [
            f"{name}: logits move",
            f"{each['logit_move']:.3f} median, {each['logit_move_99']:.3f} at 99 %",
        ]
        yield [f"{name}: same best label", _share(each["best_label"])]
        yield [f"{name}: same tags", _share(each["tags"])]
    rates = f"{facts['rate_before']:,.3g} before, {facts['rate_after']:,.3g} after"
    yield ["images a second", f"{rates}: {_speedup(facts):.2f} times as fast"]
    yield ["measured", f"{facts['date']} on {visible(facts['processor'])}"]
    for missed in facts["missed"]:
        yield ["floor missed", visible(missed)]


def line(facts: Mapping[str, Any]) -> str:
    """Say the most important of it in a line."""
    shares = [each["best_label"] for each in facts["agreement"]["sets"]]
    worst = min(shares, key=lambda each: each["low"])
    accepted = "; accepted below its floors" if facts["missed"] else ""
    return (
        f"{_speedup(facts):.2f} times as fast as {facts['reference']}, same best label for"
        f" {_share(worst)}, tuned {facts['date']}{accepted}"
    )


def _speedup(facts: Mapping[str, Any]) -> float:
    return float(facts["rate_after"] / facts["rate_before"])


def _share(share: Mapping[str, Any]) -> str:
    """Write `98.6 % (96.5–99.6) of 280`."""
    low, high = 100 * share["low"], 100 * share["high"]
    return f"{100 * share['same'] / share['of']:.1f} % ({low:.1f}–{high:.1f}) of {share['of']:,}"
