"""The sidecars of an image: which files they are, and how one is written so that it is never half there.

`photo.jpg.xmp` (darktable, digiKam, immich) belongs to `photo.jpg` alone. `photo.xmp` (Lightroom) may be meant for
any image of that name: for the RAW where there is one, else for the first.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from siglipcli import processes
from siglipcli.actions import placing
from siglipcli.errors import ImageError
from siglipcli.files import Stamp, delete, replacing, stamp
from siglipcli.inputs import IMAGE_ENDINGS, RAW_ENDINGS
from siglipcli.inputs.pairs import Neighbours, is_raw

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["FileChangedError", "Sidecar", "existing", "fresh", "replaced"]
__all__ += ["removed", "sweep"]

_ENDINGS = (".xmp", ".XMP")
_RANKS = {name: at for at, name in enumerate((*sorted(RAW_ENDINGS), *IMAGE_ENDINGS))}
_DRAFT = ".siglip-draft-"
_HOST = hashlib.sha256(platform.node().encode()).hexdigest()[:8]
"""Stands in a draft's name: the pids of another machine mean nothing here."""


class FileChangedError(Exception):
    """Another program has written the file since it was read."""


@dataclass(frozen=True, slots=True)
class Sidecar:
    """A sidecar's path, and its kind: full (`photo.jpg.xmp`) or stem (`photo.xmp`)."""

    path: Path
    kind: str


def existing(image: Path, neighbours: Neighbours | None = None) -> list[Sidecar]:
    """Return the sidecars that an image has: both kinds, where both are there; links that lead nowhere, too.

    `neighbours` remembers the names of a folder.
    """
    sidecars = []
    full = _first(image.with_name(image.name + ending) for ending in _ENDINGS)
    if full:
        sidecars.append(Sidecar(full, "full"))
    stem = _first(image.with_name(image.stem + ending) for ending in _ENDINGS)
    if stem and _is_owner(image, neighbours):
        sidecars.append(Sidecar(stem, "stem"))
    return sidecars


def fresh(image: Path, kind: str = "auto", neighbours: Neighbours | None = None) -> Sidecar:
    """Return the sidecar that is made where there is none; `auto`: `photo.xmp` for RAW, else `photo.jpg.xmp`.

    One that another image of the name has a better claim to is not made.
    """
    if kind == "auto":
        kind = "stem" if is_raw(image.name) else "full"
    if kind == "stem" and not _is_owner(image, neighbours):
        kind = "full"
    name = image.name if kind == "full" else image.stem
    return Sidecar(image.with_name(name + _ENDINGS[0]), kind)


def _first(paths: Iterator[Path]) -> Path | None:
    return next((path for path in paths if os.path.lexists(path)), None)


def _is_owner(image: Path, neighbours: Neighbours | None) -> bool:
    """Whether `photo.xmp` is this image's: no other image of that name goes before it.

    That of `photo.jpg.dng` is `photo.jpg`'s own.
    """
    names = [
        name for name in (neighbours or Neighbours()).of(str(image)) if _ending(name) in _RANKS
    ]
    is_first = image.name == min([image.name, *names], key=_rank)
    return is_first and not (
        _ending(image.stem) in _RANKS and image.with_name(image.stem).is_file()
    )


def _ending(name: str) -> str:
    return os.path.splitext(name)[1].lower()  # noqa: PTH122  # a name, no path


def _rank(name: str) -> tuple[int, str]:
    return _RANKS.get(_ending(name), len(_RANKS)), name


# --- writing --------------------------------------------------------------------------------------


def replaced(
    path: Path,
    write: Callable[[Path], object],
    read: Stamp | None,
    *,
    keep_times: bool = False,
) -> None:
    """Have `write` make a draft, flush it, and let it take the place of `path`: mode, owner and attributes stay.

    `read` is the file's stamp when it was read, None where there was none. Raises FileChangedError where it has
    another one now, ImageError (kind `read_only`) for a file that may not be written, OSError.
    """
    before = _state(path, read)
    draft = path.with_name(f"{_DRAFT}{_HOST}-{os.getpid()}")
    with suppress(FileNotFoundError):
        draft.unlink()
    if before is None:
        _made(path, draft, write)
        return
    with replacing(path, draft):
        write(draft)
        _take_over(path, draft, before, keep_times=keep_times)
        _flush(draft)
        _state(path, read)


def _made(path: Path, draft: Path, write: Callable[[Path], object]) -> None:
    """Put a new file in place, never over one that another program has made meanwhile."""
    try:
        write(draft)
        _flush(draft)
        placing.rename(draft, path)
    except FileExistsError as error:
        raise FileChangedError from error
    finally:
        delete(draft)


def removed(path: Path, read: Stamp | None) -> None:
    """Delete a file that says nothing any more. Raises what `replaced` does."""
    if _state(path, read):
        path.unlink()


def _state(path: Path, read: Stamp | None) -> os.stat_result | None:
    """Return the file's state, which must be the one in which it was read."""
    try:
        info = path.stat()
    except FileNotFoundError:
        info = None
    if (stamp(info) if info else None) != read:
        raise FileChangedError
    if info and not (info.st_mode & 0o222 and os.access(path, os.W_OK)):  # root may write all
        raise ImageError("read_only", f"{path.name} is read-only, so it is left as it is.")
    return info


def _take_over(path: Path, draft: Path, before: os.stat_result, *, keep_times: bool) -> None:
    """Give the draft what the file has beside its content; its owner where this user may."""
    times = draft.stat()
    if hasattr(os, "chown"):
        with suppress(OSError):
            os.chown(draft, before.st_uid, before.st_gid)
    shutil.copystat(path, draft)  # mode, times, extended attributes
    if not keep_times:
        os.utime(draft, ns=(before.st_atime_ns, times.st_mtime_ns))


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sweep(folder: Path) -> None:
    """Delete the drafts that runs have left in a folder which were killed on this machine."""
    start = f"{_DRAFT}{_HOST}-"
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            pid = entry.name.removeprefix(start)
            if pid != entry.name and pid.isdigit() and not processes.is_running(int(pid)):
                with suppress(OSError):
                    Path(entry.path).unlink()
