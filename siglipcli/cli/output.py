"""What commands with results share: write them, count them, choose the exit status."""

from __future__ import annotations

from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from siglipcli import outputs
from siglipcli.errors import UsageError
from siglipcli.outputs import provenance, safety
from siglipcli.outputs.documents import document
from siglipcli.outputs.output import open_output
from siglipcli.results import Failure, Match
from siglipcli.terminal import signals
from siglipcli.terminal.screen import complain
from siglipcli.terminal.status import ExitStatus

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from siglipcli.cli.inputs import Inputs
    from siglipcli.cli.options import OutputOptions
    from siglipcli.encoders import Encoder
    from siglipcli.labels import LabelSet
    from siglipcli.pipeline import Batch
    from siglipcli.results import Result
    from siglipcli.terminal.screen import Terminal

__all__ = ["Tally", "check", "header", "print_json", "write"]

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
        self, inputs: Inputs | None, output: Path | None, terminal: Terminal, *, allow_empty: bool
    ) -> None:
        """End the command with status 1 where there was no input at all: an earlier output stays.

        What was named and is not there is no input either, unless there is no earlier output: then its rows are
        written.
        """
        earlier = output is not None and output.is_file()
        if allow_empty or self.count > self.missing or (self.count and not earlier):
            return
        if inputs:
            inputs.report(terminal)
        if failure := self.first_missing:
            terminal.note(f"{failure.file}: {failure.kind}: {failure.message}")
        complain(f"no {self.things} found" + (f"; {output} stays as it was" if earlier else ""))
        raise typer.Exit(ExitStatus.SOME_INPUTS_FAILED)

    def leave(self) -> None:
        """End the command with status 1 where inputs failed."""
        if self.failed:
            raise typer.Exit(ExitStatus.SOME_INPUTS_FAILED)


def check(
    options: OutputOptions, form: str, inputs: Iterable[str | os.PathLike[str] | None]
) -> None:
    """Refuse an output that would replace something that is not ours to replace. Raises UsageError."""
    path = options.output
    plain = form in {"table", "paths", "paths0"}
    safety.check(path, inputs, force=options.force, plain=plain)
    if not options.provenance:
        return
    if path is None or str(path) == "-":
        raise UsageError("--provenance is written beside --output FILE: name a file")
    safety.check(provenance.beside(path), inputs, force=options.force)


def header(
    options: OutputOptions,
    form: str,
    encoder: Encoder,
    label_sets: Iterable[LabelSet] = (),
    /,
    **more: Any,
) -> outputs.Header:
    """Return what holds for the whole run; with what it was made with where there is a place for that."""
    has_place = options.provenance or form == "parquet"
    facts = provenance.provenance(encoder, label_sets) if has_place else {}
    return outputs.Header(encoder.name, provenance=facts, **more)


def write(
    results: Iterable[Result],
    form: str,
    options: OutputOptions,
    head: outputs.Header,
    tally: Tally,
    inputs: Inputs,
    terminal: Terminal,
) -> None:
    """Write results to where they were asked for, one by one; without an input, nothing.

    Raises OutputError, and Typer's Exit with status 1 where no input was found.
    """
    with signals.put_away(), outputs.opened(form, options.output, head) as sink:
        for result in results:
            sink.write(result)
        tally.require_inputs(inputs, options.output, terminal, allow_empty=options.allow_empty)
    if options.provenance and options.output:
        provenance.write(options.output, {**head.provenance, "images": tally.counts()})


def print_json(value: object) -> None:
    """Print one JSON document for programs: UTF-8 whatever the locale, indented. Raises OutputError."""
    with open_output(None) as stream:
        stream.write(document(value))
