"""Help: options under headings, plain metavars, two examples that the command itself accepts."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from siglipcli.cli import app
from siglipcli.cli.help import EXAMPLES, HEADINGS, OPTIONS, read_words
from siglipcli.cli.search import DEFAULT_TOP

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

from render_reference import commands, help_of

ALL = {" ".join(words): (words, command) for words, command in commands()}
DIALECT = re.compile(
    r"\b(pictures?|answer(s|ed)?|given up|a process apart|told|one a line|look away|share|held)\b",
    re.IGNORECASE,
)


def test_every_command_has_two_examples() -> None:
    """No command is left out, and no example stays for a command that is gone."""
    assert set(EXAMPLES) == set(ALL)
    for name, (words, _) in ALL.items():
        for example in EXAMPLES[name]:
            assert f"  {example}\n" in help_of(words) + "\n"


@pytest.mark.parametrize("example", [e for pair in EXAMPLES.values() for e in pair])
def test_examples_are_accepted_by_the_command(example: str) -> None:
    """Every option in an example exists and takes the value that is shown."""
    arguments = shlex.split(example.partition(" > ")[0])[1:]
    command: Any = ALL[""][1]
    while arguments and arguments[0] in getattr(command, "commands", {}):
        command = command.commands[arguments.pop(0)]
    command.make_context("siglip", arguments)


def test_an_option_that_groups_share_stands_under_each_ones_own_heading() -> None:
    """What `models tune` puts under Tuning is an ordinary option of `labels list`, whichever came first."""
    assert "--format" in help_of(["models", "tune"]).partition("Tuning:")[2]
    assert "Tuning:" not in help_of(["labels", "list"])


@pytest.mark.parametrize("name", ALL)
def test_help_has_no_python_types_and_no_dialect(name: str) -> None:
    """Metavars are words for people, and the language is the field's."""
    text = help_of(ALL[name][0])
    assert not re.search(r"<(list|str|int|float|Path)\b", text)
    assert not DIALECT.search(text), DIALECT.search(text)


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("siglip classify --labels ani", "animals"),
        ("siglip classify --model ViT-B-16-SigLIP-3", "ViT-B-16-SigLIP-384"),
        ("siglip classify --format js", "json\njsonl"),
        ("siglip search --device c", "cpu\ncuda"),
        ("siglip embed --precision b", "bf16"),
        ("siglip labels show an", "animals"),
        ("siglip labels check an", "animals"),
        ("siglip labels show animals --model d", "demo"),
        ("siglip models info d", "demo"),
    ],
)
def test_the_shell_completes_values(words: str, offered: str) -> None:
    """Tab after an option offers what it takes."""
    shell = {
        "_SIGLIP_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(words.count(" ")),
    }
    run = subprocess.run(
        [sys.executable, "-c", "from siglipcli.cli import app; app(prog_name='siglip')"],
        env=os.environ | shell, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.stdout.strip() == offered, run.stderr


def test_options_stand_under_headings_in_order() -> None:
    """What to read and which labels come before decoding and the cache."""
    lines = CliRunner().invoke(app, ["classify", "--help"]).stdout.splitlines()
    places = [lines.index(f"{heading}:") for heading in HEADINGS if f"{heading}:" in lines]
    assert len(places) >= 6
    assert places == sorted(places)
    text = "\n".join(lines)
    assert text.index("--labels") < text.index("--exact-decode")


def test_the_patched_seams_of_typer_are_there() -> None:
    """A Typer without them would start slower and show plainer help: this says so before users do."""
    _, command = ALL["classify"]
    option = next(param for param in command.params if param.name == "top")
    assert hasattr(option, "get_runtime_param")
    assert hasattr(option, "type_descriptor")
    assert hasattr(option, "rich_help_panel")
    assert callable(command.format_options)
    assert callable(command.format_epilog)


@pytest.mark.parametrize("name", ["commands", "headings", "options", "remedies"])
def test_each_word_is_said_once(name: str) -> None:
    """A second line for the same option or error would take the first one's place unseen."""
    keys = [key for key, _ in read_words(name)]
    assert len(keys) == len(set(keys))
    assert all(keys)


def test_the_default_of_search_is_the_one_that_help_names() -> None:
    """`siglip search --help` says how many images come without --top."""
    assert f"[default: {DEFAULT_TOP}; " in OPTIONS["search.top"]
