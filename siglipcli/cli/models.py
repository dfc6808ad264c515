"""`siglip models list|info|pull|tune`: the checkpoints, which are here, getting them, and their int8 engines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from siglipcli.cli.completion import models as completed
from siglipcli.cli.options import CacheDir, JsonOrTable
from siglipcli.cli.output import print_json
from siglipcli.cli.tune import tune
from siglipcli.outputs.plain_table import print_table
from siglipcli.terminal.commands import Command, group
from siglipcli.terminal.screen import Terminal, VerbosityOptions
from siglipcli.text import visible

if TYPE_CHECKING:
    from pathlib import Path

    from siglipcli.encoders.speeds import Speeds

__all__ = ["app"]

app = group("models", "List the models, look into one, get its files, and tune it.")
app.command("tune", cls=Command)(tune)


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
        bool,
        typer.Option(
            "--here", help="Only the models whose files are on this machine, timed on it."
        ),
    ] = False,
    output_format: JsonOrTable = "table",
    cache_dir: CacheDir = None,
) -> None:
    """List the published models: size, accuracy, speed, languages, and whether they are here.

    With --here each is timed, which takes some seconds a model, and longer where its engine is not built yet;
    not those whose engine is too large for this memory to build.
    """
    from siglipcli.encoders.catalog import CATALOG, DEFAULT
    from siglipcli.encoders.checkpoint import is_cached
    from siglipcli.encoders.facts import entry_facts, speed_facts
    from siglipcli.encoders.speeds import Speeds

    speeds = Speeds.read()
    rows = [(entry, is_cached(entry.name)) for entry in CATALOG.values()]
    rows = [row for row in rows if row[1] or not here]
    facts = [
        entry_facts(entry) | speed_facts(speeds.of(entry)) | {"here": is_here}
        for entry, is_here in rows
    ]
    if here:
        facts = _timed(facts, cache_dir)
    if output_format == "json":
        print_json(facts)
        return
    titles = ["name", "pixels", "params (M)", "ImageNet", *_speed_titles(speeds, here=here)]
    print_table(
        [*titles, "languages", "here"],
        [_row(model, titles) for model in facts],
        right=set(titles[1:]),
    )
    measured = f" images/s and MB: on {speeds.machine}." if "images/s" in titles else ""
    typer.echo(
        f"ImageNet: zero-shot top-1, percent.{measured} The default is {DEFAULT}; `siglip models pull NAME` gets "
        "a model. A folder, hf-hub:ORG/NAME and demo are models too.",
        err=True,
    )


def _timed(facts: list[dict[str, Any]], cache_dir: Path | None) -> list[dict[str, Any]]:
    """Add what each model encodes on this machine, images a second; None where it cannot be loaded or is too large."""
    from siglipcli import machine
    from siglipcli.encoders import ModelSpec, timing

    terminal = Terminal(VerbosityOptions(), rows_on_screen=False)
    timed = []
    memory = machine.memory()
    for row in facts:
        if (needed := timing.building_bytes(row["parameters_millions"])) > memory:
            terminal.note(
                f"{row['name']} is not timed: to prepare it takes about {needed / 1e9:.0f} GB of memory, and"
                f" there are {memory / 1e9:.0f} GB"
            )
            timed.append(row | {"images_per_second_here": None})
            continue
        with terminal.waiting(f"timing {row['name']}"):
            spec = ModelSpec(row["name"], cache_dir=cache_dir, offline=True)
            timed.append(row | {"images_per_second_here": timing.rate_of(spec)})
    return timed


def _speed_titles(speeds: Speeds, *, here: bool) -> list[str]:
    return [
        *(["images/s", "at int8", "MB"] if speeds.towers else []),
        *(["images/s here"] if here else []),
    ]


@app.command(cls=Command)
def info(name: _Name, output_format: JsonOrTable = "table", cache_dir: CacheDir = None) -> None:
    """Show everything about one model; nothing is fetched."""
    from siglipcli.encoders import checkpoint
    from siglipcli.encoders.catalog import CATALOG
    from siglipcli.encoders.facts import checkpoint_facts, entry_facts, file_facts, tuned_facts
    from siglipcli.machine import cache_folder
    from siglipcli.outputs import tuning_report

    entry = CATALOG.get(name)
    files = checkpoint.files(name)
    facts: dict[str, Any] = entry_facts(entry) if entry else {"name": name}
    facts["here"] = all(file.path for file in files)
    tuned = None
    if facts["here"]:
        facts |= checkpoint_facts(checkpoint.locate(name, offline=True, cache_dir=cache_dir))
        tuned = tuned_facts(cache_folder(cache_dir), facts["fingerprint"])
    listed = [file_facts(file) for file in files]
    if output_format == "json":
        print_json(facts | {"files": listed, "int8": tuned})
        return
    print_table(None, [[key.replace("_", " "), _text(value)] for key, value in facts.items()])
    typer.echo()
    if tuned:
        typer.echo("int8 engine")
        print_table(None, [[f"  {name}", value] for name, value in tuning_report.rows(tuned)])
        typer.echo()
    rows = [
        [file["file"], file["from"], _size(file["bytes"]), file["path"] or ""] for file in listed
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


def _row(facts: dict[str, Any], titles: list[str]) -> list[str]:
    cells = {
        "name": facts["name"],
        "pixels": str(facts["image_size"]),
        "params (M)": f"{facts['parameters_millions']:,.0f}",
        "ImageNet": _number(facts["imagenet_top1"], ".1f"),
        "images/s": _number(facts["images_per_second"], ".3g"),
        "at int8": _number(facts["int8_images_per_second"], ".3g"),
        "MB": _number(facts["peak_mb"], ",.0f"),
        "images/s here": _number(facts.get("images_per_second_here"), ".3g"),
    }
    languages = "many" if facts["multilingual"] else "English"
    return [*(cells[title] for title in titles), languages, "yes" if facts["here"] else ""]


def _number(value: float | None, form: str) -> str:
    return _text(None) if value is None else format(value, form)


def _text(value: object) -> str:
    if value is None:
        return "\N{EN DASH}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def _size(size: int | None) -> str:
    return "not here" if size is None else f"{size / 1e6:,.1f} MB"
