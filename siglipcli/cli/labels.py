"""`siglip labels list|show|check|new`: the label sets, without any model."""

from __future__ import annotations

from pathlib import Path  # Typer reads the annotations
from typing import TYPE_CHECKING, Annotated

import typer

from siglipcli.cli import completion, label_sets
from siglipcli.cli.options import JsonOrTable
from siglipcli.cli.output import print_json
from siglipcli.cli.remedies import with_remedy
from siglipcli.errors import LabelError, OfflineError, OutputError, UsageError
from siglipcli.outputs.label_set import counted
from siglipcli.outputs.plain_table import print_table
from siglipcli.terminal.commands import Command, group
from siglipcli.terminal.status import ExitStatus
from siglipcli.terminal.values import words
from siglipcli.text import visible

if TYPE_CHECKING:
    from collections.abc import Callable

    from siglipcli.encoders.tokens import Tokenizer
    from siglipcli.labels import LabelSet
    from siglipcli.labels.model_view import View

__all__ = ["app"]

MAX_WARNINGS = 20  # of one kind
DEFAULT_MODEL = "ViT-B-16-SigLIP-384"

app = group("labels", "List, show, check and start label sets.")


@app.command("list", cls=Command)
def list_sets(
    output_format: JsonOrTable = "table",
) -> None:
    """List the label sets that come with the program."""
    from siglipcli import labels as sets

    builtin = [(name, sets.load(name)) for name in sets.builtin_names()]
    if output_format == "json":
        print_json(
            [
                {"name": name, "labels": len(one.labels), "description": one.description}
                for name, one in builtin
            ]
        )
        return
    rows = [[name, str(len(one.labels)), one.description] for name, one in builtin]
    print_table(["name", "labels", "description"], rows, right={"labels"})


@app.command(cls=Command)
def show(
    label_set: Annotated[
        str,
        typer.Argument(
            metavar="SET",
            autocompletion=completion.label_sets,
            help="A built-in set's name, a label file, or - for stdin.",
        ),
    ],
    output_format: Annotated[
        str,
        typer.Option(
            "--format",
            "-f",
            **words("table", "json", "yaml"),
            help="A table, JSON for programs, or the YAML to start from.",
        ),
    ] = "table",
    tokens: Annotated[
        bool, typer.Option("--tokens", help="Show what the model reads of each prompt.")
    ] = False,
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            metavar="MODEL",
            autocompletion=completion.models,
            envvar="SIGLIP_MODEL",
            help="The model for --tokens.",
        ),
    ] = DEFAULT_MODEL,
) -> None:
    """Show a set's labels, prompts and thresholds."""
    from siglipcli import labels as sets
    from siglipcli.outputs.label_set import as_json, print_set

    if tokens and output_format == "yaml":
        raise UsageError("--tokens is for the table and JSON, not for --format yaml")
    text, file = label_sets.read(label_set)
    labels = sets.parse(text, file)
    read = _reader(model) if tokens else None
    if output_format == "yaml":
        typer.echo(text, nl=not text.endswith("\n"))
    elif output_format == "json":
        print_json(as_json(labels, read))
    else:
        print_set(labels, read)


@app.command(cls=Command)
def check(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE...",
            autocompletion=completion.label_sets,
            help="Label files or sets to check; - for stdin.",
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            metavar="MODEL",
            autocompletion=completion.models,
            help="Read prompts as this model does, exactly.",
        ),
    ] = None,
) -> None:
    """Check label sets: errors, and prompts that a model would misread.

    Without --model, what every SigLIP model for English misreads is said, and no model is needed.
    """
    label_sets.read_stdin_once(files)
    view = _view(model)
    sound = [_check_one(file, view) for file in files]
    if not all(sound):
        raise typer.Exit(ExitStatus.USAGE)


@app.command(cls=Command)
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the label set is called.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The file to write; NAME.yaml if not given."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the file if it is there.")
    ] = False,
) -> None:
    """Write a commented label set to start from."""
    from siglipcli import labels as sets
    from siglipcli.labels.starter import starter

    text = starter(name)
    sets.parse(text, name)
    if output is None and Path(name).name != name:
        raise UsageError(f"{visible(name)} is not a file name here; give the file with --output.")
    path = output or Path(f"{name}.yaml")
    _write(path, text, force=force)
    typer.echo(f"Wrote {visible(str(path))}; edit it, then `siglip labels check` it.", err=True)


def _check_one(file: str, view: View) -> bool:
    from siglipcli import labels as sets

    try:
        labels, complaints = sets.examine(*label_sets.read(file))
    except LabelError as error:
        labels, complaints = None, [with_remedy(error)]
    if labels is None:
        typer.echo("\n".join(complaints), err=True)
        return False
    prompts = sum(len(label.prompts) for label in labels.labels)
    typer.echo(
        f"{visible(file)}: {counted(len(labels.labels), 'label')}, {counted(prompts, 'prompt')}"
    )
    _warn(visible(file), labels, view)
    return True


def _warn(file: str, labels: LabelSet, view: View) -> None:
    from siglipcli.labels.model_view import capped, prompts, text_warnings

    for line in capped(text_warnings(prompts(labels), view), MAX_WARNINGS):
        typer.echo(f"{file}: warning: {visible(line)}.", err=True)


def _view(model: str | None) -> View:
    from siglipcli.encoders.tokens import canonicalize
    from siglipcli.labels.model_view import AnyModelView, ModelView

    return AnyModelView(canonicalize) if model is None else ModelView(_tokenizer(model))


def _tokenizer(model: str) -> Tokenizer:
    """Return a model's tokenizer; nothing is downloaded. Raises OfflineError where it is not here."""
    from siglipcli.encoders.checkpoint import locate
    from siglipcli.encoders.tokens import Tokenizer

    return Tokenizer.of(locate(model, offline=True))


def _reader(model: str) -> Callable[[str], list[str]]:
    """Return what gives the tokens that a model reads of a prompt; its words, where it is not here."""
    from siglipcli.encoders.tokens import canonicalize

    try:
        tokenizer = _tokenizer(model)
    except OfflineError:
        typer.echo(
            f"siglip: {visible(model)} is not on this machine: these are words, not its tokens."
            f" `siglip models pull {visible(model)}` fetches it.",
            err=True,
        )
        return lambda prompt: canonicalize(prompt).split()
    return lambda prompt: list(tokenizer.pieces(prompt))


def _write(path: Path, text: str, *, force: bool) -> None:
    try:
        with path.open("w" if force else "x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        raise UsageError(f"{visible(str(path))} is already there; --force replaces it.") from None
    except OSError as error:
        raise OutputError(f"write error: {visible(str(path))}: {error.strerror}.") from error
