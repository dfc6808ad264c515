"""The reference is whole and fresh, and the images are fit for any page."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import render_reference
import render_terminal
from render_reference import commands

PAGE = render_reference.PAGE.read_text(encoding="utf-8")
COMMANDS = [("siglip " + " ".join(words)).strip() for words, _ in commands()]


def test_the_reference_is_fresh() -> None:
    """docs/reference.md says what `--help` says; `make docs` refreshes it."""
    assert render_reference.render() == PAGE, "stale: run `make docs`"


@pytest.mark.parametrize(
    ("title", "command"), [*zip(COMMANDS, (command for _, command in commands()), strict=True)]
)
def test_every_command_and_option_is_documented(title: str, command: Any) -> None:
    """Each command has a section, and each of its options and arguments a line that explains it."""
    section = re.search(rf"^## {title}$(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert section
    assert command.help
    for parameter in command.params:
        assert parameter.help, f"{title}: {parameter.name} has no help"
        names = parameter.opts if parameter.param_type_name == "option" else [parameter.metavar]
        for name in [*names, *parameter.secondary_opts]:
            assert re.search(rf"(?<![\w-]){re.escape(str(name))}(?![\w-])", section[1])


def test_every_environment_variable_is_listed() -> None:
    """The table of variables has each that an option reads."""
    for _, command in commands():
        for parameter in command.params:
            assert not parameter.envvar or f"| `{parameter.envvar}` |" in PAGE


@pytest.mark.parametrize("image", render_terminal.IMAGES, ids=lambda each: each.name)
def test_a_image_fetches_nothing(image: render_terminal.Image) -> None:
    """The SVG is well-formed and holds no address, no font file, no script and no other image."""
    text = image.path.read_text(encoding="utf-8")
    root = ET.fromstring(text)
    assert {each.tag.rpartition("}")[2] for each in root.iter()} <= {
        *("svg", "title", "style", "rect", "text", "g"),
    }
    assert "http" not in text.replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert "@" not in text
    assert "url(" not in text


@pytest.mark.parametrize("image", render_terminal.IMAGES, ids=lambda each: each.name)
def test_a_image_has_a_ground_of_its_own(image: render_terminal.Image) -> None:
    """It reads the same on a light page and on a dark one: a filled frame lies below all text."""
    root = ET.fromstring(image.path.read_bytes())
    frame = next(each for each in root if each.tag.endswith("rect"))
    left, _, width, height = (float(side) for side in root.attrib["viewBox"].split())
    assert frame.attrib["fill"] == render_terminal.GROUND
    assert float(frame.attrib["x"]) - left <= 1
    assert width - float(frame.attrib["width"]) <= 2
    assert height - float(frame.attrib["height"]) <= 2
