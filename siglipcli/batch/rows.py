"""What readers of shards yield: one input a row, with the columns that are kept beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from siglipcli.results import Failure, Source

__all__ = ["Row"]


@dataclass(frozen=True, slots=True)
class Row:
    """One input: `kept` are its values in the order of the kept columns. `is_cut`: it stands for a rest that is lost."""

    item: Source | Failure
    kept: tuple[object, ...] = ()
    is_cut: bool = False
