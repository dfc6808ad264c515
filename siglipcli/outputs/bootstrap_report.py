"""What the reports of `compare` and `prompts` share: how differences and their intervals are shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

from siglipcli.outputs.documents import document, failed
from siglipcli.outputs.output import open_output
from siglipcli.outputs.plain_table import console_on, plain_table
from siglipcli.text import named, utf8, visible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from rich.table import Table

    from siglipcli.evaluation.comparison import Difference
    from siglipcli.evaluation.run import Run
    from siglipcli.labels import LabelSet

    Words: TypeAlias = tuple[str, str, str]
    Part: TypeAlias = str | tuple[Sequence[str], Iterable[Sequence[str]]]

__all__ = [
    "FEW_EXAMPLES",
    "NO_EXAMPLES",
    "Named",
    "Setting",
    "by_chance",
    "chance",
    "facts",
    "listed",
    "meaning",
    "number",
]
__all__ += [
    "fraction",
    "shown",
    "sides",
    "signed",
    "size",
    "span",
    "verdict",
    "write",
    "write_json",
    "write_tables",
]

NO_EXAMPLES = "no examples"
FEW_EXAMPLES = "too few to tell"
_LISTED = 10  # names in a line
_ROWS = 30
_NAME = 14  # columns for names at least

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Named:
    """A label set, and how the user referred to it: two sets may have one name."""

    labels: LabelSet
    reference: str

    def __str__(self) -> str:
        name = self.labels.name
        return name if self.reference == name else f"{name} ({self.reference})"


@dataclass(frozen=True, slots=True)
class Setting:
    """What differences were measured on, and how often the images were drawn anew."""

    run: Run
    sets: Sequence[Named]
    resamples: int
    seed: int

    def facts(self) -> dict[str, object]:
        """Return what every document says of them."""
        from siglipcli.evaluation.comparison import CONFIDENCE

        collection = self.run.collection
        return {
            "dataset": utf8(collection.dataset),
            "model": utf8(self.run.provenance.model),
            "made_with": self.run.provenance.to_dict(),
            "images": len(collection.sources),
            "failures": [named(failure.file) | failed(failure) for failure in collection.failures],
            "resamples": self.resamples,
            "seed": self.seed,
            "confidence": CONFIDENCE,
        }

    def __str__(self) -> str:
        collection, lost = self.run.collection, len(self.run.collection.failures)
        counts = f"{len(collection.sources):,} images" + (f", {lost:,} failed" if lost else "")
        return f"on {collection.dataset}: {counts}, {self.run.provenance.model}"


class Report(Protocol):
    """What is said of differences: for programs a document, for people lines and tables."""

    def document(self, setting: Setting, result: Any, /) -> Mapping[str, object]:
        """Return everything, for JSON."""

    def parts(self, setting: Setting, result: Any, /) -> Iterable[Part]:
        """Yield what `write_tables` takes."""


def write(
    output: Path | None, report: Report, setting: Setting, result: Any, *, as_json: bool
) -> None:
    """Write a report, one of this package's modules, as JSON or as tables. Raises OutputError."""
    if as_json:
        write_json(output, report.document(setting, result))
    else:
        write_tables(output, report.parts(setting, result))


# --- for programs ---------------------------------------------------------------------------------


def write_json(output: Path | None, content: Mapping[str, object]) -> None:
    """Write one JSON document, UTF-8 and indented. Raises OutputError."""
    with open_output(output) as stream:
        stream.write(document(content))


def number(value: float | None) -> float | None:
    """Keep 6 significant digits."""
    return None if value is None else float(f"{value:.6g}")


def sides(difference: Difference) -> dict[str, object]:
    """Return both measures."""
    return {"a": number(difference.a), "b": number(difference.b)}


def facts(difference: Difference, words: Words) -> dict[str, object]:
    """Return how far they are apart."""
    ends = None if difference.interval is None else [number(end) for end in difference.interval]
    return {
        "difference": number(difference.value),
        "interval": ends,
        "verdict": verdict(difference, words),
    }


def by_chance(judged: Sequence[Difference]) -> float:
    """Return how many of these would be clear by chance alone, if none were different."""
    from siglipcli.evaluation.comparison import CONFIDENCE

    return round(len(judged) * (1 - CONFIDENCE), 2)


def verdict(difference: Difference, words: Words) -> str:
    """Say what is known of b - a, in words for below 0, not clear, and above 0."""
    if difference.value is None:
        return NO_EXAMPLES
    if difference.interval is None and difference.value:
        return FEW_EXAMPLES
    return words[difference.sign + 1]


# --- for people -----------------------------------------------------------------------------------


def fraction(value: float | None) -> str:
    """Write a fraction from 0 to 1."""
    return "" if value is None else f"{value:.3f}"


def signed(value: float | None) -> str:
    """Write a difference of shares; what rounds to 0 has no sign."""
    text = "" if value is None else f"{value:+.3f}"
    return text[1:] if text[1:] == "0.000" else text


def size(difference: Difference) -> float:
    """Return how large a difference is, to sort by; below all where it is not known."""
    return -1.0 if difference.value is None else abs(difference.value)


def span(difference: Difference) -> str:
    """Write an interval."""
    return (
        ""
        if difference.interval is None
        else " to ".join(signed(end) for end in difference.interval)
    )


def listed(names: Sequence[str]) -> str:
    """Write names in a line: the first few, and how many more."""
    more = len(names) - _LISTED
    return ", ".join(names[:_LISTED]) + (f" and {more:,} more" if more > 0 else "")


def meaning(what: str, resamples: int) -> Iterator[str]:
    """Say what the intervals are."""
    from siglipcli.evaluation.comparison import DIFFERING, FEWEST

    yield f"95 % interval: holds the true {what} about 95 times in 100 ({resamples:,} resamples)"
    yield (
        f"not clear: the interval holds 0; too few: fewer than {FEWEST} images,"
        f" or {DIFFERING} ranked differently"
    )


def chance(judged: Sequence[Difference], things: str) -> str:
    """Say how many were found, and how many there would be without any difference."""
    clear = sum(difference.sign != 0 for difference in judged)
    return (
        f"{clear:,} of {len(judged):,} {things} clear; by chance alone it would be about"
        f" {by_chance(judged):.2g}"
    )


def shown(rows: Sequence[T], differences: Callable[[T], Sequence[Difference]]) -> list[T]:
    """Put the largest differences first, and cut what is not clear after the first thirty."""
    ordered = sorted(
        rows, key=lambda row: max(map(size, differences(row)), default=-1.0), reverse=True
    )
    return [
        row
        for i, row in enumerate(ordered)
        if i < _ROWS or any(difference.sign for difference in differences(row))
    ]


def write_tables(output: Path | None, parts: Iterable[Part]) -> None:
    """Write lines of text, and tables: titles and rows. Names are made safe. Raises OutputError.

    The first column of a table takes what space there is, numbers are in the others, words in the last.
    """
    from rich.text import Text

    with open_output(output, None) as stream, console_on(stream) as console:
        for part in parts:
            console.print(Text(visible(part)) if isinstance(part, str) else _table(*part))


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    return plain_table(titles, rows, right=titles[1:-1], name_width=_NAME)
