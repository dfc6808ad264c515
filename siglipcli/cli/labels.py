"""`siglip labels list|show|check|new`: the label sets, without any model."""

from __future__ import annotations

import os
from pathlib import Path  # Typer reads the annotations
from typing import TYPE_CHECKING, Annotated

import typer

from siglipcli.cli import completion, label_sets
from siglipcli.cli.options import DEFAULT_MODEL, JsonOrTable, argument, model_option, option
from siglipcli.cli.output import print_json
from siglipcli.cli.remedies import with_remedy
from siglipcli.errors import LabelError, OfflineError, UsageError
from siglipcli.outputs.label_set import counted
from siglipcli.outputs.output import open_output
from siglipcli.terminal.commands import Command, group
from siglipcli.terminal.screen import complain
from siglipcli.terminal.status import ExitStatus
from siglipcli.terminal.values import words
from siglipcli.text import visible

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from siglipcli.labels.model_view import View

__all__ = ["app"]

MAX_WARNINGS = 20  # of one kind

app = group("labels", "List, show, check and start label sets.")


@app.command("list", cls=Command)
def list_sets(output_format: JsonOrTable = "table") -> None:
    """List the label sets that come with the program."""
    from siglipcli import labels as sets
    from siglipcli.outputs.plain_table import print_table

    builtin = [(name, sets.load(name)) for name in sets.builtin_names()]
    facts = [
        {"name": name, "labels": len(one.labels), "description": one.description}
        for name, one in builtin
    ]
    if output_format == "json":
        print_json(facts)
    else:
        print_table(list(facts[0]), [[*map(str, row.values())] for row in facts], right={"labels"})


@app.command(cls=Command)
def show(
    label_set: Annotated[str, argument("labels.set", "SET", autocompletion=completion.label_sets)],
    output_format: Annotated[
        str, option("labels.format", "--format", "-f", **words("table", "json", "yaml"))
    ] = "table",
    tokens: Annotated[bool, option("labels.tokens", "--tokens")] = False,
    model: Annotated[str, model_option("labels.model", envvar="SIGLIP_MODEL")] = DEFAULT_MODEL,
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
        list[str], argument("labels.files", "FILE...", autocompletion=completion.label_sets)
    ],
    model: Annotated[str | None, model_option("labels.reader")] = None,
) -> None:
    """Check label sets: errors, and prompts that a model would misread.

    Without --model, what every SigLIP model for English misreads is said, and no model is needed.
    """
    from siglipcli.encoders.tokens import Tokenizer, canonicalize
    from siglipcli.labels.model_view import AnyModelView, ModelView

    label_sets.read_stdin_once(files)
    view: View = AnyModelView(canonicalize) if model is None else ModelView(Tokenizer.cached(model))
    sound = [_check_one(file, view) for file in files]
    if not all(sound):
        raise typer.Exit(ExitStatus.USAGE)


@app.command(cls=Command)
def new(
    name: Annotated[str, argument("labels.name", "NAME")],
    output: Annotated[Path | None, option("labels.output", "--output", "-o")] = None,
    force: Annotated[bool, option("labels.force", "--force")] = False,
) -> None:
    """Write a commented label set to start from."""
    from siglipcli import labels as sets
    from siglipcli.labels.starter import starter

    text = starter(name)
    sets.parse(text, name)
    if output is None and Path(name).name != name:
        raise UsageError(f"{visible(name)} is not a file name here; give the file with --output.")
    path = output or Path(f"{name}.yaml")
    is_file = str(path) != "-"
    if is_file and os.path.lexists(path) and not force:
        raise UsageError(f"{visible(str(path))} is already there; --force replaces it.")
    with open_output(path) as stream:
        stream.write(text)
    if is_file:
        typer.echo(f"Wrote {visible(str(path))}; edit it, then `siglip labels check` it.", err=True)


def _check_one(file: str, view: View) -> bool:
    from siglipcli import labels as sets
    from siglipcli.labels.model_view import prompts, set_warnings

    try:
        labels, complaints = sets.examine(*label_sets.read(file))
    except LabelError as error:
        labels, complaints = None, [with_remedy(error)]
    if labels is None:
        typer.echo("\n".join(complaints), err=True)
        return False
    name, texts = visible(file), list(prompts(labels))
    typer.echo(f"{name}: {counted(len(labels.labels), 'label')}, {counted(len(texts), 'prompt')}")
    for line in set_warnings(labels, view, MAX_WARNINGS):
        typer.echo(f"{name}: warning: {visible(line)}.", err=True)
    return True


def _reader(model: str) -> Callable[[str], Sequence[str]]:
    """Return what gives the tokens that a model reads of a prompt; its words, where it is not here."""
    from siglipcli.encoders.tokens import Tokenizer, canonicalize

    try:
        return Tokenizer.cached(model).pieces
    except OfflineError:
        complain(
            f"{model} is not on this machine: these are words, not its tokens."
            f" `siglip models pull {model}` fetches it."
        )
        return lambda prompt: canonicalize(prompt).split()
