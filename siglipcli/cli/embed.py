"""`siglip embed`: write embeddings, to be used again without the images."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path  # noqa: TC003  # Typer reads the annotations
from typing import TYPE_CHECKING, Annotated

from siglipcli.cli import label_sets, setup
from siglipcli.cli.inputs import Inputs
from siglipcli.cli.options import AllowEmpty, Force, InputOptions, ModelOptions, option
from siglipcli.errors import UsageError
from siglipcli.terminal import signals
from siglipcli.terminal.groups import grouped
from siglipcli.terminal.screen import Terminal, VerbosityOptions
from siglipcli.terminal.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["embed"]


@dataclass(frozen=True)
class Embedding:
    """What to embed, and where vectors go."""

    text: Annotated[bool, option("embed.text", "--text")] = False
    output: Annotated[Path | None, option("embed.output", "--output", "-o", metavar="FILE")] = None
    force: Force = False
    allow_empty: AllowEmpty = False


@grouped
def embed(
    inputs: InputOptions, embedding: Embedding, engine: ModelOptions, verbosity: VerbosityOptions
) -> None:
    """Write the embeddings of images, or of texts: unit vectors with their names.

    siglip classify --from and siglip search --from use them in place of the images. Each file says
    which model made it; another model's vectors are refused.

    Exit status: 0 all inputs embedded; 1 some failed, stderr says which; 2 usage; 3 could not go on.
    """
    from siglipcli import embedding_files as vectors

    output = None if str(embedding.output) == "-" else embedding.output
    if output:
        read = () if embedding.text else (*(inputs.paths or ()), inputs.files_from)
        vectors.check(output, read, force=embedding.force)
    terminal = Terminal(verbosity, rows_on_screen=output is None)
    texts = _texts(inputs) if embedding.text else None
    sources = None if texts else Inputs(inputs, output=output)
    report = sources.report if sources else None
    tally = Tally(things="texts" if texts else "images")
    with setup.classifier(engine, inputs, terminal) as classifier:
        encoder = classifier.encoder
        about = vectors.About(encoder.name, encoder.fingerprint, "text" if texts else "file")
        batches = (
            classifier.batches(sources.stream())
            if sources
            else classifier.embed_texts(label_sets.watched_texts(texts or (), encoder, terminal))
        )
        with terminal.progress(sources.total if sources else lambda: None) as counted:
            counting = counted(tally.adding_batches(batches))
            with signals.put_away(), vectors.save(output, about) as sink:
                for batch in counting:
                    sink.write(batch)
                    for failure in () if vectors.has_failures(output) else batch.failures:
                        terminal.failed(failure)
                tally.require_inputs(report, output, terminal, allow_empty=embedding.allow_empty)
        if report:
            report(terminal)
        tally.report(terminal)
    tally.leave()


def _texts(inputs: InputOptions) -> Iterator[str]:
    """Give the texts: as typed, else the lines of stdin; empty ones are passed over."""
    if inputs.files_from is not None:
        raise UsageError("--files-from lists images; with --text, send lines on stdin")
    if inputs.paths:
        return (text for text in inputs.paths if text.strip())
    if sys.stdin is None:
        raise UsageError("no texts: give some, or send lines on stdin")
    lines = (os.fsdecode(line).rstrip("\r\n") for line in sys.stdin.buffer)
    return (line for line in lines if line.strip())
