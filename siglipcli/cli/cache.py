"""`siglip cache`: what is kept to be used again, and how to let it go."""

from __future__ import annotations

from typing import Annotated

import typer

from siglipcli import kept
from siglipcli.cli.options import DEFAULT_LIMIT, CacheDir, CacheLimit, JsonOrTable
from siglipcli.cli.output import print_json
from siglipcli.machine import cache_folder
from siglipcli.terminal.commands import Command, group
from siglipcli.terminal.values import Size
from siglipcli.text import visible

__all__ = ["app"]

app = group("cache", "Show and manage what is kept: compiled engines and stored embeddings.")


@app.command(cls=Command)
def info(cache_dir: CacheDir = None, output_format: JsonOrTable = "table") -> None:
    """Show what is kept, model by model, with sizes.

    Downloaded model files are not here: siglip models list --here shows them.
    """
    facts = kept.facts(cache_folder(cache_dir))
    if output_format == "json":
        print_json(facts)
        return
    typer.echo(f"{facts['folder']}\n\nengines")
    for engine in facts["engines"] or [{"model": "none", "precision": "", "bytes": 0}]:
        name = f"{engine['model']} {engine['precision']}"
        typer.echo(f"  {visible(name):<40} {_size(engine['bytes']):>10}")
    typer.echo("\nembeddings")
    for row in facts["embeddings"] or [{"model": "none", "vectors": 0, "bytes": 0, "used": ""}]:
        count = f"{row['vectors']:,} vectors"
        line = (
            f"  {visible(row['model']):<40} {_size(row['bytes']):>10}  {count:>18}  {row['used']}"
        )
        typer.echo(line.rstrip())
    for name, key in (
        ("damaged stores, set aside", "damaged_stores"),
        ("digests of model files", "digests"),
    ):
        if facts[key]["files"]:
            typer.echo(
                f"\n{name}\n  {facts[key]['files']:,} files {_size(facts[key]['bytes']):>32}"
            )


@app.command(cls=Command)
def prune(cache_limit: CacheLimit = DEFAULT_LIMIT, cache_dir: CacheDir = None) -> None:
    """Drop engines that this installation cannot use, and embeddings over --cache-limit."""
    folder = cache_folder(cache_dir)
    freed = kept.prune_engines(folder)
    if freed is not None:
        typer.echo(f"engines: freed {_size(freed)}")
    dropped, size = kept.prune_embeddings(folder, cache_limit.bytes)
    typer.echo(f"embeddings: dropped {dropped:,}, kept {_size(size)}")


@app.command(cls=Command)
def clear(
    cache_dir: CacheDir = None,
    engines: Annotated[bool, typer.Option("--engines", help="Only compiled engines.")] = False,
    embeddings: Annotated[bool, typer.Option("--embeddings", help="Only embeddings.")] = False,
) -> None:
    """Delete what is kept: engines, embeddings, or both. It is made again when it is needed."""
    folder = cache_folder(cache_dir)
    both = engines == embeddings
    if both or engines:
        typer.echo(f"engines: freed {_size(kept.clear_engines(folder))}")
    if both or embeddings:
        typer.echo(f"embeddings: freed {_size(kept.clear_embeddings(folder))}")


def _size(count: int) -> str:
    return str(Size(count))
