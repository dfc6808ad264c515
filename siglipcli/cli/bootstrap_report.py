"""What `compare` and `prompts` share: how images are resampled, and how differences are shown."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, TypeAlias, TypeVar

import typer

from siglipcli.cli import examples, setup
from siglipcli.cli import label_sets as label_input
from siglipcli.cli.output import Tally
from siglipcli.errors import UsageError
from siglipcli.outputs.fields import utf8
from siglipcli.outputs.json_lines import failed, named
from siglipcli.outputs.output import is_same, open_output
from siglipcli.text import visible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray
    from rich.table import Table

    from siglipcli.cli.examples import Examples
    from siglipcli.cli.options import DocumentOptions, LabelOptions, ModelOptions
    from siglipcli.cli.terminal import Terminal
    from siglipcli.encoders import Encoder
    from siglipcli.evaluation.comparison import Difference
    from siglipcli.evaluation.scored import Collection, Scored
    from siglipcli.labels import LabelSet

    Words: TypeAlias = tuple[str, str, str]
    Part: TypeAlias = str | tuple[Sequence[str], Iterable[Sequence[str]]]

__all__ = ["FEW_EXAMPLES", "Named", "Resampling", "Run", "by_chance", "chance", "examine"]
__all__ += [
    "facts",
    "label_sets",
    "listed",
    "meaning",
    "number",
    "refuse_inputs",
    "share",
    "shown",
]
__all__ += ["sides", "signed", "size", "span", "verdict", "write_json", "write_tables"]

NO_EXAMPLES = "no examples"
FEW_EXAMPLES = "too few examples"
_LISTED = 10  # names in a line
_ROWS = 30
_NAME = 14  # columns for names at least

T = TypeVar("T")


@dataclass(frozen=True)
class Resampling:
    """How sure a difference is."""

    resamples: Annotated[
        int,
        typer.Option(
            min=100,
            max=10_000,
            metavar="N",
            help="How many times the images are drawn anew for the intervals.",
        ),
    ] = 1000
    seed: Annotated[
        int,
        typer.Option(min=0, metavar="N", help="Where the draws begin: one seed, one result."),
    ] = 0


@dataclass(frozen=True)
class Named:
    """A label set, and how the user referred to it: two sets may have one name."""

    labels: LabelSet
    reference: str

    def __str__(self) -> str:
        name = self.labels.name
        return name if self.reference == name else f"{name} ({self.reference})"


def label_sets(given: LabelOptions, count: int, usage: str) -> list[Named]:
    """Load so many sets; names given on the spot are one. Raises UsageError, with `usage`."""
    found = len(given.labels or ()) + bool(given.label)
    if found != count:
        raise UsageError(f"{usage}; {found or 'none'} given")
    label_input.read_stdin_once(given.labels or ())
    sets = [
        Named(label_input.load(reference, given.template), reference)
        for reference in given.labels or ()
    ]
    if given.label:
        spot = label_input.spot_labels(given)
        sets.append(Named(spot, spot.name))
    return sets


def refuse_inputs(output: Path | None, sets: Iterable[Named]) -> None:
    """Refuse to write over a label set that is read. Raises UsageError."""
    if output and any(is_same(each.reference, output) for each in sets):
        raise UsageError(f"the output {output} is a label set that is read")


@dataclass(frozen=True)
class Run:
    """The images, encoded once, and what each set makes of them.

    `counts` are the resamples; `encode` turns the sets' prompts into float32[n, d].
    """

    sets: Sequence[Named]
    collection: Collection
    scored: Sequence[Scored]
    counts: NDArray[np.uint8]
    encode: Callable[[Sequence[str]], NDArray[np.float32]]
    encoder: Encoder
    resampling: Resampling
    tally: Tally

    def facts(self) -> dict[str, object]:
        """Return what every document says of them."""
        from siglipcli.evaluation.comparison import CONFIDENCE

        return {
            "dataset": utf8(self.collection.dataset),
            "model": utf8(self.encoder.name),
            "images": len(self.collection.sources),
            "failures": [named(each.file) | failed(each) for each in self.collection.failures],
            "resamples": self.resampling.resamples,
            "seed": self.resampling.seed,
            "confidence": CONFIDENCE,
        }

    def __str__(self) -> str:
        found, lost = self.collection, len(self.collection.failures)
        counts = f"{len(found.sources):,} images" + (f", {lost:,} failed" if lost else "")
        return f"on {found.dataset}: {counts}, {self.encoder.name}"


def examine(
    given: Examples,
    sets: Sequence[Named],
    resampling: Resampling,
    output: Path | None,
    engine: ModelOptions,
    terminal: Terminal,
    *,
    force: bool = True,
) -> Run:
    """Encode the images and the prompts, each once, and hold them against each other.

    Raises UsageError for what is wrong with DATA, before a model is looked for. Where no image can
    be read, the command ends.
    """
    from siglipcli import scoring
    from siglipcli.evaluation import comparison, scored
    from siglipcli.evaluation.prompts import once

    known = examples.read(given, output, force=force)
    names = [each.names for each in known.examples]
    truths = [examples.truth(given, names, each.labels) for each in sets]
    tally = Tally()
    with setup.classifier(engine, given, terminal) as classifier:
        encoder = classifier.encoder
        label_input.warn_of_prompts([each.labels for each in sets], encoder, terminal)
        collection = examples.collection(known, classifier, tally, terminal)
        _report(collection, tally, terminal)
        with terminal.waiting("encoding labels"):
            encode = once([each.labels for each in sets], classifier.encode_texts)
    results = [
        scored.score(
            collection,
            scoring.embed_labels(each.labels, encode),
            encoder.head,
            right,
            model=encoder.name,
        )
        for each, right in zip(sets, truths, strict=True)
    ]
    counts = comparison.draw(len(collection.sources), resampling.resamples, resampling.seed)
    return Run(sets, collection, results, counts, encode, encoder, resampling, tally)


def _report(collection: Collection, tally: Tally, terminal: Terminal) -> None:
    """Tell what failed; if all did, that ends the command."""
    examples.say_failures(collection.failures, terminal)
    tally.report(terminal)
    if not collection.sources:
        tally.leave()


# --- for programs ---------------------------------------------------------------------------------


def write_json(answer: DocumentOptions, document: Mapping[str, object]) -> None:
    """Write one JSON document, UTF-8 and indented. Raises OutputError."""
    with open_output(answer.output) as stream:
        stream.write(json.dumps(document, ensure_ascii=False, indent=2, allow_nan=False) + "\n")


def number(value: float | None) -> float | None:
    """Keep 6 significant digits."""
    return None if value is None else float(f"{value:.6g}")


def sides(found: Difference) -> dict[str, object]:
    """Return both measures."""
    return {"a": number(found.a), "b": number(found.b)}


def facts(found: Difference, words: Words) -> dict[str, object]:
    """Return how far they are apart."""
    ends = None if found.interval is None else [number(end) for end in found.interval]
    return {"difference": number(found.value), "interval": ends, "verdict": verdict(found, words)}


def by_chance(judged: Sequence[Difference]) -> float:
    """Return how many of these would be clear by chance alone, if none were different."""
    from siglipcli.evaluation.comparison import CONFIDENCE

    return round(len(judged) * (1 - CONFIDENCE), 2)


def verdict(found: Difference, words: Words) -> str:
    """Say what is known of b - a, in words for below 0, not clear, and above 0."""
    if found.value is None:
        return NO_EXAMPLES
    return FEW_EXAMPLES if found.interval is None else words[found.sign + 1]


# --- for people -----------------------------------------------------------------------------------


def share(value: float | None) -> str:
    """Write a share from 0 to 1."""
    return "" if value is None else f"{value:.3f}"


def signed(value: float | None) -> str:
    """Write a difference of shares; what rounds to 0 has no sign."""
    text = "" if value is None else f"{value:+.3f}"
    return text[1:] if text[1:] == "0.000" else text


def size(found: Difference) -> float:
    """Return how large a difference is, to sort by; below all where it is not known."""
    return -1.0 if found.value is None else abs(found.value)


def span(found: Difference) -> str:
    """Write an interval."""
    return "" if found.interval is None else " to ".join(signed(end) for end in found.interval)


def listed(names: Sequence[str]) -> str:
    """Write names in a line: the first few, and how many more."""
    more = len(names) - _LISTED
    return ", ".join(names[:_LISTED]) + (f" and {more:,} more" if more > 0 else "")


def meaning(what: str, run: Run) -> Iterator[str]:
    """Say what the intervals are."""
    from siglipcli.evaluation.comparison import FEWEST

    yield (
        f"95 % interval: holds the true {what} about 95 times in 100"
        f" ({run.resampling.resamples:,} resamples)"
    )
    yield f"not clear: the interval holds 0; too few: fewer than {FEWEST} images"


def chance(judged: Sequence[Difference], things: str) -> str:
    """Say how many were found, and how many there would be without any difference."""
    clear = sum(each.sign != 0 for each in judged)
    return (
        f"{clear:,} of {len(judged):,} {things} clear; by chance alone it would be about"
        f" {by_chance(judged):.2g}"
    )


def shown(rows: Sequence[T], found: Callable[[T], Sequence[Difference]]) -> list[T]:
    """Put the largest differences first, and cut what is not clear after the first thirty."""
    ordered = sorted(rows, key=lambda row: max(map(size, found(row)), default=-1.0), reverse=True)
    return [
        row for i, row in enumerate(ordered) if i < _ROWS or any(each.sign for each in found(row))
    ]


def write_tables(answer: DocumentOptions, parts: Iterable[Part]) -> None:
    """Write lines of text, and tables: titles and rows. Names are made safe. Raises OutputError.

    The first column of a table takes what room there is, numbers are in the others, words in the last.
    """
    from rich.console import Console
    from rich.text import Text

    with open_output(answer.output, None) as stream:
        console = Console(file=stream, highlight=False, markup=False, emoji=False)
        for part in parts:
            with console.capture() as captured:
                console.print(Text(visible(part)) if isinstance(part, str) else _table(*part))
            # Rich fills lines with blanks.
            lines = captured.get().splitlines()
            stream.write("".join(f"{line.rstrip()}\n" for line in lines))


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(titles[0], overflow="fold", min_width=_NAME)
    for title in titles[1:-1]:
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column(titles[-1], no_wrap=True)
    for row in rows:
        # Text, not str: a name such as [bold] is no markup. Padding, so that folded lines keep it.
        indent = len(row[0]) - len(row[0].lstrip(" "))
        first = Padding(Text(visible(row[0][indent:])), (0, 0, 0, indent))
        table.add_row(first, *(Text(visible(cell)) for cell in row[1:]))
    return table
