"""`siglip cache`: what is kept to be used again, and how to let it go."""

from __future__ import annotations

from typing import Annotated

import typer

from siglipcli import kept
from siglipcli.cli.options import DEFAULT_LIMIT, CacheDir, CacheLimit, JsonOrTable, option
from siglipcli.cli.output import print_json
from siglipcli.machine import cache_folder
from siglipcli.terminal.commands import Command, group
from siglipcli.text import sized

__all__ = ["app"]

app = group("cache", "Show and manage what is kept: compiled engines and stored embeddings.")


@app.command(cls=Command)
def info(cache_dir: CacheDir = None, output_format: JsonOrTable = "table") -> None:
    """Show what is kept, model by model, with sizes.

    Downloaded model files are not here: siglip models list --here shows them.
    """
    from siglipcli.outputs.model_tables import print_kept

    show = print_json if output_format == "json" else print_kept
    show(kept.facts(cache_folder(cache_dir)))


@app.command(cls=Command)
def prune(cache_limit: CacheLimit = DEFAULT_LIMIT, cache_dir: CacheDir = None) -> None:
    """Drop engines that this installation cannot use, and embeddings over --cache-limit."""
    folder = cache_folder(cache_dir)
    freed = kept.prune_engines(folder)
    if freed is not None:
        typer.echo(f"engines: freed {sized(freed)}")
    dropped, size = kept.prune_embeddings(folder, cache_limit.bytes)
    typer.echo(f"embeddings: dropped {dropped:,}, kept {sized(size)}")


@app.command(cls=Command)
def clear(
    cache_dir: CacheDir = None,
    engines: Annotated[bool, option("cache.engines", "--engines")] = False,
    embeddings: Annotated[bool, option("cache.embeddings", "--embeddings")] = False,
) -> None:
    """Delete what is kept: engines, embeddings, or both. It is made again when it is needed."""
    folder = cache_folder(cache_dir)
    both = engines == embeddings
    if both or engines:
        typer.echo(f"engines: freed {sized(kept.clear_engines(folder))}")
    if both or embeddings:
        typer.echo(f"embeddings: freed {sized(kept.clear_embeddings(folder))}")
