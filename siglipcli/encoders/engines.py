"""Compiled engines on disk: built once a checkpoint, under a lock, whole or not at all.

An engine is a folder that holds all a run needs: graphs, tokenizer, and a manifest with head, sizes,
fingerprint and the SHA-256 of every file. A folder without a manifest, or with one that does not
match its files, is never used: it is built again. It appears under its name by one rename, so a
process killed while it builds leaves only a draft, which the next builder throws away.
"""

from __future__ import annotations

import json
import os
import shutil
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from siglipcli.encoders.local_files import Origin
from siglipcli.encoders.weights import digest, sha256
from siglipcli.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from siglipcli.results import Head

__all__ = ["Kept", "Manifest", "clear", "engines", "lock", "open_engine", "prune", "remove"]

_FORMAT = 1  # raise it when engines of older versions must not be used
_MANIFEST = "engine.json"
_DRAFT = ".draft-"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an engine is, beside its graphs.

    `fingerprint` is the checkpoint's; `precision` is what the graphs were stored for; `runtime` names
    the library and version that built it.
    """

    model: str
    fingerprint: str
    precision: str
    runtime: str
    head: Head
    image_size: int
    context_length: int
    pad_token: str
    clean: str

    @property
    def folder(self) -> str:
        """The name of the engine's folder."""
        return f"{self.fingerprint}-{self.precision}"


@dataclass(frozen=True, slots=True)
class Kept:
    """An engine's folder, what it was built from and for and by, and its size in bytes."""

    folder: Path
    model: str
    precision: str
    runtime: str
    bytes: int


def open_engine(
    root: Path, manifest: Manifest, build: Callable[[Path], None], cache_dir: Path
) -> Path:
    """Return the folder of the engine for `manifest`, built by `build(draft_folder)` if none is here to trust.

    Two processes that need the same engine at once build one. Raises what `build` raises, and OSError
    where the folder cannot be written.
    """
    folder = root / manifest.folder
    if _trusted(folder, manifest, cache_dir):
        return folder
    with lock(root, manifest.folder):
        if not _trusted(folder, manifest, cache_dir):  # another process may have built it
            _build(folder, manifest, build)
            if not _trusted(folder, manifest, cache_dir):
                raise CheckpointError(f"the engine in {folder} changed while it was being built")
    return folder


def engines(root: Path) -> list[Kept]:
    """Return what is under `root`, unfinished drafts too."""
    folders = sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    return [_kept(folder) for folder in folders]


def clear(root: Path) -> int:
    """Delete every engine but those that another process builds now; return the bytes freed.

    The locks' files stay: a builder that waits for one would otherwise build beside another.
    """
    return sum(map(_remove_idle, engines(root)))


def prune(root: Path, runtime: str) -> int:
    """Delete what `runtime` cannot use: drafts of killed builds, engines of other versions.

    Returns the bytes freed. What another process is building is left alone.
    """
    return sum(_remove_idle(kept) for kept in engines(root) if kept.runtime != runtime)


def _remove_idle(kept: Kept) -> int:
    """Delete an engine unless its lock is taken; return the bytes freed."""
    from filelock import FileLock, Timeout

    try:
        with FileLock(kept.folder.with_name(f"{_engine_name(kept.folder)}.lock"), timeout=0):
            remove(kept.folder)
    except Timeout:
        return 0
    return kept.bytes


def _engine_name(folder: Path) -> str:
    """Return the name of the engine that a folder is, or was to become."""
    if not folder.name.startswith(_DRAFT):
        return folder.name
    return folder.name.removeprefix(_DRAFT).rpartition("-")[0]  # without the process id


def remove(folder: Path) -> None:
    """Delete an engine; its manifest goes first, so what is left is never taken for one."""
    (folder / _MANIFEST).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def _build(folder: Path, manifest: Manifest, build: Callable[[Path], None]) -> None:
    """Build beside the place and rename: only whole engines bear the name. The lock is held."""
    for left in folder.parent.glob(f"{_DRAFT}{manifest.folder}-*"):
        shutil.rmtree(left, ignore_errors=True)
    if folder.exists():
        remove(folder)
    draft = folder.with_name(f"{_DRAFT}{manifest.folder}-{os.getpid()}")
    draft.mkdir(parents=True)
    try:
        build(draft)
        _seal(draft, manifest)
        draft.replace(folder)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def _seal(draft: Path, manifest: Manifest) -> None:
    """Write the manifest last, once every file is on the disk."""
    files = {path.name: _flushed(path) for path in sorted(draft.iterdir()) if path.is_file()}
    content = {"format": _FORMAT, "manifest": asdict(manifest), "files": files}
    (draft / _MANIFEST).write_text(json.dumps(content, indent=1), encoding="utf-8")
    _flushed(draft / _MANIFEST)


def _flushed(path: Path) -> str:
    """Flush a file to the disk and return its SHA-256."""
    with path.open("r+b") as file:
        os.fsync(file.fileno())
    return sha256(path)


def _trusted(folder: Path, manifest: Manifest, cache_dir: Path) -> bool:
    """Whether the folder holds this very engine, each file with the content it was sealed with.

    A file's digest is remembered with its size, times and inode: a warm run reads none.
    """
    try:
        content = json.loads((folder / _MANIFEST).read_bytes())
        # One checkpoint may go by several names (a folder by several paths): they share its engine.
        sealed_for = content["manifest"] | {"model": manifest.model}
        same = content["format"] == _FORMAT and sealed_for == asdict(manifest)
        return same and all(
            digest(folder / name, Origin(manifest.model, "engine"), cache_dir) == sealed
            for name, sealed in content["files"].items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, CheckpointError):
        return False


@contextmanager
def lock(root: Path, name: str) -> Iterator[None]:
    """Hold the engine `name` for this process alone. Raises OSError where nothing can be written."""
    from filelock import FileLock

    root.mkdir(parents=True, exist_ok=True)
    with FileLock(root / f"{name}.lock"):
        yield


def _kept(folder: Path) -> Kept:
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    try:
        manifest = json.loads((folder / _MANIFEST).read_bytes())["manifest"]
        model, precision, runtime = (str(manifest[k]) for k in ("model", "precision", "runtime"))
    except (OSError, ValueError, KeyError, TypeError):
        return Kept(folder, "unfinished", "", "", size)
    return Kept(folder, model, precision, runtime, size)
