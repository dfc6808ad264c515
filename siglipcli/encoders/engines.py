"""Compiled engines on disk: built once a checkpoint, under a lock, whole or not at all.

An engine is a folder with the graphs, and a manifest with head, sizes, fingerprint and the SHA-256 of every
file. A folder without a manifest, or with one that does not
match its files, is never used: it is built again. It appears under its name by one rename, so a
process killed while it builds leaves only a draft, which the next builder throws away; and it leaves its name by
one rename, so a run meets a whole engine or none.
"""

from __future__ import annotations

import json
import logging
import os
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from siglipcli import files, processes
from siglipcli.encoders.local_files import Origin
from siglipcli.encoders.weights import digest, sha256
from siglipcli.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from filelock import BaseFileLock

    from siglipcli.results import Head

__all__ = ["Kept", "Manifest", "clear", "engines", "facts", "is_trusted", "lock", "open_engine"]
__all__ += ["prune", "replace", "seal", "workspace"]

_FORMAT = 2  # raise it when engines of older versions must not be used
_MANIFEST = "engine.json"
_DRAFT = ".draft-"
PATIENCE = 2.0
"""Seconds for which another process's build is waited for in silence."""

logger = logging.getLogger("siglipcli")


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an engine is, beside its graphs.

    `fingerprint` is the checkpoint's; `precision` is what the graphs were stored for; `runtime` names
    the library and version that built it. An engine's file may hold more beside it, see `facts`.
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
    root: Path,
    manifest: Manifest,
    build: Callable[[Path], None],
    cache_dir: Path,
    *,
    patience: float = PATIENCE,
) -> Path:
    """Return the folder of the engine for `manifest`, built by `build(draft_folder)` if none is here to trust.

    Two processes that need the same engine at once build one; the other logs that it waits after
    `patience` seconds. Raises what `build` raises, and OSError
    where the folder cannot be written.
    """
    folder = root / manifest.folder
    if is_trusted(folder, manifest, cache_dir):
        return folder
    with lock(root, manifest.folder, manifest.model, patience=patience):
        if not is_trusted(folder, manifest, cache_dir):  # another process may have built it
            _build(folder, manifest, build)
            if not is_trusted(folder, manifest, cache_dir):
                raise CheckpointError(f"the engine in {folder} changed while it was being built")
    return folder


def replace(
    root: Path, manifest: Manifest, build: Callable[[Path], None], more: dict[str, Any]
) -> Path:
    """Build an engine in the place of one that may be there; return its folder.

    `more` are facts, as JSON has them, that `facts` gives back. Raises what `build` raises, and OSError.
    """
    folder = root / manifest.folder
    with lock(root, manifest.folder, manifest.model):
        _build(folder, manifest, build, more)
    return folder


def facts(folder: Path) -> dict[str, Any]:
    """Return what an engine's file holds beside its manifest: `facts`, and `files`, name → SHA-256."""
    try:
        content = json.loads((folder / _MANIFEST).read_bytes())
        return {"facts": dict(content.get("facts", {})), "files": dict(content["files"])}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {"facts": {}, "files": {}}


@contextmanager
def workspace(root: Path, name: str, model: str) -> Iterator[Path]:
    """Lend a folder for the work on `name`, one process at a time; it is deleted afterwards.

    What a killed process left is deleted first, or by `prune` and `clear`. Raises OSError.
    """
    with lock(root, name, model):
        _delete_drafts(root, name)
        draft = root / f"{_DRAFT}{name}-{os.getpid()}"
        draft.mkdir(mode=0o700)
        try:
            yield draft
        finally:
            files.delete(draft)


def seal(folder: Path) -> files.Stamp | None:
    """Return what tells this build of an engine from a later one in its place; None where it is gone."""
    try:
        return files.stamp((folder / _MANIFEST).stat())
    except OSError:
        return None


def engines(root: Path) -> list[Kept]:
    """Return what is under `root`, unfinished drafts too."""
    folders = sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    return [_kept(folder) for folder in folders]


def clear(root: Path) -> int:
    """Delete every engine but those that another process builds or compiles now; return the bytes freed.

    Runs that have one open keep its files; one that needs more of it builds it again. The locks' files stay: a builder that waits for one would otherwise build beside another.
    """
    return sum(map(_remove_idle, engines(root)))


def prune(root: Path, runtime: str) -> int:
    """Delete what `runtime` cannot use: drafts of killed builds, engines of other versions.

    Returns the bytes freed. What another process is building is left alone.
    """
    return sum(_remove_idle(kept) for kept in engines(root) if kept.runtime != runtime)


def _remove_idle(kept: Kept) -> int:
    """Delete an engine unless its lock is taken; return the bytes freed."""
    from filelock import Timeout

    name = _engine_name(kept.folder)
    try:
        with _file_lock(kept.folder.parent, name).acquire(timeout=0):
            aside = _moved_aside(kept.folder, name)
    except Timeout:
        return 0
    files.delete(aside)  # takes a while; the next builder need not wait for it
    return 0 if aside.exists() else kept.bytes


def _moved_aside(folder: Path, name: str) -> Path:
    """Rename a folder to a draft's name, which nobody else has, so that it can be deleted in peace."""
    aside = folder.with_name(f"{_DRAFT}{name}-{os.urandom(4).hex()}")
    try:
        folder.replace(aside)
    except OSError:  # gone, or (on Windows) a run has its files open
        return folder
    return aside


def _engine_name(folder: Path) -> str:
    """Return the name of the engine that a folder is, or was to become."""
    if not folder.name.startswith(_DRAFT):
        return folder.name
    return folder.name.removeprefix(_DRAFT).rpartition("-")[0]  # without what makes it unique


def _build(
    folder: Path,
    manifest: Manifest,
    build: Callable[[Path], None],
    more: dict[str, Any] | None = None,
) -> None:
    """Build beside the place and rename: only whole engines bear the name. The lock is held."""
    _delete_drafts(folder.parent, manifest.folder)
    draft = folder.with_name(f"{_DRAFT}{manifest.folder}-{os.getpid()}")
    draft.mkdir(mode=0o700)
    with files.replacing(folder, draft):
        build(draft)
        _seal(draft, manifest, more or {})
        aside = _moved_aside(folder, manifest.folder) if folder.exists() else None
    if aside:
        files.delete(aside)


def _delete_drafts(root: Path, name: str) -> None:
    """Delete what killed processes left of an engine. Its lock is held."""
    for left in root.glob(f"{_DRAFT}{name}-*"):
        if _engine_name(left) == name:
            files.delete(left)


def _seal(draft: Path, manifest: Manifest, more: dict[str, Any]) -> None:
    """Write the manifest last, once every file is on the disk."""
    digests = {path.name: _flushed(path) for path in sorted(draft.iterdir()) if path.is_file()}
    content = {"format": _FORMAT, "manifest": asdict(manifest), "files": digests, "facts": more}
    (draft / _MANIFEST).write_text(json.dumps(content, indent=1), encoding="utf-8")
    _flushed(draft / _MANIFEST)


def _flushed(path: Path) -> str:
    """Flush a file to the disk, for this user alone, and return its SHA-256."""
    path.chmod(0o600)
    with path.open("r+b") as file:
        os.fsync(file.fileno())
    return sha256(path)


def is_trusted(folder: Path, manifest: Manifest, cache_dir: Path) -> bool:
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
def lock(root: Path, name: str, model: str, *, patience: float = PATIENCE) -> Iterator[None]:
    """Keep other processes off the engine `name` of `model`; log that they are waited for after `patience` seconds.

    Raises OSError where nothing can be written.
    """
    files.make_folder(root)
    note = root / f"{name}.holder"
    file_lock = _file_lock(root, name)
    _acquire(file_lock, note, model, patience)
    try:
        with suppress(OSError):  # only for the words of who waits
            files.write_note(note, {"pid": os.getpid(), "host": _host()})
        yield
        with suppress(OSError):
            note.unlink(missing_ok=True)
    finally:
        file_lock.release()


def _file_lock(root: Path, name: str) -> BaseFileLock:
    from filelock import FileLock

    return FileLock(root / f"{name}.lock", mode=0o600)


def _acquire(file_lock: BaseFileLock, note: Path, model: str, patience: float) -> None:
    """Wait for a lock, and log who has it whenever that changes."""
    from filelock import Timeout

    logged: tuple[int, str] | None = None
    while True:
        try:
            file_lock.acquire(timeout=patience)
        except Timeout:
            level, words = _waiting(files.read_note(note), model)
            if (level, words) != logged:
                logger.log(level, "%s", words)
            logged = level, words
        else:
            return


def _waiting(note: object, model: str) -> tuple[int, str]:
    """Return what to log, and at which level, of a process that noted this when it took the lock."""
    pid, host = (note.get("pid"), note.get("host")) if isinstance(note, dict) else (None, None)
    if not isinstance(pid, int):
        return logging.INFO, f"waiting for another siglip that prepares {model} …"
    if host != _host():
        return (
            logging.INFO,
            f"waiting for another siglip that prepares {model} (pid {pid} on {host}) …",
        )
    if pid == os.getpid():
        return logging.INFO, f"waiting for another thread that prepares {model} …"
    if processes.is_stopped(pid):
        return logging.WARNING, (
            f"the siglip that prepares {model} (pid {pid}) is stopped, and this one waits for it. "
            f"Continue it with: kill -CONT {pid}; or end it."
        )
    return logging.INFO, f"waiting for another siglip that prepares {model} (pid {pid}) …"


def _host() -> str:
    from socket import gethostname

    return gethostname()


def _kept(folder: Path) -> Kept:
    size = sum(map(_size, folder.rglob("*")))
    try:
        manifest = json.loads((folder / _MANIFEST).read_bytes())["manifest"]
        model, precision, runtime = (str(manifest[k]) for k in ("model", "precision", "runtime"))
    except (OSError, ValueError, KeyError, TypeError):
        return Kept(folder, "unfinished", "", "", size)
    return Kept(folder, model, precision, runtime, size)


def _size(path: Path) -> int:
    """Return a file's bytes; 0 for a folder, and for what another process has deleted."""
    try:
        return path.stat().st_size if path.is_file() else 0
    except OSError:
        return 0
