"""`siglip models list|info|pull|tune`: the checkpoints, which are here, getting them, and their int8 engines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from siglipcli.cli import completion
from siglipcli.cli.options import CacheDir, JsonOrTable, argument, option
from siglipcli.cli.output import print_json
from siglipcli.cli.tune import tune
from siglipcli.terminal.commands import Command, group
from siglipcli.terminal.screen import Quiet, Terminal, VerbosityOptions
from siglipcli.text import visible

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["app"]

app = group("models", "List the models, look into one, get its files, and tune it.")
app.command("tune", cls=Command)(tune)

_Name = Annotated[str, argument("model", "MODEL", autocompletion=completion.models)]


@app.command("list", cls=Command)
def list_models(
    here: Annotated[bool, option("models.here", "--here")] = False,
    output_format: JsonOrTable = "table",
    cache_dir: CacheDir = None,
) -> None:
    """List the published models: size, accuracy, speed, languages, and whether they are here.

    With --here each is timed, which takes some seconds a model, and longer where its engine is not built yet;
    not those whose engine is too large for this memory to build.
    """
    from siglipcli.encoders import catalog, facts, speeds
    from siglipcli.outputs.model_tables import print_models

    measured = speeds.Speeds.read()
    models = [model for model in facts.published(measured) if model["here"] or not here]
    if here:
        models = [model | _timed(model, cache_dir) for model in models]
    if output_format == "json":
        print_json(models)
        return
    print_models(models, measured=bool(measured.towers), here=here)
    note = (
        f" img/s (images a second, also at int8) and GB (peak memory): on {measured.machine}."
        if measured.towers
        else ""
    )
    typer.echo(
        f"px: pixels a side; params: millions; top-1: of ImageNet, zero-shot, percent.{note} The default is {catalog.DEFAULT}; `siglip models pull NAME` gets "
        "a model. A folder, hf-hub:ORG/NAME and demo are models too.",
        err=True,
    )


def _timed(model: dict[str, Any], cache_dir: Path | None) -> dict[str, Any]:
    """Return what a model encodes on this machine, images a second; None where it cannot be loaded or is too large."""
    from siglipcli.encoders import ModelSpec, timing

    terminal, name = Terminal(VerbosityOptions(), rows_on_screen=False), model["name"]
    if too_large := timing.too_large(model["parameters_millions"]):
        terminal.note(f"{name} is not timed: {too_large}")
        return {"images_per_second_here": None}
    with terminal.waiting(f"timing {name}"):
        spec = ModelSpec(name, cache_dir=cache_dir, offline=True)
        return {"images_per_second_here": timing.rate_of(spec)}


@app.command(cls=Command)
def info(name: _Name, output_format: JsonOrTable = "table", cache_dir: CacheDir = None) -> None:
    """Show everything about one model; nothing is fetched."""
    from siglipcli.encoders import facts
    from siglipcli.machine import cache_folder
    from siglipcli.outputs.model_tables import print_model

    model, files, tuned = facts.of_model(name, cache_folder(cache_dir))
    if output_format == "json":
        print_json(model | {"files": files, "int8": tuned})
    else:
        print_model(model, files, tuned)


@app.command(cls=Command)
def pull(
    name: _Name,
    force: Annotated[bool, option("models.force", "--force")] = False,
    cache_dir: CacheDir = None,
    quiet: Quiet = False,
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
