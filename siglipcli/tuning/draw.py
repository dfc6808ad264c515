"""A sample of a user's images, spread over folders: the same for the same images and seed."""

from __future__ import annotations

import os
import random
from itertools import zip_longest
from typing import TYPE_CHECKING

from siglipcli.results import Source

if TYPE_CHECKING:
    from collections.abc import Iterable

    from siglipcli.results import Failure

__all__ = ["draw"]


def draw(sources: Iterable[Source | Failure], count: int, seed: int) -> tuple[list[Source], int]:
    """Return up to `count` images in random order, and how many there were.

    Folders take turns, so that a large one does not crowd out small ones; a file counts once.
    """
    folders: dict[str, list[Source]] = {}
    names = set()
    for source in sources:
        if isinstance(source, Source) and source.name not in names:
            names.add(source.name)
            folders.setdefault(os.path.dirname(source.name), []).append(source)  # noqa: PTH120
    rng = random.Random(seed)  # noqa: S311  # a sample, not a secret
    shuffled = [rng.sample(folders[name], len(folders[name])) for name in sorted(folders)]
    rng.shuffle(shuffled)
    in_turn = [source for turn in zip_longest(*shuffled) for source in turn if source is not None]
    drawn = in_turn[:count]
    rng.shuffle(drawn)
    return drawn, len(names)
