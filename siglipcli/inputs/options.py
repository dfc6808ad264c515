"""What to take from folders and what never to take: `Options`, compiled into a `Chooser` for a run."""

# Names stay the strings that were typed: Path would drop their `./`.
# ruff: noqa: PTH100, PTH117, PTH119, PTH121

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from glob import has_magic
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

__all__ = [
    "IMAGE_ENDINGS",
    "RAW_ENDINGS",
    "Chooser",
    "Options",
    "Overlooked",
    "can_read_raw",
    "is_same",
]

IMAGE_ENDINGS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".jfi", ".jif", ".jps", ".png", ".apng", ".webp", ".gif", ".bmp"),
    *(".tif", ".tiff", ".btf", ".avif", ".avifs", ".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".ico", ".mpo"),
    *(".heic", ".heif", ".heics", ".heifs", ".hif", ".jxl"),  # a row that names the plugin beats silence
)  # fmt: skip
"""What counts as an image inside a folder, unless other endings are wanted."""

RAW_ENDINGS = (
    *(".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".sr2", ".srf", ".dng", ".raf", ".orf", ".rw2", ".rwl"),
    *(".pef", ".srw", ".3fr", ".fff", ".iiq", ".mos", ".mef", ".mrw", ".x3f", ".erf", ".kdc", ".dcr", ".gpr"),
)  # fmt: skip
"""Camera RAW: images inside a folder too, where the library is here that reads them."""


@dataclass(frozen=True, slots=True)
class Options:
    """What to take from folders, and what never to take.

    `extensions`: endings with or without the dot (`jpg`, `.jpg`) or globs against the name (`*.jp*g`), in
    any case; one text may hold several, separated by commas; None takes every file.
    `exclude`: globs against the base name, the path below the named folder and the path as typed; a
    folder that matches is not entered. They hold for named files too, as the shell expands `*.jpg` first.
    `skip`: a file never to read (this run's output). `skip_folders`: folders below the named ones that are
    not entered, and `skip_files` decides about files in folders by their path: this run's destination.
    `one_of_pairs`: a RAW file and the JPEG of its name are one input, the JPEG.
    `stdin_limit`: the most bytes that are taken from stdin for `-`.
    """

    recursive: bool = True
    extensions: tuple[str, ...] | None = IMAGE_ENDINGS
    exclude: tuple[str, ...] = ()
    hidden: bool = False
    skip: Path | None = None
    skip_folders: tuple[Path, ...] = ()
    skip_files: Callable[[str], bool] | None = None
    one_of_pairs: bool = False
    stdin_limit: int = 1 << 30


@dataclass(slots=True)
class Overlooked:
    """What a walk did not take, counted while it goes on: for a word to the user at its end.

    `endings`: lower-case ending → how many files of it were passed over in folders. `excluded`: the
    patterns of `Options.exclude` that matched something.
    """

    endings: Counter[str] = field(default_factory=Counter)
    excluded: set[str] = field(default_factory=set)

    def named(self, most: int = 6) -> str:
        """Name the endings, the most frequent first, with their counts: `12 .txt, 3 without an ending`."""
        names = [
            f"{count:,} {ending or 'without an ending'}"
            for ending, count in self.endings.most_common(most)
        ]
        if (rest := len(self.endings) - most) > 0:
            names.append(f"{rest:,} more endings")
        return ", ".join(names)

    def unused(self, options: Options) -> list[str]:
        """Return the patterns of `options.exclude` that have matched nothing."""
        return [pattern for pattern in options.exclude if pattern not in self.excluded]


def can_read_raw() -> bool:
    """Whether the library that reads camera RAW is installed; it is not imported."""
    return find_spec("rawpy") is not None


class Chooser:
    """A run's `Options`, compiled; what is passed over is counted in `overlooked`."""

    def __init__(self, options: Options, overlooked: Overlooked) -> None:
        self.options = options
        self.overlooked = overlooked
        extensions = options.extensions or ()
        if options.extensions is IMAGE_ENDINGS and can_read_raw():
            extensions = (*IMAGE_ENDINGS, *RAW_ENDINGS)
        plain, self._globs = _endings(extensions)
        self._suffixes = tuple(plain)
        self._excluded = [
            (pattern, form) for pattern in options.exclude for form in _forms(pattern)
        ]

    def wants(self, name: str) -> bool:
        """Whether a file of this base name is an image to look at."""
        if self.options.extensions is None:
            return True
        lower = name.lower()
        if lower.endswith(self._suffixes) or any(
            fnmatchcase(lower, pattern) for pattern in self._globs
        ):
            return True
        self.overlooked.endings[_ending(lower)] += 1
        return False

    def excludes(self, path: str, below: str) -> bool:
        """Whether a pattern matches `path`, which is `below` in the folder that was named."""
        if not self._excluded:
            return False
        name = os.path.basename(path)
        for pattern, form in self._excluded:
            if any(fnmatchcase(text, form) for text in (name, below, *_as_typed(path, form))):
                self.overlooked.excluded.add(pattern)
                return True
        return False

    def skips_folder(self, path: str) -> bool:
        """Whether `path` is a folder that is not entered."""
        return any(is_same(path, folder) for folder in self.options.skip_folders)

    def skips_in_folder(self, path: str) -> bool:
        """Whether `path`, met in a folder, is a file that is not read."""
        skips = self.options.skip_files
        return self.skips(path) or (skips is not None and skips(path))

    def skips(self, path: str) -> bool:
        """Whether `path` is the file that is never read."""
        skip = self.options.skip
        if skip is None or skip.name.lower() != os.path.basename(path).lower():
            return False
        return is_same(path, skip)


def is_same(path: str, other: Path) -> bool:
    """Whether two paths are one file; False where either is not there."""
    try:
        return os.path.samefile(path, other)
    except OSError:
        return False


def _endings(extensions: Iterable[str]) -> tuple[list[str], list[str]]:
    """Split what was typed into plain endings, with their dot, and globs; all in lower case."""
    plain, globs = [], []
    for text in extensions:
        for word in text.lower().split(","):
            ending = word.strip().removeprefix("*.") if word.strip() else ""
            if has_magic(ending):
                globs.append(word.strip() if "." in word else f"*.{ending}")
            elif ending:
                plain.append("." + ending.lstrip("."))
    return plain, globs


def _forms(pattern: str) -> list[str]:
    """Return the globs that one pattern stands for: `./a/` is `a`, `**/raw` is the topmost `raw` too."""
    form = os.path.normpath(pattern) if pattern else pattern
    return [form, form[3:]] if form.startswith("**/") else [form]


def _as_typed(path: str, form: str) -> Iterator[str]:
    """Yield the whole path for a pattern that begins with a plain folder: `photos/2023`, not `*/2023`."""
    if os.path.isabs(form):
        yield os.path.abspath(path)
    elif os.sep in form and not has_magic(form.partition(os.sep)[0]):
        yield os.path.normpath(path)


def _ending(lower: str) -> str:
    stem, dot, ending = lower.rpartition(".")
    return f".{ending}" if dot and stem else ""
