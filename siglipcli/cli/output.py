"""What commands with results share: write them, count them, choose the exit status."""

from __future__ import annotations

from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, TypeVar

import typer

from siglipcli import outputs
from siglipcli.cli import signals
from siglipcli.cli.status import ExitStatus
from siglipcli.outputs.documents import document
from siglipcli.outputs.output import open_output
from siglipcli.results import Failure, Match

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from siglipcli.cli.options import OutputOptions
    from siglipcli.cli.terminal import Terminal
    from siglipcli.pipeline import Batch
    from siglipcli.results import Result

__all__ = ["Tally", "print_json", "write"]

R = TypeVar("R", bound="Result")


@dataclass
class Tally:
    """How many inputs were encoded, came from the store (or a file), and failed; and how fast."""

    encoded: int = 0
    stored: int = 0
    failed: int = 0
    origin: str = "the store"
    things: str = "images"
    started: float = field(default_factory=perf_counter)

    def add(self, result: Result) -> None:
        """Count one result; a match of a search is none, as its input was counted with its batch."""
        if isinstance(result, Failure):
            self.failed += 1
        elif isinstance(result, Match):
            return
        elif result.stored:
            self.stored += 1
        else:
            self.encoded += 1

    def adding(self, results: Iterable[R]) -> Iterator[R]:
        """Count results as they pass, each when it has been dealt with."""
        for result in results:
            yield result
            self.add(result)

    def adding_batches(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Count a stream's inputs by the batch, as it passes."""
        for batch in batches:
            stored = sum(batch.stored)
            self.stored += stored
            self.encoded += len(batch.stored) - stored
            self.failed += len(batch.items) - len(batch.stored)
            yield batch

    def report(self, terminal: Terminal) -> None:
        """Say the counts on stderr; nothing for one image that has a result."""
        count = self.encoded + self.stored + self.failed
        if count == 0:
            terminal.note("no images found" if self.things == "images" else f"no {self.things}")
        elif count > 1 or self.failed:
            rate = count / (perf_counter() - self.started)
            terminal.note(
                f"{self.encoded:,} encoded, {self.stored:,} from {self.origin}, {self.failed:,} failed,"
                f" {rate:,.1f} {self.things}/s"
            )

    def leave(self) -> None:
        """End the command with status 1 where inputs failed."""
        if self.failed:
            raise typer.Exit(ExitStatus.SOME_INPUTS_FAILED)


def write(
    results: Iterable[Result], form: str, options: OutputOptions, header: outputs.Header
) -> None:
    """Write results to where they were asked for, one by one. Raises OutputError."""
    with signals.put_away(), outputs.opened(form, options.output, header) as sink:
        for result in results:
            sink.write(result)


def print_json(value: object) -> None:
    """Print one JSON document for programs: UTF-8 whatever the locale, indented. Raises OutputError."""
    with open_output(None) as stream:
        stream.write(document(value))
