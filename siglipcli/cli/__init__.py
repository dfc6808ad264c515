"""The command line: parse, call one function, choose the exit status. Nothing imports this package."""

from __future__ import annotations

import sys
from typing import Annotated, Any, NoReturn

import typer

from siglipcli import __version__
from siglipcli.cli.help import EXAMPLES, HEADINGS, read_words
from siglipcli.cli.remedies import with_remedy
from siglipcli.terminal.commands import Commands, Group
from siglipcli.terminal.program import run, translated

__all__ = ["app", "main"]

_COMMANDS = dict(read_words("commands"))


class _Commands(Group):
    """Every command, run where errors are translated; help is printed while a context is made."""

    headings, examples = HEADINGS, EXAMPLES

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands: Any = Commands("siglipcli.cli", _COMMANDS)

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        with translated(with_remedy):
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: Any) -> Any:
        with translated(with_remedy):
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result


app = typer.Typer(
    cls=_Commands,
    name="siglip",
    help="Zero-shot image classification with SigLIP: label images with words of your choice.",
    no_args_is_help=True,
    # Plain help: Rich's tables would be imported to draw it.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"siglip {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    del version


def main() -> NoReturn:
    """Run the command line and end the process with a status of `ExitStatus`."""
    run(app)
