"""`siglip cache`: what is kept to be used again, and how to let it go."""

from __future__ import annotations

from contextlib import closing
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from siglipcli.cli.options import DEFAULT_LIMIT, CacheDir, CacheLimit, JsonOrTable
from siglipcli.cli.output import print_json
from siglipcli.machine import cache_folder
from siglipcli.terminal.commands import Command, group
from siglipcli.terminal.values import Size
from siglipcli.text import visible

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["app"]

app = group("cache", "Show and manage what is kept: compiled engines and stored embeddings.")


@app.command(cls=Command)
def info(cache_dir: CacheDir = None, output_format: JsonOrTable = "table") -> None:
    """Show what is kept, model by model, with sizes.

    Downloaded model files are not here: siglip models list --here shows them.
    """
    facts = _facts(cache_folder(cache_dir))
    if output_format == "json":
        print_json(facts)
        return
    typer.echo(f"{facts['folder']}\n\nengines")
    for engine in facts["engines"] or [{"model": "none", "precision": "", "bytes": 0}]:
        name = f"{engine['model']} {engine['precision']}"
        typer.echo(f"  {visible(name):<40} {_size(engine['bytes']):>10}")
    typer.echo("\nembeddings")
    for held in facts["embeddings"] or [{"model": "none", "vectors": 0, "bytes": 0, "used": ""}]:
        count = f"{held['vectors']:,} vectors"
        line = f"  {visible(held['model']):<40} {_size(held['bytes']):>10}  {count:>18}  {held['used']}"
        typer.echo(line.rstrip())
    for name, key in (
        ("damaged stores, set aside", "damaged_stores"),
        ("digests of model files", "digests"),
    ):
        if facts[key]["files"]:
            typer.echo(
                f"\n{name}\n  {facts[key]['files']:,} files {_size(facts[key]['bytes']):>32}"
            )


def _facts(folder: Path) -> dict[str, Any]:
    from siglipcli.encoders.engines import engines
    from siglipcli.store import Store

    with closing(Store(folder)) as store:
        held = [
            {
                "model": usage.model,
                "vectors": usage.vectors,
                "bytes": usage.bytes,
                "used": _day(usage.used),
            }
            for usage in store.usage()
        ]
        size = store.size()
    built = [
        {"model": e.model, "precision": e.precision, "bytes": e.bytes, "folder": str(e.folder)}
        for e in engines(folder / "engines")
    ]
    return {
        "folder": str(folder),
        "engines": built,
        "embeddings": held,
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


@app.command(cls=Command)
def prune(cache_limit: CacheLimit = DEFAULT_LIMIT, cache_dir: CacheDir = None) -> None:
    """Drop engines that this installation cannot use, and embeddings over --cache-limit."""
    from siglipcli.encoders import engines, openvino_runtime
    from siglipcli.store import Store

    folder = cache_folder(cache_dir)
    if openvino_runtime.is_installed():
        freed = engines.prune(folder / "engines", openvino_runtime.version())
        typer.echo(f"engines: freed {_size(freed)}")
    with closing(Store(folder)) as store:
        dropped = store.prune(cache_limit.bytes)
        typer.echo(f"embeddings: dropped {dropped:,}, kept {_size(store.size())}")


@app.command(cls=Command)
def clear(
    cache_dir: CacheDir = None,
    engines: Annotated[bool, typer.Option("--engines", help="Only compiled engines.")] = False,
    embeddings: Annotated[bool, typer.Option("--embeddings", help="Only embeddings.")] = False,
) -> None:
    """Delete what is kept: engines, embeddings, or both. It is made again when it is needed."""
    from siglipcli.encoders import engines as built
    from siglipcli.store import Store

    folder = cache_folder(cache_dir)
    both = engines == embeddings
    if both or engines:
        freed = built.clear(folder / "engines") + _delete(_digests(folder))
        typer.echo(f"engines: freed {_size(freed)}")
    if both or embeddings:
        with closing(Store(folder)) as store:
            freed = store.size()
            store.clear()
            freed = max(0, freed - store.size()) + _delete(_damaged(folder))
            typer.echo(f"embeddings: freed {_size(freed)}")


def _size(count: int) -> str:
    return str(Size(count))
