"""`siglip labels list|show|check|new`: the label sets, without any model."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from siglipcli.cli.command import Command, group
from siglipcli.cli.output import print_json
from siglipcli.cli.status import ExitStatus
from siglipcli.errors import LabelError, OutputError, UsageError
from siglipcli.text import visible

if TYPE_CHECKING:
    from siglipcli.labels import LabelSet

__all__ = ["app"]

MAX_WARNINGS = 20

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
    from siglipcli import labels as labelsets

    sets = [(name, labelsets.load(name)) for name in labelsets.builtin_names()]
    if output_format is ListFormat.JSON:
        print_json(
            [
                {"name": name, "labels": len(one.labels), "description": one.description}
                for name, one in sets
            ]
        )
        return
    rows = [[name, str(len(one.labels)), one.description] for name, one in sets]
    _print_table(["name", "labels", "description"], rows)


@app.command(cls=Command)
def show(
    label_set: Annotated[
        str, typer.Argument(metavar="SET", help="A built-in set's name, or a YAML file.")
    ],
    output_format: Annotated[
        ShowFormat,
        typer.Option(
            "--format", "-f", help="A table, JSON for programs, or the YAML to start from."
        ),
    ] = ShowFormat.TABLE,
) -> None:
    """Show a set's labels, prompts and thresholds."""
    from siglipcli import labels as labelsets

    text, file = labelsets.read(label_set)
    labels = labelsets.parse(text, file)
    if output_format is ShowFormat.YAML:
        typer.echo(text, nl=not text.endswith("\n"))
    elif output_format is ShowFormat.JSON:
        from dataclasses import asdict

        print_json(asdict(labels))
    else:
        _print_set(labels)


@app.command(cls=Command)
def check(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="YAML files to check.")],
) -> None:
    """Check label sets: errors, and prompts that a model would misread."""
    sound = [_check_one(file) for file in files]
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

    from siglipcli import labels as labelsets

    text = _STARTER.format(name=json.dumps(name, ensure_ascii=False))
    labelsets.parse(text, name)
    if output is None and Path(name).name != name:
        raise UsageError(f"{visible(name)} is not a file name here; give the file with --output.")
    path = output or Path(f"{name}.yaml")
    _write(path, text, force=force)
    typer.echo(f"Wrote {visible(str(path))}; edit it, then `siglip labels check` it.", err=True)


def _check_one(file: str) -> bool:
    from siglipcli import labels as labelsets

    try:
        labels, complaints = labelsets.examine(*labelsets.read(file))
    except LabelError as error:
        labels, complaints = None, [str(error)]
    if labels is None:
        typer.echo("\n".join(complaints), err=True)
        return False
    prompts = sum(len(label.prompts) for label in labels.labels)
    typer.echo(
        f"{visible(file)}: {_count(len(labels.labels), 'label')}, {_count(prompts, 'prompt')}"
    )
    _warn(visible(file), labels)
    return True


def _warn(file: str, labels: LabelSet) -> None:
    from siglipcli.encoders.tokens import canonicalize
    from siglipcli.labels import warnings

    found = warnings(labels, canonicalize)
    for warning in found[:MAX_WARNINGS]:
        typer.echo(f"{file}: warning: {visible(warning)}.", err=True)
    if len(found) > MAX_WARNINGS:
        typer.echo(f"{file}: warning: {len(found) - MAX_WARNINGS:,} more like these.", err=True)


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


def _print_set(labels: LabelSet) -> None:
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
    if labels.description:
        typer.echo(visible(labels.description))
    rows = []
    for label in labels.labels:
        threshold = "" if label.threshold is None else f"{label.threshold:g}"
        kind = "negative" if label.negative else ""
        rows.append([label.path, threshold, kind, "\n".join(map(visible, label.prompts))])
    titles = ["label", "threshold", "kind", "prompts"]
    used = [at for at, _ in enumerate(titles) if any(row[at] for row in rows)]
    _print_table([titles[at] for at in used], [[row[at] for at in used] for row in rows])


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
templates: ["a photo of a {{}}.", "a close-up photo of a {{}}."]
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
    children: [sparrow, owl]              # answered as bird/sparrow and bird/owl
  - name: not a live animal
    prompts: ["a stuffed animal toy", "a statue of an animal"]
    negative: true                        # never a tag; a label that scores below it is none
"""
