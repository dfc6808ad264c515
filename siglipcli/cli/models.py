"""`siglip models list|info|pull`: the checkpoints, which are here, and getting them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from siglipcli.cli.completion import models as completed
from siglipcli.cli.options import CacheDir, JsonOrTable
from siglipcli.cli.output import print_json
from siglipcli.outputs.plain_table import print_table
from siglipcli.terminal.commands import Command, group
from siglipcli.terminal.screen import Terminal, VerbosityOptions
from siglipcli.text import visible

if TYPE_CHECKING:
    from siglipcli.encoders.catalog import Entry

__all__ = ["app"]

app = group("models", "List the models, look into one, and get its files.")


_Name = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        autocompletion=completed,
        help="A name from siglip models list, a model folder, hf-hub:ORG/NAME, or demo.",
    ),
]


@app.command("list", cls=Command)
def list_models(
    here: Annotated[
        bool, typer.Option("--here", help="Only the models whose files are on this machine.")
    ] = False,
    output_format: JsonOrTable = "table",
) -> None:
    """List the published models: size, accuracy, languages, and whether they are here."""
    from siglipcli.encoders.catalog import CATALOG, DEFAULT
    from siglipcli.encoders.checkpoint import is_cached
    from siglipcli.encoders.facts import entry_facts

    rows = [(entry, is_cached(entry.name)) for entry in CATALOG.values()]
    rows = [row for row in rows if row[1] or not here]
    if output_format == "json":
        print_json([entry_facts(entry) | {"here": found} for entry, found in rows])
        return
    print_table(
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
def info(name: _Name, output_format: JsonOrTable = "table", cache_dir: CacheDir = None) -> None:
    """Show everything about one model; nothing is fetched."""
    from siglipcli.encoders import checkpoint
    from siglipcli.encoders.catalog import CATALOG
    from siglipcli.encoders.facts import checkpoint_facts, entry_facts, file_facts

    entry = CATALOG.get(name)
    found = checkpoint.files(name)
    facts: dict[str, Any] = entry_facts(entry) if entry else {"name": name}
    facts["here"] = all(file.path for file in found)
    if facts["here"]:
        facts |= checkpoint_facts(checkpoint.locate(name, offline=True, cache_dir=cache_dir))
    listed = [file_facts(file) for file in found]
    if output_format == "json":
        print_json(facts | {"files": listed})
        return
    print_table(None, [[key.replace("_", " "), _text(value)] for key, value in facts.items()])
    typer.echo()
    rows = [
        [each["file"], each["from"], _size(each["bytes"]), each["path"] or ""] for each in listed
    ]
    print_table(["file", "from", "size", "path"], rows, right={"size"})


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


def _row(entry: Entry, here: bool) -> list[str]:
    return [
        entry.name,
        str(entry.image_size),
        f"{entry.parameters:,.0f}",
        _text(None) if entry.imagenet is None else f"{entry.imagenet:.1f}",
        "many" if entry.multilingual else "English",
        _text(here) if here else "",
    ]


def _text(value: object) -> str:
    if value is None:
        return "\N{EN DASH}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def _size(size: int | None) -> str:
    return "not here" if size is None else f"{size / 1e6:,.1f} MB"
