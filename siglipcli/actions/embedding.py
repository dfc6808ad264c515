"""Keywords in image files themselves: written by exiftool into a draft, checked, and put in the file's place.

exiftool's own `-overwrite_original` would break links and lose attributes, and `-overwrite_original_in_place`
leaves half a file when it is killed. So it writes beside, and the rename is ours.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from siglipcli.actions.embedded import image_parts
from siglipcli.actions.exiftool import ExifTool, ExifToolError, arguments
from siglipcli.actions.reading import file_content, holds_the_same
from siglipcli.actions.sidecar import replaced
from siglipcli.errors import ImageError, SiglipError
from siglipcli.files import stamp
from siglipcli.store import content_digest, file_states

if TYPE_CHECKING:
    from pathlib import Path

    from siglipcli.actions.keywords import Place
    from siglipcli.files import Stamp
    from siglipcli.store import Store

__all__ = ["Embedder"]

_TOGETHER = 64  # files that the store hears of at once
_SETTLED = 0.06  # seconds after which a file's times are trusted, see `store.states`


class Embedder:
    """Writes keywords into files. exiftool is started with the first one; `close` ends it."""

    def __init__(self, store: Store | None = None, *, keep_times: bool = False) -> None:
        self.store = store
        self._keep_times = keep_times
        self._exiftool: ExifTool | None = None
        self._written: list[tuple[Path, bytes, Stamp]] = []

    def check(self) -> None:
        """Start exiftool. Raises SiglipError (code `exiftool`) where there is none that can be used."""
        self._exiftool = self._exiftool or ExifTool()

    def write(
        self, path: Path, read: Stamp | None, before: Place, after: Place, name: Path
    ) -> None:
        """Turn a file's keywords into others; its image stays, and the store knows it under its new content.

        `read` is the file's stamp when it was read; `name` is what the run calls it, which may be a link. Raises
        FileChangedError, ImageError, OSError.
        """
        try:
            self.check()
        except SiglipError as error:  # --remove in a file, where nothing was to be embedded
            raise ImageError("not_embedded", str(error)) from error
        digests: list[bytes] = []

        def write(draft: Path) -> None:
            self._embed(path, draft, before, after)
            if self.store:
                digests.extend(content_digest(file.read_bytes()) for file in (path, draft))
                self.store.copy(*digests)

        replaced(path, write, read, keep_times=self._keep_times)
        if digests:
            self._written.append((name, digests[1], stamp(path.stat())))
            if len(self._written) >= _TOGETHER:
                self.tell_store()

    def _embed(self, path: Path, draft: Path, before: Place, after: Place) -> None:
        assert self._exiftool is not None
        try:
            self._exiftool.run(
                *arguments(before, after), "-o", *map(os.path.abspath, (draft, path))
            )
        except ExifToolError as error:
            reason = str(error).removesuffix(f" - {path}")
            raise ImageError(
                "not_embedded", f"exiftool cannot write this file: {reason}."
            ) from error
        if not draft.exists():
            raise ImageError("not_embedded", "exiftool cannot write files of this format.")
        if image_parts(path) != image_parts(draft):
            raise ImageError(
                "not_embedded",
                "exiftool would have changed the image itself, so it is left as it is.",
            )
        if not holds_the_same(file_content(draft).place, after):
            raise ImageError(
                "not_embedded",
                "Keywords that exiftool writes into this file cannot be read back, so it is left as it is.",
            )

    def tell_store(self) -> None:
        """Enter the files that were written with their new content, where they are still as we left them."""
        if not (self.store and self._written):
            return
        time.sleep(_SETTLED)
        states = file_states(path for path, _, _ in self._written)
        known = [
            (digest, state)
            for (_, digest, then), state in zip(self._written, states, strict=True)
            if state and state[1:5] == then
        ]
        self._written.clear()
        self.store.keep_files(known)

    def close(self) -> None:
        """End exiftool."""
        if self._exiftool:
            self._exiftool.close()
