"""`siglip labels list|show|check|new`: the label sets, without any model."""

from __future__ import annotations

from enum import Enum
from pathlib import Path  # Typer reads the annotations
from typing import TYPE_CHECKING, Annotated

import typer

from siglipcli.cli import label_sets
from siglipcli.cli.command import Command, group
from siglipcli.cli.output import print_json
from siglipcli.cli.remedies import with_remedy
from siglipcli.cli.status import ExitStatus
from siglipcli.errors import LabelError, OfflineError, OutputError, UsageError
from siglipcli.text import visible

if TYPE_CHECKING:
    from collections.abc import Callable

    from siglipcli.encoders.tokens import Tokenizer
    from siglipcli.labels import Calibration, Label, LabelSet
    from siglipcli.labels.model_view import View

__all__ = ["app"]

MAX_WARNINGS = 20  # of one kind
DEFAULT_MODEL = "ViT-B-16-SigLIP-384"

app = group("labels", "List, show, check and start label sets.")


class ListFormat(str, Enum):
    """How `list` prints."""

    TABLE = "table"
    JSON = "json"


class ShowFormat(str, Enum):
    """How `show` prints."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


@app.command("list", cls=Command)
def list_sets(
    output_format: Annotated[
        ListFormat, typer.Option("--format", "-f", help="A table, or JSON for programs.")
    ] = ListFormat.TABLE,
) -> None:
    """List the label sets that come with the program."""
    from siglipcli import labels as sets

    builtin = [(name, sets.load(name)) for name in sets.builtin_names()]
    if output_format is ListFormat.JSON:
        print_json(
            [
                {"name": name, "labels": len(one.labels), "description": one.description}
                for name, one in builtin
            ]
        )
        return
    rows = [[name, str(len(one.labels)), one.description] for name, one in builtin]
    _print_table(["name", "labels", "description"], rows)


@app.command(cls=Command)
def show(
    label_set: Annotated[
        str,
        typer.Argument(metavar="SET", help="A built-in set's name, a label file, or - for stdin."),
    ],
    output_format: Annotated[
        ShowFormat,
        typer.Option(
            "--format", "-f", help="A table, JSON for programs, or the YAML to start from."
        ),
    ] = ShowFormat.TABLE,
    tokens: Annotated[
        bool, typer.Option("--tokens", help="Show what the model reads of each prompt.")
    ] = False,
    model: Annotated[
        str,
        typer.Option(
            "--model", "-m", metavar="MODEL", envvar="SIGLIP_MODEL", help="The model for --tokens."
        ),
    ] = DEFAULT_MODEL,
) -> None:
    """Show a set's labels, prompts and thresholds."""
    from siglipcli import labels as sets

    if tokens and output_format is ShowFormat.YAML:
        raise UsageError("--tokens is for the table and JSON, not for --format yaml")
    text, file = label_sets.read(label_set)
    labels = sets.parse(text, file)
    read = _reader(model) if tokens else None
    if output_format is ShowFormat.YAML:
        typer.echo(text, nl=not text.endswith("\n"))
    elif output_format is ShowFormat.JSON:
        print_json(_as_json(labels, read))
    else:
        _print_set(labels, read)


@app.command(cls=Command)
def check(
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILE...", help="Label files or sets to check; - for stdin."),
    ],
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-m", metavar="MODEL", help="Read prompts as this model does, exactly."
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
    import json

    from siglipcli import labels as sets

    text = _STARTER.format(name=json.dumps(name, ensure_ascii=False))
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
        f"{visible(file)}: {_count(len(labels.labels), 'label')}, {_count(prompts, 'prompt')}"
    )
    _warn(visible(file), labels, view)
    return True


def _warn(file: str, labels: LabelSet, view: View) -> None:
    from siglipcli.labels.model_view import prompts, text_warnings

    for line in label_sets.capped(text_warnings(prompts(labels), view), MAX_WARNINGS):
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


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _write(path: Path, text: str, *, force: bool) -> None:
    try:
        with path.open("w" if force else "x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        raise UsageError(f"{visible(str(path))} is already there; --force replaces it.") from None
    except OSError as error:
        raise OutputError(f"write error: {visible(str(path))}: {error.strerror}.") from error


def _as_json(labels: LabelSet, read: Callable[[str], list[str]] | None) -> dict[str, object]:
    from dataclasses import asdict

    document = asdict(labels)
    if read:
        for label in document["labels"]:
            label["tokens"] = [read(prompt) for prompt in label["prompts"]]
    return document


def _print_set(labels: LabelSet, read: Callable[[str], list[str]] | None) -> None:
    facts = [f"aggregate: {labels.aggregate}"]
    if labels.threshold is not None:
        facts.append(f"threshold: {labels.threshold:g}")
    if labels.bias_shift:
        facts.append(f"bias_shift: {labels.bias_shift:+g}")
    if labels.exclusive:
        facts.append("exclusive")
    typer.echo(
        f"{visible(labels.name)}: {_count(len(labels.labels), 'label')} ({', '.join(facts)})"
    )
    if labels.calibrated:
        typer.echo(visible(_fitted_on(labels.calibrated)))
    if labels.description:
        typer.echo(visible(labels.description))
    rows = [_row(label, read) for label in labels.labels]
    titles = ["label", "threshold", "kind", "prompts", "the model reads"]
    used = [at for at, _ in enumerate(titles) if any(row[at] for row in rows)]
    _print_table([titles[at] for at in used], [[row[at] for at in used] for row in rows])


def _fitted_on(fitted: Calibration) -> str:
    details = [
        fitted.precision,
        _count(fitted.images, "image") if fitted.images else "",
        fitted.date,
    ]
    known = ", ".join(detail for detail in details if detail)
    return f"calibrated for {fitted.model}{f' ({known})' if known else ''}"


def _row(label: Label, read: Callable[[str], list[str]] | None) -> list[str]:
    threshold = "" if label.threshold is None else f"{label.threshold:g}"
    kind = "negative" if label.negative else ""
    tokens = [" ".join(map(visible, read(prompt))) for prompt in label.prompts] if read else []
    return [label.path, threshold, kind, "\n".join(map(visible, label.prompts)), "\n".join(tokens)]


def _print_table(titles: list[str], rows: list[list[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title in titles:
        numeric = title in {"labels", "threshold"}
        table.add_column(title, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        # Text, not str: a name such as [bold] is no markup.
        table.add_row(*(Text("\n".join(map(visible, cell.split("\n")))) for cell in row))
    Console().print(table)


_STARTER = """\
# A label set for `siglip classify --labels`. Quotes are needed only where a text holds
# any of : # {{ }} [ ] , or begins with one of & * ! @ % - ?
name: {name}
description: What these labels are for, in a line

# Each label's name is filled in for {{}}; the embeddings of the results are averaged.
templates: ["a photo of a {{}}.", "a close up photo of a {{}}."]
# aggregate: max        # take the best prompt instead of the mean

# Scores from here on count as a tag. SigLIP's scores are small: begin low.
threshold: 0.1
# exclusive: true       # only the best label can be a tag

labels:
  - cat                                   # the short form
  - name: dog
    prompts: ["a dog", "a puppy"]         # in place of the templates
    threshold: 0.2                        # in place of the set's
  - name: bird
    children: [sparrow, owl]              # the results say bird/sparrow and bird/owl
  - name: not a live animal
    prompts: ["a stuffed animal toy", "a statue of an animal"]
    negative: true                        # never a tag; a label that scores below it is none
"""
