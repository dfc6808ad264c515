"""What commands with results share: write them, count them, choose the exit status."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from siglipcli import outputs
from siglipcli.errors import UsageError
from siglipcli.outputs import provenance, safety
from siglipcli.outputs.documents import document
from siglipcli.outputs.output import open_output
from siglipcli.terminal import signals

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

    from siglipcli.cli.inputs import Inputs
    from siglipcli.cli.options import OutputOptions
    from siglipcli.encoders import Encoder
    from siglipcli.labels import LabelSet
    from siglipcli.results import Result
    from siglipcli.terminal.screen import Terminal
    from siglipcli.terminal.tally import Tally

__all__ = ["check", "header", "print_json", "write"]


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
        empty = options.allow_empty
        tally.require_inputs(inputs.report, options.output, terminal, allow_empty=empty)
    if options.provenance and options.output:
        provenance.write(options.output, {**head.provenance, "images": tally.counts()})


def print_json(value: object) -> None:
    """Print one JSON document for programs: UTF-8 whatever the locale, indented. Raises OutputError."""
    with open_output(None) as stream:
        stream.write(document(value))
