"""Embeddings with the inputs they are of: a batch in columns, or one record an input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

from siglipcli.results import Failure, Source

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

__all__ = ["Batch", "Embedded"]


@dataclass(frozen=True, slots=True, eq=False)
class Embedded:
    """An input and its embedding, float32[d], a unit row; `stored` if it was not encoded now."""

    source: Source
    vector: NDArray[np.float32]
    stored: bool = False

    @property
    def file(self) -> str:
        """The input's name, as in every result."""
        return self.source.name

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Embedded):
            return NotImplemented
        same = (self.source, self.stored) == (other.source, other.stored)
        return same and np.array_equal(self.vector, other.vector)

    def __hash__(self) -> int:
        return hash((self.source, self.vector.tobytes()))

    def __repr__(self) -> str:
        return f"Embedded({self.file!r}, float32[{len(self.vector)}], stored={self.stored})"


@dataclass(frozen=True, slots=True)
class Batch:
    """Inputs that are done, in order: a Source has a row in `vectors`, a Failure has none.

    `vectors` is float32[n, d], unit rows; `stored[i]` tells whether row i was not encoded now.
    """

    items: Sequence[Source | Failure]
    vectors: NDArray[np.float32]
    stored: Sequence[bool]

    @property
    def sources(self) -> Sequence[Source]:
        """The inputs that have a vector, one a row."""
        if len(self.items) == len(self.stored):
            return cast("Sequence[Source]", self.items)
        return [item for item in self.items if isinstance(item, Source)]

    @property
    def failures(self) -> Sequence[Failure]:
        """The inputs that have none."""
        if len(self.items) == len(self.stored):
            return ()
        return [item for item in self.items if isinstance(item, Failure)]

    def embedded(self) -> Iterator[Embedded | Failure]:
        """Yield the inputs one by one."""
        rows = zip(self.vectors, self.stored, strict=True)
        for item in self.items:
            yield item if isinstance(item, Failure) else Embedded(item, *next(rows))
