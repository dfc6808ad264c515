"""A label set beside its text, so that fitted numbers can be written into it with its comments kept."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from siglipcli import labels as labelsets
from siglipcli.labels import rewrite

if TYPE_CHECKING:
    from collections.abc import Sequence

    from siglipcli.evaluation.run import Known
    from siglipcli.labels import LabelSet

__all__ = ["Written"]


@dataclass(frozen=True, slots=True)
class Written:
    """A label set, its text, and the file's name for messages."""

    labels: LabelSet
    text: str
    file: str

    @classmethod
    def read(cls, text: str, file: str) -> Written:
        """Return the set in a file's text. Raises LabelError."""
        return cls(labelsets.parse(text, file), text, file)

    @classmethod
    def plain(cls, labels: LabelSet, templates: Sequence[str] | None) -> Written:
        """Return a set of plain names that `templates` were filled with, and text for it."""
        return cls(labels, rewrite.plain(labels, templates), labels.name)

    def filled(self, calibrated: LabelSet) -> str:
        """Return the text with the numbers of `calibrated`. Raises LabelError where they have no place."""
        return rewrite.rewrite(self.text, self.file, calibrated)

    def check(self, known: Known, *, shift: bool) -> None:
        """Write numbers wherever some may come, so that text without a place for them is refused before the work.

        They may come to labels that images have, and to their parents. Raises LabelError.
        """
        labels, right = self.labels, known.truths[0]
        named = (
            label.path.split("/")
            for label, column in zip(labels.labels, right.T, strict=True)
            if column.any()
        )
        able = {"/".join(parts[: end + 1]) for parts in named for end in range(len(parts))}
        filled = tuple(
            replace(label, threshold=1 / (i + 2)) if label.path in able else label
            for i, label in enumerate(labels.labels)
        )
        trial = replace(labels, labels=filled)
        if shift:
            trial = replace(trial, bias_shift=-labels.bias_shift or 1.0, threshold=0.123)
        self.filled(trial)
