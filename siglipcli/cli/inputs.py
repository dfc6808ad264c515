"""From the options that name inputs to a lazy stream of them, and what a run says of inputs at its end."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from siglipcli.errors import UsageError
from siglipcli.inputs import RAW_ENDINGS, NamedInputs, Options, Overlooked, can_read_raw, check_list
from siglipcli.text import visible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from siglipcli.cli.options import InputOptions, SavedOptions, WalkOptions
    from siglipcli.embedding_files import SavedVectors
    from siglipcli.results import Failure, Source
    from siglipcli.terminal.screen import Terminal

__all__ = ["Inputs", "walking"]

_STORE = re.compile(r"(s3|gs|gcs|abfss?|hdfs)://", re.IGNORECASE)


@dataclass
class Inputs:
    """What a command reads: the inputs that the options name, or saved embeddings in their place.

    Raises UsageError at once where nothing is named or both are, or the embeddings cannot be read; from the
    stream where an input is the output.
    """

    options: InputOptions
    saved: SavedOptions | None = None
    output: Path | None = None
    skip_folders: tuple[Path, ...] = ()
    skip_files: Callable[[str], bool] | None = None
    files: NamedInputs = field(init=False)
    _embeddings: SavedVectors | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        paths, listed = self.options.paths or (), self.options.files_from
        walk = replace(
            walking(self.options, self.output),
            one_of_pairs=self.options.pairs == "one",
            skip_folders=self.skip_folders,
            skip_files=self.skip_files,
        )
        self.files = NamedInputs(paths, listed, self.options.null, walk)
        if self._saved:
            self._open_saved(self._saved)
            return
        if not paths and listed is None:
            raise UsageError("nothing to read: give images or folders, or --files-from FILE")
        if self.options.null and listed is None:
            raise UsageError("--null is for the list that --files-from reads")
        if listed == "-" and "-" in paths:
            raise UsageError("stdin cannot be both an image and a list of paths")
        if listed is not None:
            check_list(listed)

    @property
    def origin(self) -> str:
        """Where embeddings come from that are not made now."""
        return str(self._saved) if self._saved else "the store"

    @property
    def overlooked(self) -> Overlooked:
        """What the stream has passed over so far."""
        return self.files.overlooked

    def named(self) -> list[str]:
        """Name what is read, for people."""
        names = [visible(name) for name in self.options.paths or ()]
        if self.options.files_from:
            names.append(f"images listed in {visible(self.options.files_from)}")
        return [*names, visible(self._saved.name)] if self._saved else names

    def stream(self) -> Iterator[Source | Failure] | SavedVectors:
        """Return the inputs, lazily and never the output file; or the embeddings."""
        return self.files.stream() if self._embeddings is None else self._embeddings

    def total(self) -> int | None:
        """Count the inputs by walking them once more; None where that is not known."""
        return None if self._saved else self.files.total()

    def report(self, terminal: Terminal) -> None:
        """Say what was passed over in folders, and which patterns matched nothing."""
        endings = self.overlooked.endings
        if endings:
            terminal.note(f"passed over: {self.overlooked.named()}; see --ext")
        if not endings.keys().isdisjoint(RAW_ENDINGS) and not can_read_raw():
            terminal.note("camera RAW is read with: pip install 'siglipcli[photo]'")
        if store := next(filter(_STORE.match, self.options.paths or ()), None):
            from siglipcli.batch.uris import redacted

            terminal.note(
                "images in an object store are labelled where they are by:"
                f" siglip batch {visible(redacted(store))} --output FOLDER"
            )
        for pattern in self.overlooked.unused(self.files.options):
            terminal.note(f"--exclude {pattern} matched nothing")

    @property
    def _saved(self) -> Path | None:
        return self.saved.saved if self.saved else None

    def _open_saved(self, saved: Path) -> None:
        if self.options.paths or self.options.files_from is not None:
            raise UsageError("--from takes the place of images: give one or the other")
        from siglipcli import embedding_files

        self._embeddings = embedding_files.load(saved)


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
