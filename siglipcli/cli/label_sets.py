"""Label sets from a command's options, and what stderr says of them before a run."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from siglipcli.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from siglipcli.api import Classifier
    from siglipcli.cli.options import LabelOptions
    from siglipcli.encoders import Encoder
    from siglipcli.labels import LabelSet
    from siglipcli.scoring import LabelEmbeddings
    from siglipcli.terminal.screen import Terminal

__all__ = ["embedded", "load", "read", "read_stdin_once", "spot_labels"]
__all__ += ["warn_of_prompts", "warn_of_texts", "watched_texts"]

MAX_WARNINGS = 3  # of one kind, in one set


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

    return labels.parse(*read(reference), templates=templates)


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


def embedded(
    sets: Sequence[LabelSet], classifier: Classifier, terminal: Terminal, *, strict: bool
) -> list[LabelEmbeddings]:
    """Encode label sets; say on stderr what a person should know of them before. Raises LabelError, with `strict`."""
    from siglipcli.labels import check_calibration

    check_calibration(sets, classifier.encoder, terminal.note, strict=strict)
    warn_of_prompts(sets, classifier.encoder, terminal)
    with terminal.waiting("encoding labels") as progress:
        return classifier.encode_label_sets(sets, progress)


def warn_of_prompts(sets: Iterable[LabelSet], encoder: Encoder, terminal: Terminal) -> None:
    """Say on stderr what the model does not read as the sets' prompts have it, unless --quiet."""
    from siglipcli.labels.model_view import ModelView, set_warnings

    if terminal.quiet:
        return
    view = ModelView(encoder.tokenizer)
    for label_set in sets:
        for line in set_warnings(label_set, view, MAX_WARNINGS):
            terminal.note(f"label set {label_set.name}: {line}")


def warn_of_texts(texts: Sequence[str], encoder: Encoder, terminal: Terminal) -> None:
    """Say on stderr what the model does not read of texts as written, unless --quiet."""
    for _ in watched_texts(texts, encoder, terminal):
        pass


def watched_texts(texts: Iterable[str], encoder: Encoder, terminal: Terminal) -> Iterable[str]:
    """Pass texts on, and say on stderr what the model does not read as written, unless --quiet."""
    from siglipcli.labels.model_view import ModelView, watched

    if terminal.quiet:
        return texts
    return watched(texts, ModelView(encoder.tokenizer), terminal.note, MAX_WARNINGS)
