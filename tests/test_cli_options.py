"""Options in groups: same name, same meaning, same help, whatever the command."""

from __future__ import annotations

import inspect
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import pytest
import typer
from typer.main import get_command
from typer.testing import CliRunner

from siglipcli import outputs
from siglipcli.cli import app
from siglipcli.terminal.groups import grouped
from siglipcli.terminal.values import one_of

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Paint:
    """A group for these tests."""

    colour: Annotated[str, typer.Option("--colour", "-c", help="Its colour.")] = "red"
    thick: Annotated[bool, typer.Option("--thick", help="Thick or not.")] = False
    tools: Annotated[list[str] | None, typer.Argument(help="What with.")] = None


@dataclass(frozen=True)
class Size:
    """Another."""

    width: Annotated[int, typer.Option(min=1, help="In metres.")] = 3


Name = Annotated[str, typer.Option(help="A plain one.")]
SEEN: list[tuple[Any, ...]] = []


@grouped
def paint(paint: Paint, size: Size, name: Name = "wall") -> None:
    """Paint it."""
    SEEN.append((paint, size, name))


def painted(*arguments: str) -> tuple[Any, ...]:
    """Run the command through Typer and return what reached it."""
    small = typer.Typer(rich_markup_mode=None)
    small.command()(paint)
    result = CliRunner().invoke(small, list(arguments))
    assert result.exit_code == 0, result.stderr
    return SEEN.pop()


def test_a_group_becomes_its_fields() -> None:
    """Typer sees one option for each field, with the field's default, and no group."""
    parameters = inspect.signature(paint).parameters
    assert list(parameters) == ["colour", "thick", "tools", "width", "name"]
    assert [p.default for p in parameters.values()] == ["red", False, None, 3, "wall"]
    assert all(p.kind is inspect.Parameter.KEYWORD_ONLY for p in parameters.values())
    assert paint.__doc__ == "Paint it."
    assert paint.__name__ == "paint"


def test_defaults_fill_the_groups() -> None:
    """A command run with nothing gets every group whole."""
    assert painted() == (Paint(), Size(), "wall")


def test_options_reach_their_group() -> None:
    """What is typed arrives in the group it belongs to."""
    got = painted("-c", "blue", "--thick", "--width", "7", "brush", "pot", "--name", "door")
    assert got == (Paint("blue", thick=True, tools=["brush", "pot"]), Size(7), "door")


def test_a_grouped_command_can_be_called_with_fields() -> None:
    """Commands call each other with the fields of their groups."""
    paint(**vars(Paint("green")) | vars(Size(2)), name="roof")
    assert SEEN.pop() == (Paint("green"), Size(2), "roof")


def test_one_of_names_the_words() -> None:
    """A word that is not among those offered is refused with the ones that are."""
    check = one_of("a", "b")
    assert check("a") == "a"
    assert check(None) is None
    with pytest.raises(typer.BadParameter, match=r"'c' is not one of a, b\."):
        check("c")


# --- the real commands ----------------------------------------------------------------------------


def commands() -> Iterator[tuple[str, Any]]:
    """Every command with its full name, groups too."""
    waiting = [("siglip", get_command(app))]
    while waiting:
        name, command = waiting.pop()
        yield name, command
        waiting += [(f"{name} {k}", c) for k, c in getattr(command, "commands", {}).items()]


ALL = dict(commands())


@pytest.mark.parametrize("name", ALL)
def test_every_command_and_option_has_help(name: str) -> None:
    """No command, argument or option is without a sentence that says what it is for."""
    command = ALL[name]
    assert command.help
    assert command.help.strip()[0].isupper()
    for parameter in command.params:
        assert parameter.help, parameter.name
        assert parameter.help.rstrip(". ]") != parameter.name


@pytest.mark.parametrize("name", ALL)
def test_help_is_shown_for_every_command(name: str) -> None:
    """`-h` works everywhere, fits eighty columns and needs no model."""
    result = CliRunner().invoke(app, [*name.split()[1:], "-h"], env={"COLUMNS": "80"})
    assert result.exit_code == 0
    assert result.stderr == ""
    lines = result.stdout.splitlines()
    assert lines[0].startswith("Usage: ")
    assert max(map(len, lines)) <= 80


def test_the_list_of_commands_is_not_cut() -> None:
    """Each command's line in a list of commands is whole at eighty columns."""
    for arguments in ([], ["labels"]):
        shown = CliRunner().invoke(app, [*arguments, "-h"], env={"COLUMNS": "80"}).stdout
        assert "..." not in shown.partition("Commands:")[2]


def test_same_option_same_help() -> None:
    """An option that several commands have is described in the same words."""
    shared = ["model", "device", "runtime", "precision", "offline", "cache_dir", "quiet", "output"]
    for option in shared:
        helps = {
            parameter.help
            for name in ("siglip classify", "siglip demo", "siglip doctor")
            for parameter in ALL[name].params
            if parameter.name == option
        }
        assert len(helps) == 1, option


SETTINGS = [
    "SIGLIP_MODEL", "SIGLIP_DEVICE", "SIGLIP_RUNTIME", "SIGLIP_PRECISION", "SIGLIP_BATCH_SIZE",
    "SIGLIP_WORKERS", "SIGLIP_OFFLINE", "SIGLIP_CACHE_DIR", "SIGLIP_LABELS",
    "SIGLIP_MAX_MEGAPIXELS", "SIGLIP_NO_PROGRESS",
]  # fmt: skip


def test_help_names_the_environment_variables_and_formats() -> None:
    """Settings that may come from the environment are in the help, and so is every format."""
    result = CliRunner().invoke(app, ["classify", "--help"], env={"COLUMNS": "200"})
    assert {name for name in SETTINGS if name not in result.stdout} == set()
    assert "|".join(outputs.names()) in result.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["--top", "0"], ["--top", "many"], ["--threshold", "1.5"], ["--threshold", "nan"],
        ["--threshold", "-0.1"], ["--bias-shift", "nan"], ["--bias-shift", "inf"],
        ["--bias-shift", "1e39"], ["--batch-size", "0"], ["--batch-size", "some"],
        ["--workers", "0"], ["--device", "toaster"], ["--device", "cuda:"], ["--runtime", "onnx"],
        ["--precision", "int4"], ["--format", "xml"], ["--nonsense"],
    ],
)  # fmt: skip
def test_values_that_make_no_sense_are_refused(arguments: list[str]) -> None:
    """A bad value is a usage error that names the option; nothing is read."""
    result = CliRunner().invoke(app, ["classify", "a.jpg", *arguments])
    assert result.exit_code == 2
    assert arguments[0] in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--top", "many", "'many' is not a whole number from 1 up."),
        ("--top", "0", "0 is not a whole number from 1 up."),
        ("--threshold", "high", "'high' is not a number."),
        ("--image-timeout", "-1", "-1 is not a number from 0 to 86400."),
        ("--max-megapixels", "nan", "nan is not a number from 0 up."),
    ],
)
def test_a_number_that_is_none_is_said_in_plain_words(option: str, value: str, words: str) -> None:
    """The message has the limits, and no sentence of the library that reads values."""
    result = CliRunner().invoke(app, ["classify", "a.jpg", option, value], env={"COLUMNS": "200"})
    assert result.exit_code == 2
    assert words in result.stderr


FLAG = """
import os, sys
from typing import Annotated
import typer
from siglipcli.terminal.commands import Command

seen = []

def run(flag: Annotated[bool, typer.Option("--flag", envvar="FLAG")] = False) -> None:
    seen.append(flag)

def made(**how):
    app = typer.Typer()
    app.command(**how)(run)
    return app

words = [c(w) for w in "1 true t yes y on 0 false f no n off".split() for c in (str, str.upper, " {} ".format)]
for word in [*words, " "]:
    os.environ["FLAG"] = word
    made(cls=Command)([], standalone_mode=False)
assert "typer._adapters" not in sys.modules
assert "pydantic" not in sys.modules
for word in [*words, " "]:
    os.environ["FLAG"] = word
    made()([], standalone_mode=False)
half = len(seen) // 2
assert seen[:half] == seen[half:], seen
assert set(map(type, seen)) == {bool}
os.environ["FLAG"] = "maybe"
made(cls=Command)([])
"""


def test_a_flag_of_the_environment_is_read_as_typer_does_without_its_checks() -> None:
    """Every word for yes or no costs no import of pydantic, 0.1 s; another word is refused as ever."""
    run = subprocess.run([sys.executable, "-c", FLAG], capture_output=True, text=True, check=False)
    assert run.returncode == 2, run.stderr
    assert "boolean" in run.stderr


@pytest.mark.parametrize("arguments", [[], ["classify", "--bogus"], ["labels"], ["nonsense"]])
def test_usage_errors_end_with_two(arguments: list[str]) -> None:
    """A command line that names nothing to do shows usage and ends with status 2."""
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert "Usage: " in result.stdout + result.stderr
