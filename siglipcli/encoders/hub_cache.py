"""The Hugging Face hub's cache on this machine, in its documented layout.

`refs/main` names a commit, `snapshots/COMMIT` holds its files as links to `blobs/ETAG`. Reading it needs no
import of huggingface_hub, which would cost every run 0.15 s; a test compares this reading with
`huggingface_hub.try_to_load_from_cache`. Nothing that a server says becomes a path unchecked: `remote.Remote`
accepts hexadecimal names only.
"""

from __future__ import annotations

import os
import re
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from siglipcli.files import replacing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from siglipcli.encoders.remote import Remote

__all__ = ["blob", "cache_root", "cached", "install", "locked", "partial", "sweep"]

_COMMIT = re.compile(r"[0-9a-f]{6,64}")
_LEFT_ALONE = (
    3600.0  # seconds since a partial download was last written, after which nobody goes on with it
)


def cache_root() -> Path:
    """Return the folder of the hub's cache: HF_HUB_CACHE, HF_HOME/hub, or under ~/.cache."""
    env = os.environ.get
    home = env("HF_HOME") or os.path.join(env("XDG_CACHE_HOME") or "~/.cache", "huggingface")  # noqa: PTH118
    root = env("HF_HUB_CACHE") or env("HUGGINGFACE_HUB_CACHE") or os.path.join(home, "hub")  # noqa: PTH118
    return Path(os.path.expandvars(os.path.expanduser(root)))  # noqa: PTH111  # as the hub's own


def cached(repo: str, filename: str) -> Path | None:
    """Return where a repository's file is in the cache, or None. No network."""
    folder = _folder(repo)
    try:
        commit = (folder / "refs" / "main").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None
    path = folder / "snapshots" / commit / filename
    return path if _COMMIT.fullmatch(commit) and os.path.isfile(path) else None  # noqa: PTH113  # never raises


def blob(repo: str, remote: Remote) -> Path:
    """Return where a file's content is, or will be."""
    return _folder(repo) / "blobs" / remote.etag


def partial(repo: str, remote: Remote) -> Path:
    """Return where a download of the file is written until it is whole: the next one goes on with it."""
    return _folder(repo) / "blobs" / f"{remote.etag}.incomplete"


@contextmanager
def locked(repo: str, remote: Remote) -> Iterator[None]:
    """Hold the lock under which huggingface_hub writes the same file."""
    from filelock import FileLock

    folder = cache_root() / ".locks" / _folder(repo).name
    folder.mkdir(parents=True, exist_ok=True)
    (_folder(repo) / "blobs").mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f"{remote.etag}.lock"):
        yield


def install(repo: str, filename: str, remote: Remote) -> Path:
    """Make a file whose content is here part of its revision, and that revision `main`; return its path."""
    folder = _folder(repo)
    path = folder / "snapshots" / remote.commit / filename
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with replacing(path) as draft:
            draft.symlink_to(Path("..", "..", "blobs", remote.etag))
    except OSError:  # Windows, for most users: the file itself goes there
        blob(repo, remote).replace(path)
    _write_whole(folder / "refs" / "main", remote.commit)
    return path


def sweep(repo: str, remote: Remote) -> None:
    """Delete what broken downloads left: of this content, which is here now, and of older revisions."""
    latest = time.time() - _LEFT_ALONE
    for left in (_folder(repo) / "blobs").glob("*.incomplete"):
        with suppress(OSError):
            if left.name.startswith(f"{remote.etag}.") or left.stat().st_mtime < latest:
                left.unlink()


def _folder(repo: str) -> Path:
    return cache_root() / f"models--{repo.replace('/', '--')}"


def _write_whole(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as draft:
        draft.write_text(text, encoding="ascii")
