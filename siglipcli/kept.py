"""The cache folder: what is kept there to be used again, its size, and letting it go."""

from __future__ import annotations

from contextlib import closing
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["clear_embeddings", "clear_engines", "facts", "prune_embeddings", "prune_engines"]


def facts(folder: Path) -> dict[str, Any]:
    """Return what is kept in the cache folder, model by model, with sizes in bytes."""
    from siglipcli.encoders.engines import engines
    from siglipcli.store import Store

    with closing(Store(folder)) as store:
        embeddings = [
            {
                "model": usage.model,
                "vectors": usage.vectors,
                "bytes": usage.bytes,
                "used": _day(usage.used),
            }
            for usage in store.usage()
        ]
        size = store.size()
    compiled = [
        {"model": e.model, "precision": e.precision, "bytes": e.bytes, "folder": str(e.folder)}
        for e in engines(folder / "engines")
    ]
    return {
        "folder": str(folder),
        "engines": compiled,
        "embeddings": embeddings,
        "store_bytes": size,
        "damaged_stores": _count(_damaged(folder)),
        "digests": _count(_digests(folder)),
    }


def _day(seconds: float) -> str:
    """Return a day as YYYY-MM-DD; nothing where the store holds no such moment."""
    try:
        return datetime.fromtimestamp(seconds).astimezone().date().isoformat()
    except (OverflowError, ValueError, OSError):
        return ""


def _damaged(folder: Path) -> list[Path]:
    """Return the files of stores that were set aside."""
    return list(folder.glob("embeddings.sqlite.damaged-*"))


def _digests(folder: Path) -> list[Path]:
    """Return the notes on model files whose digest is known."""
    return list((folder / "digests").glob("*"))


def _count(files: list[Path]) -> dict[str, int]:
    return {"files": len(files), "bytes": sum(path.stat().st_size for path in files)}


def _delete(files: list[Path]) -> int:
    """Delete files; return the bytes freed."""
    freed = _count(files)["bytes"]
    for path in files:
        path.unlink(missing_ok=True)
    return freed


def prune_engines(folder: Path) -> int | None:
    """Drop engines that this installation cannot use; return the bytes freed, None without OpenVINO."""
    from siglipcli.encoders import engines, openvino_library

    if not openvino_library.is_installed():
        return None
    return engines.prune(folder / "engines", openvino_library.version())


def prune_embeddings(folder: Path, limit: int) -> tuple[int, int]:
    """Drop the least recently used over `limit` bytes; return how many, and the bytes that stay."""
    from siglipcli.store import Store

    with closing(Store(folder)) as store:
        return store.prune(limit), store.size()


def clear_engines(folder: Path) -> int:
    """Delete every engine, and the digests of model files; return the bytes freed."""
    from siglipcli.encoders import engines

    return engines.clear(folder / "engines") + _delete(_digests(folder))


def clear_embeddings(folder: Path) -> int:
    """Delete every embedding, and stores that were set aside; return the bytes freed."""
    from siglipcli.store import Store

    with closing(Store(folder)) as store:
        before = store.size()
        store.clear()
        return max(0, before - store.size()) + _delete(_damaged(folder))
