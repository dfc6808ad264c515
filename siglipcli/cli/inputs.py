"""From the options that name inputs to a lazy stream of them, and what a run says of inputs at its end."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from siglipcli.errors import UsageError
from siglipcli.inputs import (
    RAW_ENDINGS,
    Options,
    Overlooked,
    can_read_raw,
    check_list,
    expand,
    read_list,
)
from siglipcli.text import visible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from siglipcli.cli.options import InputOptions, SavedOptions, WalkOptions
    from siglipcli.embedding_files import SavedVectors
    from siglipcli.results import Failure, Source
    from siglipcli.terminal.screen import Terminal

__all__ = ["Inputs", "walking"]

_STORE = re.compile(r"(s3|gs|gcs|abfss?|hdfs)://", re.IGNORECASE)
_ENDINGS = 6  # named in a note


@dataclass
class Inputs:
    """What a command reads: the inputs that the options name, or saved embeddings in their place.

    Raises UsageError at once where nothing is named or both are, where the output is what is read, or
    where the embeddings cannot be read.
    """

    options: InputOptions
    saved: SavedOptions | None = None
    output: Path | None = None
    skip_folders: tuple[Path, ...] = ()
    skip_files: Callable[[str], bool] | None = None
    overlooked: Overlooked = field(default_factory=Overlooked)
    _embeddings: SavedVectors | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        paths, listed = self.options.paths or (), self.options.files_from
        if self._saved:
            self._check_saved(self._saved)
            return
        if not paths and listed is None:
            raise UsageError("nothing to read: give images or folders, or --files-from FILE")
        if self.options.null and listed is None:
            raise UsageError("--null is for the list that --files-from reads")
        if listed == "-" and "-" in paths:
            raise UsageError("stdin cannot be both an image and a list of paths")
        if listed is not None:
            check_list(listed)
        if self.output and listed and _same(Path(listed), self.output):
            raise UsageError(f"the output {self.output} is the list that --files-from reads")

    @property
    def origin(self) -> str:
        """Where embeddings come from that are not made now."""
        return str(self._saved) if self._saved else "the store"

    def named(self) -> list[str]:
        """Name what is read, for people."""
        names = [visible(name) for name in self.options.paths or ()]
        if self.options.files_from:
            names.append(f"images listed in {visible(self.options.files_from)}")
        return [*names, visible(self._saved.name)] if self._saved else names

    def stream(self) -> Iterator[Source | Failure] | SavedVectors:
        """Return the inputs, lazily and never the output file; or the embeddings."""
        if self._embeddings is not None:
            return self._embeddings
        names = _but_not(self._names(), self.output)
        return expand(names, self._walking(), overlooked=self.overlooked)

    def total(self) -> int | None:
        """Count the inputs by walking them once more; None where some can be read only once."""
        listed = self.options.files_from
        once = "-" in (self.options.paths or ()) or (listed and not Path(listed).is_file())
        if self._saved or once:
            return None
        return sum(1 for _ in expand(self._names(), self._walking()))

    def _walking(self) -> Options:
        options = walking(self.options, self.output)
        return replace(
            options,
            one_of_pairs=self.options.pairs == "one",
            skip_folders=self.skip_folders,
            skip_files=self.skip_files,
        )

    def excludes(self) -> Callable[[str], bool]:
        """Return what says of a path whether --exclude leaves it out."""
        from siglipcli.inputs.options import Chooser

        chooser = Chooser(self._walking(), self.overlooked)
        return lambda path: chooser.excludes(path, Path(path).name)

    def report(self, terminal: Terminal) -> None:
        """Say what was passed over in folders, and which patterns matched nothing."""
        endings = self.overlooked.endings
        if endings:
            named = [
                f"{count:,} {ending or 'without an ending'}"
                for ending, count in endings.most_common(_ENDINGS)
            ]
            if (rest := len(endings) - _ENDINGS) > 0:
                named.append(f"{rest:,} more endings")
            terminal.note(f"passed over: {', '.join(named)}; see --ext")
        if not endings.keys().isdisjoint(RAW_ENDINGS) and not can_read_raw():
            terminal.note("camera RAW is read with: pip install 'siglipcli[photo]'")
        for store in filter(_STORE.match, self.options.paths or ()):
            from siglipcli.batch.uris import redacted

            where = visible(redacted(store))
            terminal.note(
                f"images in an object store are labelled where they are by: siglip batch {where} --output FOLDER"
            )
            break
        for pattern in self.overlooked.unused(walking(self.options)):
            terminal.note(f"--exclude {pattern} matched nothing")

    @property
    def _saved(self) -> Path | None:
        return self.saved.saved if self.saved else None

    def _check_saved(self, saved: Path) -> None:
        if self.options.paths or self.options.files_from is not None:
            raise UsageError("--from takes the place of images: give one or the other")
        if self.output and _same(saved, self.output):
            raise UsageError(f"the output {self.output} is the file that --from reads")
        from siglipcli import embedding_files

        self._embeddings = embedding_files.load(saved)

    def _names(self) -> Iterator[str]:
        listed = self.options.files_from
        rest = () if listed is None else read_list(listed, null=self.options.null)
        return chain(self.options.paths or (), rest)


def walking(options: WalkOptions, output: Path | None = None) -> Options:
    """Turn the options on folders into the library's; `output` is never one of the inputs."""
    defaults = Options()
    return Options(
        recursive=options.recursive,
        extensions=tuple(options.ext) if options.ext else defaults.extensions,
        exclude=tuple(options.exclude or ()),
        hidden=options.hidden,
        skip=output,
    )


def _but_not(names: Iterable[str], output: Path | None) -> Iterator[str]:
    """Pass names on; refuse one that is the output file, which would be replaced by results."""
    there = output is not None and output.is_file()
    for name in names:
        if there and output and name != "-" and _same(Path(name), output):
            raise UsageError(f"the output {output} is one of the inputs")
        yield name


def _same(a: Path, b: Path) -> bool:
    try:
        return a.samefile(b)
    except OSError:
        return False
