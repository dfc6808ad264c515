"""Pictures whose labels are known: a folder per class, or a manifest; and which label a name means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from siglipcli.sources import DEFAULT_OPTIONS, Options

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from siglipcli.labelsets import LabelSet
    from siglipcli.records import Failure, Source

__all__ = ["Data", "Example", "read", "truth"]


@dataclass(frozen=True, slots=True)
class Example:
    """An input and the names that the data gives it; none: no label of the set is right."""

    input: Source | Failure
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Data:
    """A data set: its name (the folder's or manifest's) and its pictures."""

    name: str
    examples: Sequence[Example]

    def inputs(self) -> Iterator[Source | Failure]:
        """Yield what there is to encode, in order."""
        return (example.input for example in self.examples)


def read(path: Path, options: Options = DEFAULT_OPTIONS) -> Data:
    """Return the data set in a folder per class, or in a CSV or JSONL manifest."""
    raise NotImplementedError


def truth(
    names: Sequence[tuple[str, ...]], labels: LabelSet, renames: Mapping[str, str]
) -> NDArray[np.bool_]:
    """Return bool[n, n_labels]: the labels that the names mean. Raises UsageError."""
    raise NotImplementedError
