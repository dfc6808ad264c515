"""`siglip models list|info|pull`: the checkpoints, which are here, and getting them."""

from __future__ import annotations

import sys
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from siglipcli.cli.command import Command, group
from siglipcli.cli.options import CacheDir, VerbosityOptions
from siglipcli.cli.output import print_json
from siglipcli.cli.terminal import Terminal
from siglipcli.text import visible

if TYPE_CHECKING:
    from collections.abc import Iterable

    from siglipcli.encoders.catalog import Entry
    from siglipcli.encoders.checkpoint import Checkpoint, File

__all__ = ["app"]

app = group("models", "List the models, look into one, and get its files.")


class Format(str, Enum):
    """How `list` and `info` print."""

    TABLE = "table"
    JSON = "json"


_Format = Annotated[Format, typer.Option("--format", "-f", help="A table, or JSON for programs.")]
_Name = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A name from siglip models list, a model folder, hf-hub:ORG/NAME, or demo.",
    ),
]


@app.command("list", cls=Command)
def list_models(
    here: Annotated[
        bool, typer.Option("--here", help="Only the models whose files are on this machine.")
    ] = False,
    output_format: _Format = Format.TABLE,
) -> None:
    """List the published models: size, accuracy, languages, and whether they are here."""
    from siglipcli.encoders.catalog import CATALOG, DEFAULT
    from siglipcli.encoders.checkpoint import is_cached

    rows = [(entry, is_cached(entry.name)) for entry in CATALOG.values()]
    rows = [row for row in rows if row[1] or not here]
    if output_format is Format.JSON:
        print_json([_facts(entry) | {"here": found} for entry, found in rows])
        return
    _print_table(
        ["name", "pixels", "params (M)", "ImageNet", "languages", "here"],
        [_row(entry, found) for entry, found in rows],
        right={"pixels", "params (M)", "ImageNet"},
    )
    typer.echo(
        f"ImageNet: zero-shot top-1, percent. The default is {DEFAULT}; `siglip models pull NAME` gets "
        "a model. A folder, hf-hub:ORG/NAME and demo are models too.",
        err=True,
    )


@app.command(cls=Command)
def info(name: _Name, output_format: _Format = Format.TABLE, cache_dir: CacheDir = None) -> None:
    """Show everything about one model; nothing is fetched."""
    from siglipcli.encoders import checkpoint
    from siglipcli.encoders.catalog import CATALOG

    entry = CATALOG.get(name)
    found = checkpoint.files(name)
    facts: dict[str, Any] = _facts(entry) if entry else {"name": name}
    facts["here"] = all(file.path for file in found)
    if facts["here"]:
        facts |= _read_facts(checkpoint.locate(name, offline=True, cache_dir=cache_dir))
    listed = [_file_facts(file) for file in found]
    if output_format is Format.JSON:
        print_json(facts | {"files": listed})
        return
    _print_table(None, [[key.replace("_", " "), _text(value)] for key, value in facts.items()])
    typer.echo()
    rows = [
        [each["file"], each["from"], _size(each["bytes"]), each["path"] or ""] for each in listed
    ]
    _print_table(["file", "from", "size", "path"], rows, right={"size"})


@app.command(cls=Command)
def pull(
    name: _Name,
    force: Annotated[
        bool, typer.Option("--force", help="Get every file again, even if it is here.")
    ] = False,
    cache_dir: CacheDir = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Nothing on stderr but errors.")
    ] = False,
) -> None:
    """Get a model's files, check them, and print where they are.

    What was fetched before stays. The files go to the Hugging Face cache; HF_HOME moves it.
    """
    from siglipcli.encoders import checkpoint

    terminal = Terminal(VerbosityOptions(quiet=quiet), rows_on_screen=False)
    with terminal.fetching() as progress:
        checkpoint.pull(name, force=force, cache_dir=cache_dir, progress=progress)
    for file in checkpoint.files(name):
        if file.path:
            typer.echo(visible(str(file.path)))


def _facts(entry: Entry) -> dict[str, Any]:
    from siglipcli.encoders.catalog import DEFAULT

    return {
        "name": entry.name,
        "default": entry.name == DEFAULT,
        "family": entry.family,
        "image_size": entry.image_size,
        "context_length": entry.context_length,
        "embed_dim": entry.embed_dim,
        "image_parameters_millions": entry.image_params,
        "text_parameters_millions": entry.text_params,
        "imagenet_top1": entry.imagenet,
        "multilingual": entry.multilingual,
        "download_mb": entry.download_mb,
        "repo": entry.repo,
        "tokenizer_repo": entry.tokenizer_repo,
    }


def _row(entry: Entry, here: bool) -> list[str]:
    return [
        entry.name,
        str(entry.image_size),
        f"{entry.parameters:,.0f}",
        _text(None) if entry.imagenet is None else f"{entry.imagenet:.1f}",
        "many" if entry.multilingual else "English",
        _text(here) if here else "",
    ]


def _read_facts(found: Checkpoint) -> dict[str, Any]:
    """Return what only the files themselves tell."""
    return {
        "image_size": found.preprocess.size,
        "context_length": found.context_length,
        "embed_dim": found.config["model_cfg"].get("embed_dim"),
        "scale": found.head.logit_scale,
        "bias": found.head.logit_bias,
        "fingerprint": found.fingerprint,
    }


def _file_facts(file: File) -> dict[str, Any]:
    return {
        "file": file.name,
        "from": file.home,
        "path": str(file.path) if file.path else None,
        "bytes": file.path.stat().st_size if file.path else None,
    }


def _text(value: object) -> str:
    if value is None:
        return "\N{EN DASH}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def _size(size: int | None) -> str:
    return "not here" if size is None else f"{size / 1e6:,.1f} MB"


def _print_table(
    titles: list[str] | None, rows: Iterable[list[str]], right: Iterable[str] = ()
) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=titles is not None)
    for title in titles or ["", ""]:
        align = "right" if title in right else "left"
        table.add_column(title, justify=align, overflow="fold")  # type: ignore[arg-type]
    for row in rows:
        # Text, not str: a name such as [bold] is no markup.
        table.add_row(*(Text(visible(cell)) for cell in row))
    # In a pipe there is no edge to fold at.
    Console(width=None if sys.stdout.isatty() else 1000).print(table)
