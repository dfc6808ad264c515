"""RAW files and the images of the same name beside them: which files of a folder belong together."""

# Names stay the strings that were typed: Path would drop their `./`.
# ruff: noqa: PTH118, PTH120, PTH122

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar, cast

from siglipcli.inputs.options import RAW_ENDINGS
from siglipcli.results import Failure, Prediction, Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = [
    "JPEG_ENDINGS",
    "Neighbours",
    "is_jpeg",
    "is_raw",
    "jpeg_beside",
    "one_of_pairs",
    "raws_beside",
    "with_raws",
]

T = TypeVar("T", bound=Source | Failure | Prediction)

JPEG_ENDINGS = (".jpg", ".jpeg", ".jpe", ".jfif")


def is_raw(name: str) -> bool:
    """Whether a name ends as camera RAW does."""
    return name.lower().endswith(RAW_ENDINGS)


def is_jpeg(name: str) -> bool:
    """Whether a name ends as a JPEG's does."""
    return name.lower().endswith(JPEG_ENDINGS)


class Neighbours:
    """The names in one folder at a time, by what they are called but for the ending.

    `stems` gives what a name is listed under, first its own stem.
    """

    def __init__(
        self, stems: Callable[[str], tuple[str, ...]] = lambda name: (os.path.splitext(name)[0],)
    ) -> None:
        self._stems = stems
        self._folder: str | None = None
        self._names: dict[str, list[str]] = {}

    def of(self, path: str) -> list[str]:
        """Return the names in the path's folder that have its stem, sorted; its own is one of them."""
        folder, name = os.path.split(path)
        if folder != self._folder:
            self._names = self._read(folder)
            self._folder = folder
        return self._names.get(self._stems(name)[0], [])

    def _read(self, folder: str) -> dict[str, list[str]]:
        names: dict[str, list[str]] = {}
        try:
            listed = sorted(os.listdir(folder or os.curdir))  # noqa: PTH208
        except OSError:  # its files have a row of their own
            return names
        for name in listed:
            for stem in self._stems(name):
                names.setdefault(stem, []).append(name)
        return names


def raws_beside(path: str, neighbours: Neighbours | None = None) -> list[str]:
    """Return the RAW files that stand beside an image and have its name but for the ending."""
    names = (neighbours or Neighbours()).of(path)
    return [_beside(path, name) for name in names if is_raw(name)]


def jpeg_beside(path: str, neighbours: Neighbours | None = None) -> str | None:
    """Return the JPEG that stands beside a RAW file and has its name but for the ending."""
    names = (neighbours or Neighbours()).of(path)
    return next((_beside(path, name) for name in names if is_jpeg(name)), None)


def one_of_pairs(
    items: Iterable[Source | Failure], excludes: Callable[[str], bool] = lambda _: False
) -> Iterator[Source | Failure]:
    """Pass inputs on, each pair of a RAW file and a JPEG once: as the JPEG, where its first half stands.

    A JPEG that `excludes` is no half of a pair.
    """
    neighbours = Neighbours()
    passed: set[str] = set()
    for item in items:
        pair = _pair(item, neighbours) if isinstance(item, Source) and item.origin is None else None
        if pair is None or excludes(pair):
            yield item
        elif pair not in passed:
            passed.add(pair)
            yield Source(pair)


def with_raws(items: Iterable[T], excludes: Callable[[str], bool] = lambda _: False) -> Iterator[T]:
    """Follow each input or prediction that is a JPEG with the same for the RAW files of its name.

    The other half of `one_of_pairs`, for what is done to both; what `excludes` says is left out.
    """
    neighbours = Neighbours()
    for item in items:
        yield item
        path = _file_of(item)
        for raw in raws_beside(path, neighbours) if path and is_jpeg(path) else ():
            if excludes(raw):
                continue
            if isinstance(item, Prediction):
                yield cast("T", replace(item, file=raw, source=None))
            else:
                yield cast("T", Source(raw))


def _file_of(item: Source | Failure | Prediction) -> str | None:
    """Return where an input is on the disk; None for one that is in memory, or failed."""
    if isinstance(item, Failure):
        return None
    source = item.source or Source(item.file) if isinstance(item, Prediction) else item
    return None if isinstance(source.origin, bytes) else str(source.origin or source.name)


def _pair(item: Source, neighbours: Neighbours) -> str | None:
    """Return the JPEG of the pair that an input is a half of."""
    if is_raw(item.name):
        return jpeg_beside(item.name, neighbours)
    if is_jpeg(item.name) and raws_beside(item.name, neighbours):
        return jpeg_beside(item.name, neighbours)
    return None


def _beside(path: str, name: str) -> str:
    return os.path.join(os.path.dirname(path), name)
