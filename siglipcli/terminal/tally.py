"""How many inputs a run has dealt with, how fast, and the exit status that follows."""

from __future__ import annotations

from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, TypeVar

import typer

from siglipcli.results import Failure, Match
from siglipcli.terminal.screen import complain
from siglipcli.terminal.status import ExitStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from siglipcli.embeddings import Batch
    from siglipcli.results import Result
    from siglipcli.terminal.screen import Terminal

__all__ = ["Tally"]

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
    missing: int = 0
    first_missing: Failure | None = None

    def add(self, result: Result) -> None:
        """Count one result; a match of a search is none, as its input was counted with its batch."""
        if isinstance(result, Failure):
            self._add_failure(result)
        elif isinstance(result, Match):
            return
        elif result.stored:
            self.stored += 1
        else:
            self.encoded += 1

    def adding(self, results: Iterable[R]) -> Iterator[R]:
        """Count results as they pass, each when it has been dealt with; the clock starts with the first."""
        self.started = perf_counter()
        for result in results:
            yield result
            self.add(result)

    def adding_batches(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Count a stream's inputs by the batch, as it passes; the clock starts with the first."""
        self.started = perf_counter()
        for batch in batches:
            stored = sum(batch.stored)
            self.stored += stored
            self.encoded += len(batch.stored) - stored
            for failure in batch.failures:
                self._add_failure(failure)
            yield batch

    def _add_failure(self, failure: Failure) -> None:
        self.failed += 1
        if failure.kind == "missing":
            self.missing += 1
            self.first_missing = self.first_missing or failure

    def report(self, terminal: Terminal) -> None:
        """Say the counts on stderr; nothing for one image that has a result."""
        count = self.count
        if count == 0:
            terminal.note("no images found" if self.things == "images" else f"no {self.things}")
        elif count > 1 or self.failed:
            rate = count / (perf_counter() - self.started)
            terminal.note(
                f"{self.encoded:,} encoded, {self.stored:,} from {self.origin}, {self.failed:,} failed,"
                f" {rate:,.1f} {self.things}/s"
            )

    @property
    def count(self) -> int:
        """All inputs so far."""
        return self.encoded + self.stored + self.failed

    def counts(self) -> dict[str, int]:
        """Return the counts by name."""
        return {"encoded": self.encoded, "stored": self.stored, "failed": self.failed}

    def require_inputs(
        self,
        report: Callable[[Terminal], None] | None,
        output: Path | None,
        terminal: Terminal,
        *,
        allow_empty: bool,
    ) -> None:
        """End the command with status 1 where there was no input at all: an earlier output stays.

        What was named and is not there is no input either, unless there is no earlier output: then its rows are
        written. `report` says what was passed over.
        """
        earlier = output is not None and output.is_file()
        if allow_empty or self.count > self.missing or (self.count and not earlier):
            return
        if report:
            report(terminal)
        if failure := self.first_missing:
            terminal.failed(failure)
        complain(f"no {self.things} found" + (f"; {output} stays as it was" if earlier else ""))
        raise typer.Exit(ExitStatus.SOME_INPUTS_FAILED)

    def leave(self) -> None:
        """End the command with status 1 where inputs failed."""
        if self.failed:
            raise typer.Exit(ExitStatus.SOME_INPUTS_FAILED)
