"""Label sets from a command's options, and what stderr says of them before a run."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Protocol

import typer

from siglipcli.cli.options import LabelOptions
from siglipcli.errors import LabelError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from siglipcli.encoders import Encoder
    from siglipcli.labels import LabelSet
    from siglipcli.terminal.screen import Terminal

__all__ = [
    "CalibratedLabelOptions",
    "check_calibration",
    "load",
    "read",
    "read_stdin_once",
]
__all__ += ["spot_labels", "warn_of_prompts", "warn_of_texts", "watched_texts"]

MAX_WARNINGS = 3  # of one kind, in one set
_CHUNK = 256  # texts looked at together


@dataclass(frozen=True)
class CalibratedLabelOptions(LabelOptions):
    """What to ask for, where thresholds decide."""

    strict: Annotated[
        bool,
        typer.Option(
            "--strict", help="Refuse a label set calibrated for another model or precision."
        ),
    ] = False


def read(reference: str) -> tuple[str, str]:
    """Return a label set's text and the name that messages show; `-` is stdin. Raises LabelError."""
    from siglipcli import labels
    from siglipcli.labels.nodes import MAX_BYTES, decode

    if reference != "-":
        return labels.read(reference)
    if sys.stdin is None:
        raise UsageError("cannot read a label set on stdin: it is closed")
    return decode(sys.stdin.buffer.read(MAX_BYTES + 1), "stdin"), "stdin"


def load(reference: str, templates: Sequence[str] | None = None) -> LabelSet:
    """Return the label set that `read` gives. Raises LabelError."""
    from siglipcli import labels

    text, file = read(reference)
    return labels.parse(text, file, templates=templates)


def spot_labels(options: LabelOptions) -> LabelSet:
    """Return the labels of --label as a set. Raises LabelError."""
    from siglipcli.labels import LabelSet
    from siglipcli.labels.spot import names

    return LabelSet.of(names(options.label or ()), templates=options.template)


def read_stdin_once(references: Sequence[str], *others: str | None) -> None:
    """Raise UsageError where stdin is a label set and something else too."""
    uses = references.count("-")
    if uses > 1 or (uses and "-" in others):
        raise UsageError("stdin cannot be both a label set and another input")


def warn_of_prompts(sets: Iterable[LabelSet], encoder: Encoder, terminal: Terminal) -> None:
    """Say on stderr what the model does not read as the sets' prompts have it, unless --quiet."""
    from siglipcli.labels.model_view import ModelView, capped, prompts, text_warnings

    if terminal.quiet:
        return
    view = ModelView(encoder.tokenizer)
    for label_set in sets:
        for line in capped(text_warnings(prompts(label_set), view), MAX_WARNINGS):
            terminal.note(f"label set {label_set.name}: {line}")


def warn_of_texts(texts: Sequence[str], encoder: Encoder, terminal: Terminal) -> None:
    """Say on stderr what the model does not read of texts as written, unless --quiet."""
    for _ in watched_texts(texts, encoder, terminal):
        pass


def watched_texts(texts: Iterable[str], encoder: Encoder, terminal: Terminal) -> Iterator[str]:
    """Pass texts on, and say on stderr what the model does not read as written, unless --quiet."""
    from siglipcli.labels.model_view import ModelView, capped, text_warnings

    if terminal.quiet:
        yield from texts
        return
    view, counts, stream = ModelView(encoder.tokenizer), Counter[str](), iter(texts)
    while chunk := list(islice(stream, _CHUNK)):
        for line in capped(
            text_warnings((("", text) for text in chunk), view), MAX_WARNINGS, counts
        ):
            terminal.note(line)
        yield from chunk


class _Model(Protocol):
    """What is asked of an encoder here, which may be open on another machine."""

    @property
    def name(self) -> str: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def precision(self) -> str: ...


def check_calibration(
    sets: Iterable[LabelSet], encoder: _Model, note: Callable[[str], None], *, strict: bool
) -> None:
    """Say where thresholds were fitted on another model or precision; with `strict`, raise LabelError."""
    for label_set in sets:
        warning = label_set.check_calibration(encoder.name, encoder.fingerprint, encoder.precision)
        if warning and strict:
            raise LabelError(warning, code="calibrated_elsewhere", name=label_set.name)
        if warning:
            note(warning)
