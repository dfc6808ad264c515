"""What values options take: each check raises Typer's BadParameter, and says what would do."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer

from siglipcli.text import sized

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = [
    "FLAGS",
    "Size",
    "auto_or_count",
    "beginning",
    "choices",
    "cosine",
    "devices",
    "moderate",
    "number",
    "one_of",
    "probability",
    "words",
]

FLAGS = {
    **dict.fromkeys(("1", "true", "t", "yes", "y", "on"), True),
    **dict.fromkeys(("0", "false", "f", "no", "n", "off", ""), False),
}
"""The words that Typer takes for a flag, in lower case."""
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


@dataclass(frozen=True)
class Size:
    """A number of bytes, written as people write it: 500M, 2.5G."""

    bytes: int

    @classmethod
    def parse(cls, text: str | Size) -> Size:
        """Read 500M, 2.5 GB, 800 B or 0; another number needs a unit. Raises Typer's BadParameter."""
        if isinstance(text, Size):  # a default
            return text
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(B?)\s*", text.upper())
        if not match:
            raise typer.BadParameter(f"{text!r} is no size; write 500M or 2.5G.")
        number = float(match[1])
        if number and not (match[2] or match[3]):
            raise typer.BadParameter(
                f"{text!r} has no unit; write {text.strip()}M, {text.strip()}G or 0."
            )
        return cls(int(number * _UNITS[match[2]]))

    def __str__(self) -> str:
        return sized(self.bytes)


def number(text: str, kind: type[int | float], least: float | None, most: float | None) -> float:
    """Read a number within its limits. Raises Typer's BadParameter, which names them."""
    what = "a whole number" if kind is int else "a number"
    if least is not None:
        what += f" from {least:g} to {most:g}" if most is not None else f" from {least:g} up"
    try:
        value = kind(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not {what}.") from None
    above, below = least is None or value >= least, most is None or value <= most
    if not (above and below):  # so for NaN
        raise typer.BadParameter(f"{text} is not {what}.")
    return value


def one_of(*words: str) -> Callable[[str | None], str | None]:
    """Return a Typer callback that accepts these words only, and names them."""

    def check(value: str | None) -> str | None:
        if value is not None and value not in words:
            raise typer.BadParameter(f"{value!r} is not one of {', '.join(words)}.")
        return value

    return check


def choices(*values: str) -> Callable[[str], list[str]]:
    """Return what completes to one of these words."""
    return lambda incomplete: beginning(values, incomplete)


def beginning(values: Iterable[str], incomplete: str) -> list[str]:
    """Return the values that begin so, whatever their case."""
    return [value for value in values if value.lower().startswith(incomplete.lower())]


def words(*values: str) -> dict[str, Any]:
    """Return what makes a Typer option take these words only: shown, checked and completed."""
    return {
        "metavar": "|".join(values),
        "callback": one_of(*values),
        "autocompletion": choices(*values),
    }


def devices() -> dict[str, Any]:
    """Return what makes a Typer option take a device: shown, checked and completed."""
    return {
        "metavar": "auto|cpu|cuda|cuda:N|mps",
        "callback": _device,
        "autocompletion": choices("auto", "cpu", "cuda", "mps"),
    }


def _device(value: str) -> str:
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?|mps", value):
        raise typer.BadParameter(f"{value!r} is not one of auto, cpu, cuda, cuda:N, mps.")
    return value


def auto_or_count(value: str) -> str:
    """Accept auto, or a count."""
    if value != "auto" and not (value.isdecimal() and int(value) > 0):
        raise typer.BadParameter(f"{value!r} is neither auto nor a number from 1 up.")
    return value


def moderate(value: float) -> float:
    """Refuse what would make a score meaningless: not a number, infinite, or near it in fp32."""
    if not -1000 <= value <= 1000:  # noqa: PLR2004  # false for NaN too
        raise typer.BadParameter(f"{value} is not a number from -1000 to 1000.")
    return value


def cosine(value: float | None) -> float | None:
    """Accept a number from -1 to 1, or nothing."""
    if value is not None and not -1 <= value <= 1:  # false for NaN, which `min` and `max` let pass
        raise typer.BadParameter(f"{value} is not a number from -1 to 1.")
    return value


def probability(value: float | None) -> float | None:
    """Accept a number from 0 to 1, or nothing."""
    if value is not None and not 0 <= value <= 1:  # false for NaN, which `min` and `max` let pass
        raise typer.BadParameter(f"{value} is not a number from 0 to 1.")
    return value
